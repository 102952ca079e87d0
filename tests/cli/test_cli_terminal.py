"""No secret and no control character comes through: not from a server, a file name, a header or a bug."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from graft.cli import main as entry
from graft.cli.main import main

PASSWORD, KEY = "hunter2-of-the-url", "a-key-in-the-environment"
ESCAPE = "\x1b[31m\x9b2J\u202e"
CLI = Path(entry.__file__).parent


class Echo(BaseHTTPRequestHandler):
    """Refuses everything and tells what it was sent."""

    def do_POST(self) -> None:
        said = json.dumps({"error": {"message": f"{ESCAPE}{dict(self.headers)} {KEY}"}}).encode()
        self.send_response(418)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def assert_clean(text: str) -> None:
    assert PASSWORD not in text and KEY not in text
    assert not [letter for letter in text if not letter.isprintable() and letter not in "\n\t"]


@pytest.mark.slow
def test_a_server_that_echoes_headers_shows_no_secret_anywhere(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAFT_API_KEY", KEY)
    monkeypatch.setenv("GRAFT_ANYTHING", "whatever-that-is")
    url = f"http://me:{PASSWORD}@{address}/v1"
    asked = ["eval", "any", "model.backend=openai", f"model.url={url}", "eval.tasks=spelling", "eval.items=2"]
    assert main([*asked, "words.train=200", f"runs={tmp_path}", "--json"]) == 2
    out, err = capsys.readouterr()
    assert "418" in err and "***" in err
    assert_clean(out + err)
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"run.json", "recipe.yaml", "provenance.json", "training.log"} <= {path.name for path in stored}
    for path in stored:
        text = path.read_bytes()
        assert PASSWORD.encode() not in text and KEY.encode() not in text, path
        assert b"whatever-that-is" not in text, path
    run = next(path.parent for path in stored if path.name == "run.json")
    assert f"://***@{address}" in (run / "recipe.yaml").read_text()
    assert main(["eval", str(run)]) == 2
    assert "give it again: model.url=ADDRESS" in capsys.readouterr().err


def test_names_of_files_and_headers_do_not_reach_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / f"a{ESCAPE}.csv"
    table.write_text(f"question,ans{ESCAPE}wer\nwhat,that\n")
    recipe = tmp_path / f"r{ESCAPE}.yaml"
    tasks = {"mine": {"files": [str(table)], "question": "question", "answer": "no"}}
    recipe.write_text(json.dumps({"data": {"tasks": tasks, "train": ["mine"]}}))
    for arguments in (["check", str(recipe)], ["check", str(recipe), "--json"], ["run", f"{ESCAPE}.yaml"], [ESCAPE]):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert_clean(out + err)
        assert err


def test_a_bug_keeps_its_traceback_and_no_secret(tmp_path: Path) -> None:
    code = (
        "import sys; from graft.cli import main as entry\n"
        "def broken(*args, **kwargs): raise ValueError('\\x1b[31m' + 'http://me:hunter2@host/')\n"
        "entry.cli.main = broken\n"
        "sys.exit(entry.main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ValueError" in done.stderr
    assert "hunter2" not in done.stderr and "\x1b" not in done.stderr


def test_a_message_is_at_most_2000_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{'k' * 50_000}=1"]) == 2
    err = capsys.readouterr().err
    assert len(err) <= 2001 and "more characters" in err  # and the end of the line


def calls(name: str) -> list[str]:
    """Every call in a file of the command line, as source."""
    return [ast.unparse(node) for node in ast.walk(ast.parse((CLI / name).read_text())) if isinstance(node, ast.Call)]


def test_nothing_in_the_command_line_writes_past_the_filter() -> None:
    """`click.echo` and `print` stand where the filter is, and where the shell's completion is printed as it is."""
    raw = {(path.name, call) for path in CLI.glob("*.py") for call in calls(path.name)}
    found = {(name, call) for name, call in raw if call.startswith(("click.echo(", "click.secho(", "print("))}
    assert {name for name, _ in found} == {"text.py", "output.py", "about.py"}
    assert [call[:28] for name, call in found if name == "about.py"] == ["click.echo(completion(cli, {"]
    shown = [call for call in calls("progress.py") if call.startswith(("self._console.print(", "self._stream.write("))]
    assert shown and all("printable(" in call or call == "self._stream.write(text)" for call in shown)
