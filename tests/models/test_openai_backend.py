"""The OpenAI-compatible backend against a real llama.cpp server, and its errors against a stand-in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.models.stand_in import Answer, Asked, free_port, serving

from graft.errors import ModelError
from graft.models.backends import remote
from graft.models.backends.base import Backend
from graft.models.backends.openai_http import OpenAIBackend
from graft.models.backends.remote import Patience
from graft.types import Message, Prompt, Sampling, Usage

BEGINNINGS = ("Once upon a time, there was", "Tom had a red ball.", "The little dog", "One day, Lily went to the park")
GREEDY = Sampling(max_new_tokens=24)


def ask(text: str) -> Prompt:
    return Prompt((Message("user", text),))


@pytest.fixture(scope="module")
def stories() -> Path:
    data = os.environ.get("GRAFT_TEST_DATA")
    if not data:
        pytest.skip("GRAFT_TEST_DATA is not set, so there is no small real model to serve")
    return Path(data) / "stories260k"


@pytest.fixture(scope="module")
def llama(stories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIBackend]:
    pytest.importorskip("xllamacpp")
    from tests.models.llama_server import ALIAS, API_KEY, start, write_gguf

    path = tmp_path_factory.mktemp("gguf") / "stories.gguf"
    write_gguf(stories, path)
    server, address = start(path)
    backend = OpenAIBackend(address, ALIAS, api_key=API_KEY, patience=Patience(timeout_seconds=60))
    yield backend
    backend.close()
    del server


def test_llama_cpp_writes_what_transformers_writes(llama: OpenAIBackend, stories: Path) -> None:
    from graft.models.backends.transformers import TransformersBackend
    from graft.models.loading import load_model, load_tokenizer

    tokenizer = load_tokenizer(str(stories))
    local = TransformersBackend(load_model(str(stories), device="cpu", dtype="float32"), tokenizer)
    expected = local.generate([Prompt((), tuple(tokenizer(text)["input_ids"])) for text in BEGINNINGS], GREEDY)
    served = llama.generate([ask(text) for text in BEGINNINGS], GREEDY)
    assert [reply.text.strip() for reply in served] == [reply.text.strip() for reply in expected]
    assert [reply.finished for reply in served] == [reply.finished for reply in expected]
    assert [reply.usage for reply in served] == [reply.usage for reply in expected]


def test_llama_cpp_streams_the_same_reply(llama: OpenAIBackend) -> None:
    (whole,) = llama.generate([ask(BEGINNINGS[0])], GREEDY)
    before = llama.usage
    pieces = list(llama.stream(ask(BEGINNINGS[0]), GREEDY))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert pieces[-1].completion == whole
    assert len(pieces) > 10
    assert llama.usage == before + Usage(8, 24)


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 0.0},
        {"top_p": 0.05},
        {"top_k": 1},
        {"min_p": 1.0},
        {"repetition_penalty": 2.0},
        {"max_new_tokens": 4},
        {"seed": 9},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_llama_cpp_obeys_every_setting(changed: dict[str, Any], llama: OpenAIBackend) -> None:
    drawn: dict[str, Any] = {"temperature": 1.2, "seed": 3, "max_new_tokens": 24}
    first, again, other = (
        llama.generate([ask(BEGINNINGS[0])], Sampling(**settings))[0].text
        for settings in (drawn, drawn, drawn | changed)
    )
    assert first == again
    assert other != first


def test_llama_cpp_refuses_a_wrong_key(llama: OpenAIBackend) -> None:
    wrong = OpenAIBackend(llama.url, llama.model, api_key="wrong", key_source="the environment variable THE_KEY")
    with pytest.raises(ModelError, match=r"refused the API key \(HTTP 401: Invalid API Key\); set the environment var"):
        wrong.generate([ask("Hello")], GREEDY)
    with pytest.raises(ModelError, match=r"THE_KEY"):
        list(wrong.stream(ask("Hello"), GREEDY))


def said(text: str = "yes", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **more}}
    return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}


def backend(url: str, **patience: Any) -> OpenAIBackend:
    return OpenAIBackend(url, "small", patience=Patience(**{"timeout_seconds": 5.0, **patience}))


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for; none is waited."""
    asked: list[float] = []
    wait = remote.retrying

    def at_once(attempt: Any, retries: int) -> Any:
        return wait(attempt, retries, sleep=asked.append)

    monkeypatch.setattr("graft.models.backends.remote.retrying", at_once)
    return asked


