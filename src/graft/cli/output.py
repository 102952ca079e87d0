"""Results on stdout: tables for people, JSON for machines."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from io import StringIO
from typing import Any

import click

from graft.cli.text import printable
from graft.runs.redaction import redacted

PIPE_WIDTH = 1000
"""Columns of a table that goes to a file or a pipe, where nothing should be wrapped."""

_NUMBER = re.compile(r"[-+−–\d.,%\s\[\]()]*|nan")


def print_json(value: object) -> None:
    """Print a value as JSON without secrets; what is not a finite number becomes null, paths and dates become text."""
    text = redacted(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str))
    click.echo(re.sub(r"[^\n\x20-\x7e]", _escaped, text))


def _escaped(match: re.Match[str]) -> str:
    """A character as it is, or by its code where it would disturb a terminal."""
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that fits the terminal; numbers are aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, title in enumerate(columns):
        numeric = all(_NUMBER.fullmatch(row[index]) for row in rows) and bool(rows)
        table.add_column(Text(printable(title)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    text = StringIO()
    Console(file=text, width=PIPE_WIDTH, highlight=False).print(table)
    click.echo("\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip()))
