"""A real llama.cpp in this process, served on a free port of loopback: what an exported file is tried with."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from graft.errors import ModelError

ALIAS = "exported"


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A running server.

    Attributes:
        url: its address.
        key: the API key that it asks for.
        client: talks to it; it drops connections that are used again after a stream, so none is.
    """

    url: str
    key: str
    client: httpx2.Client

    def tokens(self, text: str, *, special: bool) -> tuple[int, ...]:
        """The ids of a text; control tokens that it spells are read as such only if `special`."""
        body = {"content": text, "add_special": False, "parse_special": special}
        return tuple(self._post("/tokenize", body)["tokens"])

    def rendered(self, messages: list[dict[str, str]]) -> str:
        """The prompt that its template makes of a conversation."""
        return str(self._post("/apply-template", {"messages": messages})["prompt"])

    def continued(self, ids: list[int], count: int, **options: Any) -> dict[str, Any]:
        """The greedy continuation of a prompt of ids, with its token ids."""
        body = {"prompt": ids, "n_predict": count, "temperature": 0.0, "return_tokens": True, "cache_prompt": False}
        return self._post("/completion", body | options)

    def prompt_tokens(self, messages: list[dict[str, str]]) -> int:
        """Tokens of the prompt that its chat really reads."""
        body = {"model": ALIAS, "messages": messages, "max_tokens": 1, "temperature": 0.0}
        return int(self._post("/v1/chat/completions", body)["usage"]["prompt_tokens"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.client.post(f"{self.url}{path}", json=body)
        if response.status_code != 200:
            raise ModelError(f"llama.cpp refused {path} (HTTP {response.status_code}): {response.text[:300]}")
        answer: dict[str, Any] = response.json()
        return answer


@contextmanager
def served(model: Path, *, context: int, slots: int = 1, threads: int = 1) -> Iterator[LlamaServer]:
    """Serve a GGUF file for the length of the block.

    Args:
        model: the file.
        context: longest prompt and reply in tokens.
        slots: replies that are written at once.
        threads: of the computation.

    Raises:
        ModelError: llama.cpp cannot load it.
    """
    import xllamacpp

    key = secrets.token_hex(16)
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {ALIAS}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # float16 would flip near ties
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.poll = params.cpuparams_batch.poll = 0  # do not spin while others work
    params.verbosity = -1
    params.warmup = False
    params.use_jinja = True
    params.api_keys = [key]
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelError(f"llama.cpp cannot load {model}: {error}") from error
    headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
    with httpx2.Client(headers=headers, timeout=300.0) as client:
        yield LlamaServer(server.listening_address, key, client)
    del server
