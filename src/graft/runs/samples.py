"""Scored items as JSON Lines: one row per item, every row or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graft.errors import RunError
from graft.runs.encoding import to_json
from graft.runs.files import read_jsonl, replacing

SLASH = "--"
"""Stands for the slash of a task's name in the name of its file."""


def samples_name(label: str, task: str) -> str:
    """The name of the file of one arm's items of a task, without its ending."""
    return f"{label}.{task.replace('/', SLASH)}"


def write_samples(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write rows as they come, in their order; the file appears when the last one is written.

    Args:
        path: the file; its folders are made as needed.
        rows: the items; text stays as it is, a number that is not finite becomes null.

    Returns:
        The number of rows.

    Raises:
        StorageError: no rights or no space; an older file of that name is untouched.
    """
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(to_json(row) + "\n")
            count += 1
    return count


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file of samples; null comes back as ``None``, also where NaN was written.

    Raises:
        RunError: the file is missing or damaged. A torn last line is an error too: results from part of the items would
            pass for results from all of them.
    """
    torn: list[int] = []
    rows = read_jsonl(path, on_torn=lambda number, _: torn.append(number))
    wrong = torn or [number for number, row in enumerate(rows, start=1) if not isinstance(row, dict)]
    if wrong:
        raise RunError(f"{path}, line {wrong[0]} is damaged: it must hold one whole item. Run the evaluation again.")
    return rows
