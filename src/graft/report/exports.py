"""What leaves the lab: every exported artefact of a run against the branch that was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from graft.report.figures import Chart, Panel
from graft.report.load import RunFiles
from graft.report.numbers import DASH, number, percent, points, points_with_interval
from graft.report.svg import FAINT, INK, draw_panel
from graft.report.tables import Cell, Table
from graft.runs.files import read_json
from graft.runs.space import format_bytes
from graft.stats.intervals import Interval

NOT_SCORED = "it was not scored: graft export --score"


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file or folder that was exported.

    Attributes:
        name: arm, form and type.
        bytes: size of its weights.
        summary: how it was compared with its branch.
        scores: what its items gave; empty where they were not asked.
    """

    name: str
    bytes: int
    summary: str
    scores: Mapping[str, Any]


def read_artefacts(files: RunFiles) -> tuple[Artefact, ...]:
    """Everything that was exported from a run, largest first.

    Raises:
        RunError: a record is damaged.
    """
    found = [one for path in sorted((files.path / "exports").glob("*.json")) for one in _artefacts(read_json(path))]
    return tuple(sorted(found, key=lambda one: -one.bytes))


def _artefacts(record: Mapping[str, Any]) -> Iterator[Artefact]:
    parts = record.get("files") or {record["dtype"]: record}
    for kind, one in parts.items():
        name = f"{record['arm']}, {record['form']} {kind}"
        yield Artefact(name, one["bytes"], one["summary"], one.get("scores") or {})


def exports_table(artefacts: Sequence[Artefact]) -> Table | None:
    """Size, agreement and scores of every artefact; ``None`` when nothing was exported."""
    if not artefacts:
        return None
    columns = (
        "Artefact", "Size", "Task", "Items", "Branch", "Exported", "Change", "Same replies", "Smallest loss seen",
        "Tokens/s", "Compared",
    )  # fmt: skip
    caption = (
        "What was exported against the branch that was measured, on the same held-out items through the artefact's own "
        "runtime: paired change with its 95% interval, and the loss that these items would show with 80% power"
    )
    return Table("exports", caption, columns, tuple(row for one in artefacts for row in _rows(one)))


def _rows(one: Artefact) -> Iterator[tuple[Cell, ...]]:
    head, size = Cell(one.name, kind="head"), Cell(format_bytes(one.bytes))
    if not one.scores:
        yield head, size, *(Cell(DASH, NOT_SCORED) for _ in range(8)), Cell(one.summary, kind="text")
    for task, found in (one.scores.get("tasks") or {}).items():
        change = _interval(found["change"])
        yield (
            head,
            size,
            Cell(task, kind="text"),
            Cell(number(found["n"])),
            Cell(percent(found["branch"]), found["measure"]),
            Cell(percent(found["exported"]), found["measure"]),
            Cell(points_with_interval(change.estimate, change)) if change.defined else Cell(DASH, change.reason),
            Cell(percent(found["same_replies"])),
            _loss(found["smallest_loss"]),
            _speed(one.scores["tokens_per_second"], one.scores["runtime"]),
            Cell(one.summary, kind="text"),
        )


def _speed(value: float | None, runtime: str) -> Cell:
    if value is None or math.isnan(value):
        return Cell(DASH, f"{runtime} read most right answers in one pass")
    return Cell(f"{value:,.0f}", runtime)


def _loss(value: float | None) -> Cell:
    return Cell(DASH, "too few items") if value is None or math.isnan(value) else Cell(points(-value))


def _interval(found: Mapping[str, Any]) -> Interval:
    values: dict[str, Any] = {name: float("nan") if value is None else value for name, value in found.items()}
    return Interval(**values)


def exports_chart(artefacts: Sequence[Artefact]) -> Chart | None:
    """Size against accuracy, one panel for each task; ``None`` with fewer than two scored artefacts."""
    scored = [one for one in artefacts if one.scores]
    tasks = dict.fromkeys(task for one in scored for task in one.scores["tasks"])
    panels = []
    for task in tasks:
        shown = [one for one in scored if task in one.scores["tasks"]]
        if len(shown) < 2:
            continue
        name = f"exports-{task.replace('/', '-')}"
        values = [f"{one.name} {percent(one.scores['tasks'][task]['exported'])}" for one in shown]
        label = f"{task}: {'; '.join(values)}"
        svg = draw_panel(name, label, 62 + 34 * len(shown), partial(_draw, task=task, shown=shown))
        panels.append(Panel(name, task, label, svg))
    if not panels:
        return None
    caption = (
        "Change of accuracy from the branch, with its 95% interval, by size of the artefact; the line is no change."
    )
    return Chart("exports-sizes", "Size against accuracy", caption, tuple(panels))


def _draw(axes: Any, task: str, shown: Sequence[Artefact]) -> None:
    axes.axvline(0, color=FAINT)
    for row, one in enumerate(shown):
        change = _interval(one.scores["tasks"][task]["change"])
        axes.plot([100 * change.estimate], [row], "o", color=INK)
        if change.defined:
            axes.plot([100 * change.low, 100 * change.high], [row, row], color=INK)
    axes.set_yticks(range(len(shown)), [f"{one.name.split(' ')[-1]}\n{format_bytes(one.bytes)}" for one in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("points from the branch")
