"""Ollama as a backend, through its own Python client (the extra `ollama`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Unpack

from graft.errors import MissingExtra, ModelError, choices
from graft.models.backends.remote import BUSY, Options, Piece, Reply, Server, ServerBusy, as_sent
from graft.types import Completion, Delta, Prompt, Sampling, Usage

if TYPE_CHECKING:
    from ollama import ChatResponse

HERE = "http://127.0.0.1:11434"
"""Where Ollama listens on the machine it is installed on."""


class OllamaBackend(Server):
    """A model behind Ollama.

    Args:
        model: Ollama's name of the model, such as ``qwen3:0.6b``.
        url: the server's address; this machine's own when ``None``.
        options: see `Server`; a key is for servers behind a proxy.

    Raises:
        MissingExtra: the client is not installed.
    """

    def __init__(self, model: str, url: str | None = None, **options: Unpack[Options]) -> None:
        try:
            import ollama
        except ImportError as error:
            raise MissingExtra("model.backend ollama", "ollama") from error
        super().__init__(url or HERE, model, **options)
        self._client = ollama.Client(self.url, timeout=self.patience.timeout_seconds, headers=self.headers)

    def ask(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """Continue one prompt, in one attempt."""
        with self._translated():
            answer = self._client.chat(**self._request(prompt, sampling), stream=False)
        piece = _piece(answer)
        return Completion(Reply().add(piece.thinking, piece.answer), (), piece.reason != "length", piece.usage)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta]:
        """Continue one prompt piece by piece.

        Raises:
            ModelError: as in `generate`, or the connection ended within the reply.
        """

        def begin() -> tuple[Iterator[ChatResponse], ChatResponse | None]:
            with self._translated():
                parts = iter(self._client.chat(**self._request(prompt, sampling), stream=True))
                return parts, next(parts, None)  # the request is sent when the first piece is asked for

        yield from self.told(self._pieces(*self.patiently(begin)))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _request(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        return {
            "model": self.model,
            **as_sent(prompt.messages, as_text=False),
            "think": self.thinking,
            "options": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p,
                "num_predict": sampling.max_new_tokens,
                "repeat_penalty": sampling.repetition_penalty,
                "seed": sampling.seed,
            },
        }

    def _pieces(self, parts: Iterator[ChatResponse], part: ChatResponse | None) -> Iterator[Piece]:
        while part is not None:
            yield _piece(part)
            try:
                with self._translated():
                    part = next(parts, None)
            except ServerBusy as broken:  # the reader has seen the beginning already
                raise ModelError(f"{broken}; try again") from broken

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the client raises into errors that say what to do."""
        import httpx  # brought by the client, whose connection errors it lets through
        import ollama

        try:
            yield
        except ollama.ResponseError as error:
            raise self._refused(error.status_code, str(error.error)) from error
        except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ModelError(
                f"cannot reach Ollama at {self.url}; start it with `ollama serve` or correct model.url"
            ) from error
        except httpx.TimeoutException as error:
            seconds = self.patience.timeout_seconds
            raise ModelError(
                f"Ollama at {self.url} gave no reply within {seconds:g} s; raise remote.timeout_seconds"
            ) from error
        except httpx.TransportError as error:
            raise ServerBusy(f"the connection to Ollama at {self.url} broke: {error}") from error
        except (ValueError, TypeError, AttributeError) as error:  # the client reads whatever JSON came
            raise ModelError(
                f"{self.url} does not answer like Ollama: {str(error)[:200]}; check model.url and the server's log"
            ) from error

    def _refused(self, status: int, said: str) -> Exception:
        if status in BUSY:
            return ServerBusy(f"Ollama at {self.url} is busy or failing (HTTP {status}: {said})")
        if status in (401, 403):
            return ModelError(f"{self.url} refused the API key (HTTP {status}: {said}); set {self.key_source}")
        if status == 404:
            return ModelError(f"Ollama at {self.url} has no model {self.model!r} ({said}). {self._known()}")
        return ModelError(f"Ollama at {self.url} refused the request: {said}")

    def _known(self) -> str:
        """How to get the model, and the models that are there."""
        pull = f"Get it with: ollama pull {self.model}."
        with contextlib.suppress(Exception):  # this is only advice; the error itself is already known
            names = [str(model.model) for model in self._client.list().models]
            return f"{pull} {choices(self.model, names)}"
        return pull


def _piece(answer: ChatResponse) -> Piece:
    """A message, or a piece of one."""
    usage = None if answer.eval_count is None else Usage(answer.prompt_eval_count or 0, answer.eval_count)
    reason = (answer.done_reason or "stop") if answer.done else ""
    return Piece(answer.message.thinking or "", answer.message.content or "", reason, usage)
