"""Ctrl-C, SIGTERM and SIGHUP: all end a run in order, and what must not be cut in the middle may finish its step first.

Whoever presses Ctrl-C twenty times means one thing. So signals that follow one within `SAME_WISH_SECONDS` are that same
wish; a later one is a new wish and ends the process at once, wherever it is but within a save.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SAME_WISH_SECONDS = 5.0


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived: a scheduler asks the process to end, or its terminal was closed.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.number = number


@dataclass(slots=True)
class Held:
    """The signal that was held back.

    Attributes:
        arrived: its number; ``None`` as long as there was none.
        saving: nothing is cut while this is so.
    """

    arrived: int | None = None
    saving: bool = False

    def interruption(self) -> KeyboardInterrupt:
        """What to raise for it."""
        return _interruption(self.arrived)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What happens in the block is not cut, whatever arrives."""
        self.saving = True
        try:
            yield
        finally:
            self.saving = False


class _Wishes:
    """When somebody last asked this process to end, for all blocks that are open within one another."""

    def __init__(self) -> None:
        self._last = -SAME_WISH_SECONDS
        self.open = 0

    def is_new(self) -> bool:
        """Take note of a signal; whether it is more than another press of the same key."""
        now = time.monotonic()
        new = now - self._last >= SAME_WISH_SECONDS
        if new:
            self._last = now
        return new

    def begin(self) -> None:
        """A block opens; the outermost one knows of no wish."""
        if not self.open:
            self._last = time.monotonic() - SAME_WISH_SECONDS
        self.open += 1


_wishes = _Wishes()


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise `Terminated`, and Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, frame: FrameType | None) -> None:
        if _wishes.is_new():
            raise _interruption(number)

    with _handling(stop):
        yield


@contextmanager
def held_back() -> Iterator[Held]:
    """Hold back the first signal that asks the process to end; a second wish raises at once.

    Whoever opens the block looks at `Held.arrived` where it may stop, and raises `Held.interruption`. Outside the main
    thread, where Python delivers no signals, nothing is ever held.
    """
    held = Held()

    def note(number: int, frame: FrameType | None) -> None:
        new = _wishes.is_new()
        if held.arrived is None:
            held.arrived = number
        elif new and not held.saving:
            raise _interruption(number)

    with _handling(note):
        yield held


def _interruption(number: int | None) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number in (None, signal.SIGINT) else Terminated(int(number or signal.SIGTERM))


@contextmanager
def _handling(handler: signal._HANDLER) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    hup = getattr(signal, "SIGHUP", None)
    if hup is not None and signal.getsignal(hup) is not signal.SIG_IGN:  # nohup asks to live on
        numbers.append(hup)
    _wishes.begin()
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)
        _wishes.open -= 1
