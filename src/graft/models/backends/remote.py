"""What all servers have in common: several requests at once, patience with a busy one, errors in one voice."""

from __future__ import annotations

import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypedDict, TypeVar

from graft.errors import ModelError
from graft.models.backends.base import no_progress
from graft.runs.journal import Journal
from graft.runs.redaction import remember, remember_url
from graft.types import Completion, Delta, Message, Prompt, Sampling, Usage

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
BUSY = frozenset({408, 429, 500, 502, 503, 504, 529})
"""HTTP states that may pass; every other error is told at once."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How a server is asked.

    Attributes:
        timeout_seconds: longest wait for a reply, or for the next piece of a streamed one.
        retries: further attempts after a busy or failing server.
        concurrency: requests under way at once, at least 1.
    """

    timeout_seconds: float = 300.0
    retries: int = 4
    concurrency: int = 8


class ServerBusy(Exception):  # noqa: N818  (a state that may pass; it becomes a ModelError when it does not)
    """A failure that may pass.

    Args:
        problem: what the user is told when it does not pass.
        retry_after_seconds: the pause that the server asked for, if it did.
    """

    def __init__(self, problem: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after_seconds = retry_after_seconds


def as_sent(messages: Sequence[Message], *, as_text: bool) -> dict[str, Any]:
    """A conversation as servers read it: its turns, and the tools on offer where there are any.

    Args:
        messages: the conversation.
        as_text: the arguments of calls are sent as JSON text, not as objects.
    """
    fields = [json.loads(message.fields) if message.fields else {} for message in messages]
    for call in (call for of_turn in fields for call in of_turn.get("tool_calls", ())):
        arguments = call["function"].get("arguments", {})
        if isinstance(arguments, str) != as_text:
            call["function"]["arguments"] = json.dumps(arguments) if as_text else json.loads(arguments)
    turns = [
        {"role": message.role, "content": message.content, **of_turn}
        for message, of_turn in zip(messages, fields, strict=True)
        if message.role != "tools"
    ]
    tools = [tool for of_turn in fields for tool in of_turn.get("tools", ())]
    return {"messages": turns, "tools": tools} if tools else {"messages": turns}


class Meter:
    """Counts tokens from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.usage = Usage()

    def add(self, usage: Usage | None) -> None:
        """Count what one request used; servers that do not say count as nothing."""
        if usage is not None:
            with self._lock:
                self.usage += usage


def retrying(attempt: Callable[[], T], retries: int, *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Attempt until it works, with pauses that double, start at half a second and vary by chance.

    Args:
        attempt: raises `ServerBusy` for what may pass.
        retries: further attempts after the first.
        sleep: waits that many seconds.

    Raises:
        ModelError: it was busy at every attempt.
    """
    for number in range(retries + 1):
        try:
            return attempt()
        except ServerBusy as busy:
            if number == retries:
                times = "1 attempt" if retries == 0 else f"{retries + 1} attempts"
                raise ModelError(f"{busy} ({times}); try later, or lower remote.concurrency") from busy
            sleep(pause_seconds(number, busy.retry_after_seconds))
    raise AssertionError("the last attempt returns or raises")


def pause_seconds(number: int, asked: float | None) -> float:
    """The pause after attempt ``number``: what the server asked for, or a doubling one, at most a minute."""
    doubling = FIRST_PAUSE_SECONDS * 2**number * random.uniform(0.75, 1.25)
    return min(LONGEST_PAUSE_SECONDS, max(asked, 0.0) if asked is not None else doubling)


def ask_all(
    ask: Callable[[int, Prompt], Completion],
    prompts: Sequence[Prompt],
    concurrency: int,
    on_done: Callable[[int], None],
) -> list[Completion]:
    """Ask for every prompt by its place among them, several at once; the first error ends it all.

    Returns:
        The completions in the order of the prompts.
    """
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="graft-remote") as pool:
        asked = [pool.submit(ask, place, prompt) for place, prompt in enumerate(prompts)]
        try:
            for future in as_completed(asked):
                future.result()
                on_done(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in asked]


class Reply:
    """Joins thinking and answer, which servers send apart, in the form in which the model wrote them."""

    def __init__(self) -> None:
        self.thinking = ""
        self.answer = ""

    def add(self, thinking: str, answer: str) -> str:
        """Take the next pieces, either of them possibly empty, and return the text that they add to the reply."""
        opening = "<think>\n" if thinking and not self.thinking else ""
        self.thinking += thinking
        closing = "\n</think>\n\n" if answer and self.thinking and not self.answer else ""
        self.answer += answer
        return opening + thinking + closing + answer


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a streamed reply.

    Attributes:
        thinking: what it adds to the thinking; may be empty.
        answer: what it adds to the answer; may be empty.
        reason: why the reply ended; empty before its end.
        usage: tokens of the request, where the server says so.
    """

    thinking: str
    answer: str
    reason: str = ""
    usage: Usage | None = None


class Options(TypedDict, total=False):
    """Keyword arguments of every `Server`."""

    api_key: str | None
    key_source: str
    thinking: bool
    patience: Patience | None


class Server(ABC):
    """What the backends of servers share: whom they ask, how patiently, and what they count.

    Args:
        url: the server's address.
        model: the server's name of the model.
        api_key: sent as a bearer token; no header without one.
        key_source: where the user sets the key, for the message about a wrong one.
        thinking: whether a thinking reply is asked for.
        patience: time-outs, retries and concurrency.
    """

    local = False

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        key_source: str = "the API key",
        thinking: bool = False,
        patience: Patience | None = None,
    ) -> None:
        remember_url(url, "model.url")
        if api_key:
            remember(api_key)
        self.url = url
        self.model = model
        self.thinking = thinking
        self.patience = patience or Patience()
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.key_source = key_source
        self.journal: Journal | None = None
        self._meter = Meter()

    @property
    def usage(self) -> Usage:
        """Tokens read and written so far, as far as the server said."""
        return self._meter.usage

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_done: Callable[[int], None] = no_progress
    ) -> list[Completion]:
        """Continue every prompt.

        Raises:
            ModelError: the server cannot be reached, refuses the key or the model, stays busy or answers nonsense.
        """

        def ask(place: int, prompt: Prompt) -> Completion:
            journal = self.journal
            if journal is not None and (known := journal.find(prompt, place, sampling)) is not None:
                return known
            completion = self.patiently(lambda: self.ask(prompt, sampling))
            self._meter.add(completion.usage)
            if journal is not None:
                journal.keep(prompt, place, sampling, completion)
            return completion

        return ask_all(ask, prompts, self.patience.concurrency, on_done)

    @abstractmethod
    def ask(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """Continue one prompt, in one attempt.

        Raises:
            ServerBusy: it may work later.
            ModelError: it will not.
        """

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Attempt until it works, as often as the recipe allows."""
        return retrying(attempt, self.patience.retries)

    def told(self, pieces: Iterator[Piece]) -> Iterator[Delta]:
        """A streamed reply as it comes, and at its end the whole of it.

        Raises:
            ModelError: the pieces ended without a reason.
        """
        reply, shown, reason, usage = Reply(), "", "", None
        for piece in pieces:
            reason, usage = piece.reason or reason, piece.usage or usage
            text = reply.add(piece.thinking, piece.answer)
            if text:
                shown += text
                yield Delta(text)
        if not reason:
            raise ModelError(f"{self.url}: the connection ended within the reply; try again")
        self._meter.add(usage)
        yield Delta("", Completion(shown, (), reason != "length", usage))
