"""What a command of the pipeline hands back to whoever called it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from graft.runs.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Table:
    """Text cells under column titles."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run.

    Attributes:
        run: its directory.
        headline: the result in one sentence.
        table: the result in numbers.
        report: the HTML report, if one was written.
        notes: what the reader should know beside, and what to do next.
    """

    run: RunDirectory
    headline: str
    table: Table
    report: Path | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The outcome for machines: paths as text, the table as one mapping per row."""
        return {
            "run": str(self.run.path),
            "headline": self.headline,
            "table": [dict(zip(self.table.columns, row, strict=True)) for row in self.table.rows],
            "report": str(self.report) if self.report else None,
            "notes": list(self.notes),
        }


def now() -> datetime:
    """Local time with its zone: the time in a run's name."""
    return datetime.now().astimezone()
