"""Progress on the terminal: live bars where there is one, plain lines elsewhere, nothing when asked to be quiet.

Everything goes to stderr, so that stdout holds the result alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from graft.cli.text import duration, fact, printable
from graft.pipeline.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars

Fact = float | int | str
SECONDS_BETWEEN_LINES = 10.0
"""Without a terminal a task writes at most one line in this time."""


@contextmanager
def open_progress(*, quiet: bool, stream: TextIO | None = None) -> Iterator[Progress]:
    """Choose how progress is shown, and leave the terminal clean whatever happens.

    Args:
        quiet: show nothing.
        stream: where to; stderr when unset.
    """
    lasting = Lasting(stream or sys.stderr)
    if quiet:
        yield SilentProgress()
    elif lasting.isatty():
        live = LiveProgress(_console(lasting))
        try:
            yield live
        finally:
            live.close()
    else:
        yield PlainProgress(lasting)


class Lasting:
    """A stream whose reader may go away, as a terminal does when its connection ends: the work goes on without it.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if there is still somebody to read it."""
        with suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Send what was written on its way, if there is still one."""
        with suppress(OSError):
            self._stream.flush()


def _console(stream: TextIO | Lasting) -> Console:
    from rich.console import Console

    return Console(file=cast("TextIO", stream), highlight=False, markup=False)


class PlainProgress:
    """Lines for log files and pipes: one per stage, per note, per finished task, and one in ten seconds in between."""

    def __init__(self, stream: TextIO | Lasting, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    def stage(self, title: str) -> None:
        """Write the title."""
        self.line(title)

    def task(self, description: str, total: int | None = None) -> PlainTask:
        """Begin counting; nothing is written yet."""
        return PlainTask(self.line, self._clock, description, total)

    def note(self, text: str) -> None:
        """Write the note."""
        self.line(text)

    def warn(self, text: str) -> None:
        """Write the warning."""
        self.line(f"warning: {text}")

    def line(self, text: str) -> None:
        """Write one line at once."""
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()


class PlainTask:
    """Counts one task and writes a line now and then."""

    def __init__(
        self, line: Callable[[str], None], clock: Callable[[], float], description: str, total: int | None
    ) -> None:
        self._line = line
        self._clock = clock
        self._description = description
        self._total = total
        self._done = 0
        self._facts: dict[str, Fact] = {}
        self._started = self._last = clock()
        self._finished = False

    def advance(self, count: int = 1, **facts: Fact) -> None:
        """Count, and write a line when the last one is old enough."""
        self._done += count
        self._facts.update(facts)
        if not self._finished and self._clock() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = self._clock()
            self._line(self._state())

    def finish(self) -> None:
        """Write the closing line, once."""
        if not self._finished:
            self._finished = True
            elapsed = self._clock() - self._started
            self._line(closing(self._description, self._done, elapsed, self._facts))

    def _state(self) -> str:
        elapsed = self._clock() - self._started
        rate = self._done / elapsed if elapsed > 0 else 0.0
        parts = [f"{self._done}/{self._total}" if self._total else str(self._done), f"{rate:.1f}/s"]
        if self._total and rate > 0:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        return "  ".join([f"  {self._description}", *parts, *facts_text(self._facts)])


def closing(description: str, done: int, elapsed: float, facts: dict[str, Fact]) -> str:
    """The line that stays of a finished task."""
    counted = [f"{done} in {duration(elapsed)}"] if done else [duration(elapsed)]
    return "  ".join([f"✓ {description}", *counted, *facts_text(facts)])


def facts_text(facts: dict[str, Fact]) -> list[str]:
    """Facts as short words: `loss 1.25`."""
    return [f"{name.replace('_', ' ')} {fact(value)}" for name, value in facts.items()]


class LiveProgress:
    """Bars with rate, time gone and time left; a finished bar becomes one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = _bars(console)

    def stage(self, title: str) -> None:
        """Write the title in bold above the bars."""
        self._console.print(printable(title), style="bold")

    def task(self, description: str, total: int | None = None) -> LiveTask:
        """Show a new bar."""
        self._bars.start()
        return LiveTask(self._bars, self._console, description, total)

    def note(self, text: str) -> None:
        """Write the note above the bars."""
        self._console.print(printable(text))

    def warn(self, text: str) -> None:
        """Write the warning above the bars."""
        self._console.print(printable(f"warning: {text}"), style="yellow")

    def close(self) -> None:
        """Take the bars away and give the cursor back."""
        self._bars.stop()


class LiveTask:
    """One bar."""

    def __init__(self, bars: Bars, console: Console, description: str, total: int | None) -> None:
        self._bars = bars
        self._console = console
        self._description = description
        self._facts: dict[str, Fact] = {}
        self._done = 0
        self._started = time.monotonic()
        self._finished = False
        self._id = bars.add_task(printable(description), total=total, facts="")

    def advance(self, count: int = 1, **facts: Fact) -> None:
        """Move the bar and renew the facts beside it."""
        self._done += count
        self._facts.update(facts)
        if not self._finished:
            self._bars.update(self._id, advance=count, facts="  ".join(facts_text(self._facts)))

    def finish(self) -> None:
        """Replace the bar by one line, once."""
        if self._finished:
            return
        self._finished = True
        self._bars.remove_task(self._id)
        elapsed = time.monotonic() - self._started
        self._console.print(printable(closing(self._description, self._done, elapsed, self._facts)), style="green")
        if not self._bars.tasks:
            self._bars.stop()


def _bars(console: Console) -> Bars:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.progress import Task as BarTask
    from rich.text import Text

    class Rate(TextColumn):
        def __init__(self) -> None:
            super().__init__("")

        def render(self, task: BarTask) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "", style="cyan")

    return Bars(
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        console=console,
        transient=True,
    )
