"""Ollama: the template that is written gives the measured prompt, and its own client hands the model over."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.export.trained_runs import trained_run
from transformers import PreTrainedTokenizerBase

from graft.config.loading import Resolved
from graft.data.chat import PIN
from graft.errors import ModelError
from graft.export.ollama import create, find_frames, modelfile
from graft.pipeline.progress import SilentProgress
from graft.workbench.export.command import export

DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<s>Be kind.</s>' }}{% endif %}{% for m in messages %}"
    "{{ '<' + m.role[0] + '>' + m.content + '</' + m.role[0] + '>' }}{% endfor %}{{ '<a>{{' }}"
)
BY_CONTENT = "{% for m in messages %}{{ '<' + (m.content | length | string) + '>' + m.content }}{% endfor %}"


def with_template(tokenizer: PreTrainedTokenizerBase, template: str) -> PreTrainedTokenizerBase:
    own = copy.deepcopy(tokenizer)
    own.chat_template = template
    return own


def run_go(template: str, turns: list[tuple[str, str]]) -> str:
    """What Go makes of the few constructs that are written, read anew from the template's own text."""
    system = "\n\n".join(text for role, text in turns if role == "system")
    head, _, rest = template.partition("{{ range .Messages }}")
    body, _, opening = rest.rpartition("{{ end }}{{ end }}")
    if head.startswith("{{ if not .System }}"):
        head = "" if system else head.removeprefix("{{ if not .System }}").removesuffix("{{ end }}")
    frames = {}
    for case in body.removeprefix("{{ if eq .Role ").split("{{ else if eq .Role "):
        role, _, frame = case.partition(" }}")
        frames[json.loads(role)] = frame
    written = "".join(frames.get(role, "").replace("{{ .Content }}", text) for role, text in turns)
    return f"{head}{written}{opening}".replace('{{ "{{" }}', "{{")


CHATS = [
    [("user", "One?")],
    [("system", "Rules."), ("user", "One?"), ("assistant", "1"), ("user", "Two?")],
]


@pytest.mark.parametrize("template", [None, DEFAULT_SYSTEM], ids=["own", "default-system"])
def test_the_go_template_writes_what_the_chat_template_writes(
    template: str | None, tokenizer: PreTrainedTokenizerBase
) -> None:
    own = with_template(tokenizer, template or PIN + str(tokenizer.chat_template))
    frames, notes = find_frames(own)
    assert not notes
    for turns in CHATS:
        messages = [{"role": role, "content": content} for role, content in turns]
        right = own.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert frames.render(turns) == right == run_go(frames.go(), turns)


def test_a_template_that_decides_by_content_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ModelError, match="does more than put texts around turns"):
        find_frames(with_template(tokenizer, BY_CONTENT))


def test_a_template_without_system_turns_says_so(tokenizer: PreTrainedTokenizerBase) -> None:
    refused = "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    turn = "{{ '<' + m.role + '>' + m.content }}"
    plain = f"{{% for m in messages %}}{refused}{turn}{{% endfor %}}{{{{ '<assistant>' }}}}"
    frames, notes = find_frames(with_template(tokenizer, plain))
    assert frames.system is None and "no place for system turns" in notes[0]
    with pytest.raises(ModelError, match="the run has a system turn"):
        modelfile(frames, system="Be brief.", generation=None, stops=["</s>"], context=512, licence="")


@pytest.fixture
def ollama_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, bytes]]]:
    """A stand-in for Ollama at its protocol: blobs are checked by their hash, and a model needs its blobs."""
    asked: list[tuple[str, bytes]] = []
    blobs: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def body(self) -> bytes:
            if "content-length" in self.headers:
                return self.rfile.read(int(self.headers["content-length"]))
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

        def do_POST(self) -> None:
            data = self.body()
            asked.append((self.path, data))
            status, answer = 200, b'{"status": "success"}'
            if self.path.startswith("/api/blobs/"):
                digest = self.path.removeprefix("/api/blobs/")
                status = 201 if digest == f"sha256:{hashlib.sha256(data).hexdigest()}" else 400
                blobs.add(digest)
                answer = b""
            elif not blobs.issuperset(json.loads(data)["files"].values()):
                status, answer = 400, b'{"error": "blob not found"}'
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OLLAMA_HOST", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_branch_becomes_a_model_of_ollama(
    ollama_host: list[tuple[str, bytes]], small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    pytest.importorskip("ollama")
    pytest.importorskip("xllamacpp", reason="needs the extra export")
    settings = {"adapter__kind": "lora", "adapter__r": 4, "study__arms": ["base", "trained"]}
    resolved = small_recipe(tmp_path / "runs", **settings, sampling__temperature=0.7, model__system='Be "brief".')
    out = tmp_path / "out"
    record = export(
        trained_run(resolved), "ollama", quantize=["q8_0"], create="mine", out=out, progress=SilentProgress()
    )
    text = (out / "Modelfile").read_text(encoding="utf-8")
    file = record["files"]["q8_0"]["file"]
    assert text.startswith(
        f'FROM ./{file}\nTEMPLATE """{{{{ range .Messages }}}}{{{{ if eq .Role "system" }}}}<|im_start|>system\n'
    )
    assert 'SYSTEM """Be "brief"."""\n' in text and 'PARAMETER stop """<|im_end|>"""\n' in text
    assert "PARAMETER temperature 0.7\n" in text and "PARAMETER num_ctx 512\n" in text
    (blob, data), (path, body) = ollama_host
    assert data == (out / file).read_bytes() and path == "/api/create"
    told = json.loads(body)
    assert told["model"] == "mine" and told["files"] == {file: blob.removeprefix("/api/blobs/")}
    assert told["system"] == 'Be "brief".' and told["parameters"]["stop"] == ["<|im_end|>"]
    assert told["template"] in text and "Ollama has it as mine" in record["notes"]


def test_an_ollama_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerBase
) -> None:
    pytest.importorskip("ollama")
    from tests.models.stand_in import free_port
    from transformers import GenerationConfig

    monkeypatch.setenv("OLLAMA_HOST", f"http://127.0.0.1:{free_port()}")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    frames, _ = find_frames(with_template(tokenizer, PIN + str(tokenizer.chat_template)))
    described = modelfile(
        frames, system=None, generation=GenerationConfig(), stops=["<|im_end|>"], context=512, licence=""
    )
    with pytest.raises(ModelError, match="cannot reach Ollama"):
        create("mine", tmp_path / "model.gguf", described)
