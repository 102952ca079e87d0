"""How far the styles of control tokens are apart: one table, read from separation.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graft.report.explain import arm_title
from graft.report.load import RunFiles
from graft.report.numbers import DASH, number
from graft.report.tables import Cell, Table
from graft.runs.files import read_json


def read_separation(files: RunFiles) -> Mapping[str, Any]:
    """What was measured; empty when the run has no control tokens.

    Raises:
        RunError: the file is damaged.
    """
    path = files.path / "separation.json"
    found: Mapping[str, Any] = read_json(path) if path.is_file() else {}
    return found


def separation_table(stored: Mapping[str, Any]) -> Table | None:
    """Ratio and reply lengths of every measured model; ``None`` when nothing was measured."""
    if not stored.get("rows"):
        return None
    short, long = stored["short"], stored["long"]
    columns = ("Arm", "Prompts", f"{long} / {short}", short, long, "no token", "untrained token", "cut")
    caption = (
        f"Reply tokens under {long} over those under {short}: median over held-out prompts with its 95% bootstrap "
        "interval, and the median length under every token, all decoded alike"
    )
    return Table("separation", caption, columns, tuple(_row(row, short, long) for row in stored["rows"]))


def _row(row: Mapping[str, Any], short: str, long: str) -> tuple[Cell, ...]:
    ratio, medians = row["ratio"], row["medians"]
    lengths = [
        Cell(f"{medians[name]:g}") if name in medians else Cell(DASH, "nothing was trained")
        for name in (short, long, "none", "untrained")
    ]
    return (
        Cell(arm_title(row["branch"]), kind="head"),
        Cell(number(ratio["n"])),
        Cell(f"{ratio['estimate']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"),
        *lengths,
        Cell(f"{100 * max(row['cut'][name] for name in (short, long)):.0f}%"),
    )
