"""Ctrl-C and SIGTERM: both end a run in order, and what must not be cut in the middle may finish its step first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: somebody, often a scheduler, asks the process to end."""


@dataclass(slots=True)
class Held:
    """The signal that was held back.

    Attributes:
        arrived: its number; ``None`` as long as there was none.
    """

    arrived: int | None = None

    def interruption(self) -> KeyboardInterrupt:
        """What to raise for it."""
        return _interruption(self.arrived)


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _interruption(number)

    with _handling(stop, signal.SIGTERM):
        yield


@contextmanager
def held_back() -> Iterator[Held]:
    """Hold back the first Ctrl-C or SIGTERM; a second one raises at once.

    Whoever opens the block looks at `Held.arrived` where it may stop, and raises `Held.interruption`. Outside the main
    thread, where Python delivers no signals, nothing is ever held.
    """
    held = Held()

    def note(number: int, frame: FrameType | None) -> None:
        if held.arrived is not None:
            raise _interruption(number)
        held.arrived = number

    with _handling(note, signal.SIGINT, signal.SIGTERM):
        yield held


def _interruption(number: int | None) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def _handling(handler: signal._HANDLER, *numbers: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)
