"""Ollama's own client against a stand-in that speaks Ollama's protocol: JSON lines, `done`, counts, `error`."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any

import pytest
from tests.models.stand_in import Answer, Asked, free_port, serving

from graft.errors import ModelError
from graft.models.backends import remote
from graft.models.backends.base import Backend
from graft.models.backends.remote import Patience
from graft.types import Completion, Message, Prompt, Sampling, Usage

pytest.importorskip("ollama")

from graft.models.backends.ollama import OllamaBackend

PROMPT = Prompt((Message("system", "Be brief."), Message("user", "What is 2 and 2?")))
SAMPLING = Sampling(0.7, 0.8, 20, 0.1, 33, 1.1, 7)


def line(text: str = "", *, done: bool = False, thinking: str | None = None, reason: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": text} | ({"thinking": thinking} if thinking is not None else {})
    part = {"model": "qwen3:0.6b", "created_at": "2026-11-20T10:00:00Z", "message": message, "done": done}
    counts = {"prompt_eval_count": 26, "eval_count": 8, "total_duration": 10**9}
    return part | ({"done_reason": reason, **counts} if done else {})


def ollama(asked: Asked) -> Answer:
    """As the real server: one object, or one line per piece when `stream` is set."""
    if asked.path == "/api/tags":
        return Answer({"models": [{"model": "qwen3:1.7b", "name": "qwen3:1.7b"}, {"model": "llama3.2:1b"}]})
    if asked.body["model"] != "qwen3:0.6b":
        return Answer({"error": f"model '{asked.body['model']}' not found"}, 404)
    thinking = "2 and 2" if asked.body["think"] else None
    if not asked.body["stream"]:
        return Answer(line("It is 4", done=True, thinking=thinking))
    parts = [line(thinking=part) for part in ("2 ", "and 2")] if thinking else []
    parts += [line("It "), line("is 4"), line(done=True)]
    return Answer([json.dumps(part) + "\n" for part in parts], headers={"content-type": "application/x-ndjson"})


def backend(url: str, model: str = "qwen3:0.6b", *, thinking: bool = False, **patience: Any) -> OllamaBackend:
    return OllamaBackend(model, url, thinking=thinking, patience=Patience(**{"timeout_seconds": 5.0, **patience}))


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for; none is waited."""
    asked: list[float] = []
    wait = remote.retrying
    monkeypatch.setattr(
        "graft.models.backends.remote.retrying", lambda attempt, retries: wait(attempt, retries, sleep=asked.append)
    )
    return asked


def test_it_is_a_backend() -> None:
    assert isinstance(backend("http://127.0.0.1:1"), Backend)


def test_messages_and_every_sampling_value_are_sent() -> None:
    with serving(ollama) as server:
        replies = backend(server.url).generate([PROMPT], SAMPLING)
    assert replies == [Completion("It is 4", (), True, Usage(26, 8))]
    (request,) = server.asked
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert request.body["think"] is False
    assert [(turn["role"], turn["content"]) for turn in request.body["messages"]] == [
        ("system", "Be brief."), ("user", "What is 2 and 2?"),
    ]  # fmt: skip
    assert request.body["options"] == {
        "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.1, "num_predict": 33, "repeat_penalty": 1.1,
        "seed": 7,
    }  # fmt: skip


@pytest.mark.parametrize("thinking", [False, True])
def test_a_stream_joins_to_the_reply(thinking: bool) -> None:
    with serving(ollama) as server:
        asked = backend(server.url, thinking=thinking)
        (whole,) = asked.generate([PROMPT], SAMPLING)
        pieces = list(asked.stream(PROMPT, SAMPLING))
    assert whole.text == ("<think>\n2 and 2\n</think>\n\nIt is 4" if thinking else "It is 4")
    assert "".join(piece.text for piece in pieces) == whole.text
    assert pieces[-1].completion == whole
    assert asked.usage == Usage(52, 16)


def test_a_reply_cut_at_the_limit_is_not_finished() -> None:
    with serving(lambda asked: Answer(line("It", done=True, reason="length"))) as server:
        assert not backend(server.url).generate([PROMPT], SAMPLING)[0].finished


def test_a_model_that_is_not_there_says_how_to_get_it() -> None:
    with serving(ollama) as server:
        for act in ("generate", "stream"):
            asked = backend(server.url, "qwen3:17b")
            with pytest.raises(ModelError, match=r"ollama pull qwen3:17b\. Did you mean 'qwen3:1.7b'"):
                asked.generate([PROMPT], SAMPLING) if act == "generate" else list(asked.stream(PROMPT, SAMPLING))


def test_an_unreachable_server_is_told_at_once() -> None:
    asked = backend(f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"cannot reach Ollama.*ollama serve"):
        asked.generate([PROMPT], SAMPLING)
    with pytest.raises(ModelError, match=r"cannot reach Ollama"):
        list(asked.stream(PROMPT, SAMPLING))
    assert time.monotonic() - began < 3


def test_a_busy_server_is_asked_again(no_pauses: list[float]) -> None:
    attempts = count(1)

    def busy_at_first(asked: Asked) -> Answer:
        return ollama(asked) if next(attempts) % 3 == 0 else Answer({"error": "server busy"}, 503)

    with serving(busy_at_first) as server:
        assert backend(server.url).generate([PROMPT], SAMPLING)[0].text == "It is 4"
        assert list(backend(server.url).stream(PROMPT, SAMPLING))[-1].completion is not None
    assert len(no_pauses) == 4


def test_a_wrong_key_behind_a_proxy_is_told() -> None:
    with serving(lambda asked: Answer({"error": "unauthorized"}, 401)) as server:
        asked = OllamaBackend("qwen3:0.6b", server.url, api_key="wrong", key_source="the environment variable THE_KEY")
        with pytest.raises(ModelError, match=r"refused the API key.*THE_KEY"):
            asked.generate([PROMPT], SAMPLING)
    assert server.asked[0].headers["authorization"] == "Bearer wrong"


@pytest.mark.parametrize("body", ["<html>", "[1]", '{"done": true}'])
def test_an_answer_that_is_not_ollamas_is_an_error(body: str) -> None:
    with serving(lambda asked: Answer(body)) as server, pytest.raises(ModelError, match=r"does not answer like Ollama"):
        backend(server.url).generate([PROMPT], SAMPLING)


def test_a_slow_server_runs_into_the_time_out() -> None:
    slow = Answer(line("x", done=True), before=lambda: time.sleep(1))
    with serving(lambda asked: slow) as server, pytest.raises(ModelError, match=r"within 0.2 s"):
        backend(server.url, timeout_seconds=0.2).generate([PROMPT], SAMPLING)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer([json.dumps(line("It ")) + "\n"]), "the connection ended within the reply"),
        (Answer([json.dumps(line("It ")) + "\n"], cut=True), "broke"),
        (Answer([json.dumps(line("It ")) + "\n", '{"error": "out of memory"}\n']), "out of memory"),
    ],
)
def test_a_stream_that_fails_midway_is_an_error(answer: Answer, why: str) -> None:
    with serving(lambda asked: answer) as server:
        pieces = backend(server.url).stream(PROMPT, SAMPLING)
        assert next(pieces).text == "It "
        with pytest.raises(ModelError, match=why):
            list(pieces)
