"""A server with an OpenAI-compatible API as a backend: vLLM, llama.cpp, Ollama's /v1 and others.

Every sampling value is sent. The API itself has no `top_k`, `min_p` and repetition penalty, but these servers
take them; the penalty has two names (`repetition_penalty` in vLLM, `repeat_penalty` in llama.cpp), so both are sent.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Unpack

import httpx2

from graft.errors import ModelError, choices
from graft.models.backends.remote import BUSY, Options, Piece, Reply, Server, ServerBusy, as_sent
from graft.types import Completion, Delta, Prompt, Sampling, Usage

CONNECT_SECONDS = 10.0
DONE = "[DONE]"


class OpenAIBackend(Server):
    """A model behind an OpenAI-compatible API.

    Args:
        url: the server's address, with or without ``/v1``.
        model: the server's name of the model.
        options: see `Server`; thinking is asked of the server's chat template.
    """

    def __init__(self, url: str, model: str, **options: Unpack[Options]) -> None:
        super().__init__(_with_version(url), model, **options)
        timeout = httpx2.Timeout(self.patience.timeout_seconds, connect=CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=self.patience.concurrency)
        self._client = httpx2.Client(headers=self.headers, timeout=timeout, limits=limits)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta]:
        """Continue one prompt piece by piece.

        Raises:
            ModelError: as in `generate`, or the connection ended within the reply.
        """
        body = self._body(prompt, sampling) | {"stream": True, "stream_options": {"include_usage": True}}
        stack, response = self.patiently(lambda: self._open(body))
        with stack, self._translated("the connection ended within the reply"):
            yield from self.told(self._pieces(response))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        return {
            "model": self.model,
            **as_sent(prompt.messages, as_text=True),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "max_tokens": sampling.max_new_tokens,
            "repetition_penalty": sampling.repetition_penalty,
            "repeat_penalty": sampling.repetition_penalty,
            "seed": sampling.seed,
            "chat_template_kwargs": {"enable_thinking": self.thinking},
        }

    def ask(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """Continue one prompt, in one attempt."""
        try:
            response = self._client.post(f"{self.url}/chat/completions", json=self._body(prompt, sampling))
        except httpx2.TransportError as error:
            raise self._transport(error) from error
        self._check(response)
        return self._completion(self._json(response.text))

    def _open(self, body: dict[str, Any]) -> tuple[contextlib.ExitStack, httpx2.Response]:
        with contextlib.ExitStack() as stack:
            request = self._client.stream("POST", f"{self.url}/chat/completions", json=body)
            try:
                response = stack.enter_context(request)
                if response.status_code >= 400:
                    response.read()
            except httpx2.TransportError as error:
                raise self._transport(error) from error
            self._check(response)
            return stack.pop_all(), response
        raise AssertionError("the block returns or raises")

    def _pieces(self, response: httpx2.Response) -> Iterator[Piece]:
        for line in response.iter_lines():
            data = line.removeprefix("data:").strip()
            if not line.startswith("data:") or data == DONE:
                continue
            event = self._json(data)
            yield Piece("", "", usage=_usage(event))
            for choice in event.get("choices") or ():
                yield Piece(*self._texts(choice, "delta"), choice.get("finish_reason") or "")

    def _completion(self, answer: dict[str, Any]) -> Completion:
        found = answer.get("choices")
        if not isinstance(found, list) or not found or not isinstance(found[0], dict):
            raise self._malformed(f"it holds no choices: {str(answer)[:200]}")
        text = Reply().add(*self._texts(found[0], "message"))
        return Completion(text, (), found[0].get("finish_reason") != "length", _usage(answer))

    def _texts(self, choice: Any, key: str) -> tuple[str, str]:
        """Thinking and answer of a message or a piece of one."""
        part = choice.get(key) if isinstance(choice, dict) else None
        if not isinstance(part, dict):
            raise self._malformed(f"a choice holds no {key}: {str(choice)[:200]}")
        texts = (part.get("reasoning_content") or part.get("reasoning") or "", part.get("content") or "")
        if not all(isinstance(text, str) for text in texts):
            raise self._malformed(f"its text is {texts!r:.200}")
        return texts

    def _json(self, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise self._malformed(f"it is not JSON: {text[:200]!r}") from error
        if not isinstance(value, dict):
            raise self._malformed(f"it is not a JSON object: {text[:200]!r}")
        if value.get("error"):
            raise ModelError(f"{self.url} answered with an error: {_message(value)}")
        return value

    def _malformed(self, why: str) -> ModelError:
        return ModelError(
            f"{self.url} does not answer like an OpenAI-compatible server: {why}; check model.url and the server's log"
        )

    def _check(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status < 400:
            return
        said = _error_text(response)
        if status in (401, 403):
            raise ModelError(f"{self.url} refused the API key (HTTP {status}: {said}); set {self.key_source}")
        if status in BUSY:
            raise ServerBusy(f"{self.url} is busy or failing (HTTP {status}: {said})", _retry_after(response))
        if status == 404:
            raise ModelError(f"{self.url} does not know the model {self.model!r} (HTTP 404: {said}). {self._known()}")
        raise ModelError(f"{self.url} refused the request (HTTP {status}): {said}")

    def _known(self) -> str:
        """The models that the server offers, for the message about an unknown one."""
        with contextlib.suppress(httpx2.TransportError, ValueError, KeyError, TypeError):
            offered = self._client.get(f"{self.url}/models").json()["data"]
            return choices(self.model, [str(model["id"]) for model in offered])
        return "Check model.id and model.url."

    def _transport(self, error: httpx2.TransportError) -> Exception:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.UnsupportedProtocol):
            return ModelError(f"cannot reach {self.url}: {error}; start the server or correct model.url")
        if isinstance(error, httpx2.TimeoutException):
            seconds = self.patience.timeout_seconds
            return ModelError(f"{self.url} gave no reply within {seconds:g} s; raise remote.timeout_seconds")
        return ServerBusy(f"the connection to {self.url} broke: {error}")

    @contextlib.contextmanager
    def _translated(self, problem: str) -> Iterator[None]:
        """A failure within a stream is told at once: the reader has seen its beginning already."""
        try:
            yield
        except httpx2.TransportError as error:
            known = self._transport(error)
            raise known if isinstance(known, ModelError) else ModelError(f"{self.url}: {problem} ({error})") from error


def _with_version(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ModelError(f"model.url is {url!r}, but {error}; write it like http://127.0.0.1:8000/v1") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ModelError(f"model.url is {url!r}, but it must begin with http:// or https:// and name a host")
    return url.rstrip("/") if parsed.path.strip("/") else f"{url.rstrip('/')}/v1"


def _usage(answer: dict[str, Any]) -> Usage | None:
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    return Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))


def _error_text(response: httpx2.Response) -> str:
    try:
        return _message(response.json())
    except ValueError:
        return response.text.strip()[:200] or response.reason_phrase


def _message(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds of the Retry-After header; a date in it is not looked at."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.replace(".", "", 1).isdigit() else None
