"""What all servers have in common: several requests at once, patience with a busy one, errors in one voice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from graft.errors import ModelError
from graft.types import Completion, Prompt, Usage

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
    ask: Callable[[Prompt], Completion],
    prompts: Sequence[Prompt],
    concurrency: int,
    on_done: Callable[[int], None],
) -> list[Completion]:
    """Ask for every prompt, several at once; the first error ends it all.

    Returns:
        The completions in the order of the prompts.
    """
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="graft-remote") as pool:
        asked = [pool.submit(ask, prompt) for prompt in prompts]
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