def test_it_is_a_backend() -> None:
    assert isinstance(backend("http://127.0.0.1:1"), Backend)


def test_every_sampling_value_is_sent_with_every_request() -> None:
    sampling = Sampling(0.7, 0.8, 20, 0.1, 33, 1.1, 7)
    with serving(lambda asked: Answer(said())) as server:
        backend(server.url).generate([ask("a"), ask("b")], sampling)
    for request in server.asked:
        assert request.path == "/v1/chat/completions"
        sent = {key: value for key, value in request.body.items() if key != "messages"}
        assert sent == {
            "model": "small", "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.1, "max_tokens": 33, "seed": 7,
            "repetition_penalty": 1.1, "repeat_penalty": 1.1, "chat_template_kwargs": {"enable_thinking": False},
        }  # fmt: skip


def test_replies_come_in_the_order_of_the_prompts_whoever_is_first() -> None:
    def answer(asked: Asked) -> Answer:
        text = asked.body["messages"][0]["content"]
        return Answer(said(f"re {text}"), before=lambda: time.sleep(0.05 * (3 - int(text)) if int(text) < 3 else 0))

    with serving(answer) as server:
        done: list[int] = []
        asked = backend(server.url)
        replies = asked.generate([ask(str(number)) for number in range(6)], GREEDY, on_done=done.append)
    assert [reply.text for reply in replies] == [f"re {number}" for number in range(6)]
    assert sum(done) == 6
    assert asked.usage == Usage(30, 12)


def test_no_more_requests_than_allowed_are_under_way() -> None:
    lock, under_way, most = threading.Lock(), [0], [0]

    def work() -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        with lock:
            under_way[0] -= 1

    with serving(lambda asked: Answer(said(), before=work)) as server:
        backend(server.url, concurrency=3).generate([ask(str(number)) for number in range(9)], GREEDY)
    assert most[0] == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again_with_growing_pauses(status: int, no_pauses: list[float]) -> None:
    attempts = count(1)
    with serving(lambda asked: Answer(said()) if next(attempts) == 4 else Answer({"error": "busy"}, status)) as server:
        (reply,) = backend(server.url).generate([ask("a")], GREEDY)
    assert reply.text == "yes"
    assert len(no_pauses) == 3
    assert no_pauses[0] < no_pauses[1] < no_pauses[2]


def test_the_pause_that_the_server_asks_for_is_kept(no_pauses: list[float]) -> None:
    attempts = count(1)
    busy = Answer({"error": "slow down"}, 429, {"Retry-After": "7"})
    with serving(lambda asked: Answer(said()) if next(attempts) == 2 else busy) as server:
        backend(server.url).generate([ask("a")], GREEDY)
    assert no_pauses == [7.0]


def test_a_server_that_stays_busy_is_an_error(no_pauses: list[float]) -> None:
    with serving(lambda asked: Answer({"error": {"message": "overloaded"}}, 503)) as server:
        with pytest.raises(ModelError, match=r"HTTP 503: overloaded\) \(3 attempts\).*remote.concurrency"):
            backend(server.url, retries=2).generate([ask("a")], GREEDY)
        assert len(server.asked) == 3


def test_a_broken_connection_is_tried_again(no_pauses: list[float]) -> None:
    attempts = count(1)
    with serving(lambda asked: Answer(said(), cut=next(attempts) == 1)) as server:
        assert backend(server.url).generate([ask("a")], GREEDY)[0].text == "yes"


