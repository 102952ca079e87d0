"""Progress: bars on a terminal, few lines elsewhere, silence when asked."""

from __future__ import annotations

import sys
from io import StringIO

import pytest
from rich.console import Console

from graft.cli.progress import LiveProgress, PlainProgress, open_progress
from graft.cli.text import duration, fact, printable
from graft.pipeline.progress import Progress, SilentProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_gets_one_line_in_ten_seconds() -> None:
    clock, stream = Clock(), StringIO()
    progress = PlainProgress(stream, clock)
    progress.stage("train")
    task = progress.task("train trained-0", 100)
    for _ in range(50):
        clock.now += 0.5
        task.advance(loss=1.23456)
    task.finish()
    task.finish()
    task.advance()
    progress.note("done")
    progress.warn("odd")
    assert stream.getvalue().splitlines() == [
        "train",
        "  train trained-0  20/100  2.0/s  40.0 s left  loss 1.235",
        "  train trained-0  40/100  2.0/s  30.0 s left  loss 1.235",
        "✓ train trained-0  50 in 25.0 s  loss 1.235",
        "done",
        "warning: odd",
    ]


def test_a_task_of_unknown_length_tells_what_it_can() -> None:
    clock, stream = Clock(), StringIO()
    task = PlainProgress(stream, clock).task("read")
    clock.now += 20
    task.advance(10, file="a.txt")
    task.finish()
    assert stream.getvalue().splitlines() == ["  read  10  0.5/s  file a.txt", "✓ read  10 in 20.0 s  file a.txt"]


def test_a_terminal_gets_bars_that_become_one_line() -> None:
    stream = StringIO()
    live = LiveProgress(Console(file=stream, force_terminal=True, width=120, markup=False, highlight=False))
    live.stage("train [all]")
    first, second = live.task("train [bold]0", 4), live.task("score", None)
    first.advance(2, loss=0.5)
    first.advance(2)
    live.warn("careful")
    first.finish()
    first.finish()
    second.advance(3)
    second.finish()
    third = live.task("again", 1)
    third.advance()
    third.finish()
    live.close()
    text = stream.getvalue()
    assert "train [all]" in text
    assert text.count("✓ train [bold]0  4 in ") == 1
    assert "loss 0.5" in text
    assert "✓ score  3 in " in text
    assert "✓ again  1 in " in text
    assert "warning: careful" in text
    assert text.rstrip("\n").endswith("\x1b[?25h") or "\x1b[?25h" in text[text.rindex("\x1b[?25l") :]


def test_the_cursor_comes_back_after_an_error() -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with pytest.raises(RuntimeError), open_progress(quiet=False, stream=stream) as progress:
        assert isinstance(progress, LiveProgress)
        progress.task("train", 10).advance()
        raise RuntimeError
    shown = stream.getvalue()
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") or "\x1b[?25l" not in shown


@pytest.mark.parametrize("live", [False, True])
def test_a_terminal_that_was_closed_stops_nothing(live: bool) -> None:
    class Closed(StringIO):
        def isatty(self) -> bool:
            return live

        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

        def flush(self) -> None:
            raise OSError(5, "Input/output error")

    with open_progress(quiet=False, stream=Closed()) as progress:
        talk(progress)


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with open_progress(quiet=True) as progress:
        talk(progress)
    shown = capsys.readouterr()
    assert shown.out == shown.err == ""


def test_nothing_of_the_progress_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with open_progress(quiet=False) as progress:
        talk(progress)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "train" in shown.err
    assert not sys.stderr.isatty()


def talk(progress: Progress) -> None:
    progress.stage("train")
    task = progress.task("steps", 2)
    task.advance(1, loss=1.0)
    task.finish()
    progress.note("note")
    progress.warn("warning")


def test_the_silent_progress_can_be_talked_to(capsys: pytest.CaptureFixture[str]) -> None:
    talk(SilentProgress())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (8.25, "8.2 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_duration_reads_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_facts_and_text_are_short_and_harmless() -> None:
    assert (fact(0.000123456), fact(12), fact("x")) == ("0.0001235", "12", "x")
    assert printable("a\x1b[31mb\tc\nd") == "a�[31mb�c\nd"
