"""Small formats of the command line: durations, facts, and text that cannot disturb a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click


def duration(seconds: float) -> str:
    """A duration that reads at a glance: `8.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def fact(value: float | int | str) -> str:
    """A number with four significant digits, or text as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def printable(text: str) -> str:
    """Text without control characters and secrets: a name, a reply or a server must not move the cursor, change
    colours or show a key.
    """
    from graft.runs.redaction import redacted  # the help needs none of it

    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in redacted(text))


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Write to the terminal; all that commands say goes through here or through `print_table` and `open_progress`."""
    click.echo(printable(text), err=err, nl=nl)


def echo_styled(pieces: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Write pieces of text to the terminal, each with its colours as `click.style` takes them."""
    click.echo("".join(click.style(printable(text), **style) for text, style in pieces))