def test_an_unreachable_server_is_told_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"cannot reach http://127.0.0.1:\d+/v1.*start the server or correct"):
        backend(f"http://127.0.0.1:{free_port()}").generate([ask("a")], GREEDY)
    assert time.monotonic() - began < 3


def test_an_unknown_model_names_those_that_are_there() -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer({"data": [{"id": "smaller"}, {"id": "qwen3"}]})
        return Answer({"error": {"message": "no such model"}}, 404)

    with serving(answer) as server, pytest.raises(ModelError, match=r"'small'.*Did you mean 'smaller'.*qwen3, smaller"):
        backend(server.url).generate([ask("a")], GREEDY)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("<html>hello</html>", "it is not JSON"),
        ([[1, 2]], "it is not a JSON object"),
        ({"choices": []}, "it holds no choices"),
        ({"choices": [{"text": "x"}]}, "a choice holds no message"),
        ({"choices": [{"message": {"content": 5}}]}, "its text is"),
    ],
)
def test_a_malformed_answer_says_what_is_wrong(body: Any, why: str) -> None:
    with serving(lambda asked: Answer(body)) as server, pytest.raises(ModelError, match=why):
        backend(server.url).generate([ask("a")], GREEDY)


def test_a_refused_request_tells_what_the_server_said() -> None:
    refusal = Answer({"error": {"message": "top_k is not supported"}}, 400)
    with (
        serving(lambda asked: refusal) as server,
        pytest.raises(ModelError, match=r"400.: top_k is not supported"),
    ):
        backend(server.url).generate([ask("a")], GREEDY)


def test_a_slow_server_runs_into_the_time_out() -> None:
    slow = Answer(said(), before=lambda: time.sleep(1))
    with serving(lambda asked: slow) as server, pytest.raises(ModelError, match=r"within 0.2 s; raise remote.timeout"):
        backend(server.url, timeout_seconds=0.2).generate([ask("a")], GREEDY)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://"])
def test_an_address_that_cannot_be_right_is_refused(url: str) -> None:
    with pytest.raises(ModelError, match=r"model.url is"):
        backend(url)


def test_thinking_that_comes_apart_is_put_back() -> None:
    with serving(lambda asked: Answer(said("4", reasoning_content="2 and 2"))) as server:
        (reply,) = backend(server.url).generate([ask("a")], GREEDY)
    assert reply.text == "<think>\n2 and 2\n</think>\n\n4"


def event(finish: str | None = None, **delta: str) -> str:
    import json

    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]})}\n\n"


def test_a_stream_joins_thinking_and_answer() -> None:
    chunks = [
        ": ping\n\n", event(role="assistant"), event(reasoning_content="2 "), event(reasoning_content="and 2"),
        event(content="It is "), event(content="4"), event("length"),
        'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}\n\n', "data: [DONE]\n\n",
    ]  # fmt: skip
    with serving(lambda asked: Answer(chunks)) as server:
        pieces = list(backend(server.url).stream(ask("a"), GREEDY))
    text = "<think>\n2 and 2\n</think>\n\nIt is 4"
    assert "".join(piece.text for piece in pieces) == text
    assert pieces[-1].completion is not None
    assert (pieces[-1].completion.text, pieces[-1].completion.finished) == (text, False)
    assert pieces[-1].completion.usage == Usage(3, 9)


@pytest.mark.parametrize("cut", [True, False])
def test_a_stream_that_ends_too_soon_is_an_error(cut: bool) -> None:
    with serving(lambda asked: Answer([event(content="It ")], cut=cut)) as server:
        pieces = backend(server.url).stream(ask("a"), GREEDY)
        assert next(pieces).text == "It "
        with pytest.raises(ModelError, match=r"the connection ended within the reply"):
            list(pieces)


def test_an_error_within_a_stream_is_told() -> None:
    chunks = [event(content="It "), 'data: {"error": {"message": "out of memory"}}\n\n']
    with serving(lambda asked: Answer(chunks)) as server, pytest.raises(ModelError, match=r"out of memory"):
        list(backend(server.url).stream(ask("a"), GREEDY))
