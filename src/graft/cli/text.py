"""Small formats of the command line: durations, facts, and text that cannot disturb a terminal."""

from __future__ import annotations


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
    """Text without control characters: a name or a model's reply must not move the cursor or change colours."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)
