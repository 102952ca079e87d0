"""Form and skill of each target: what strict scores say, and how its change splits; and tables of collateral tasks."""

from __future__ import annotations

from collections.abc import Iterator

from graft.report.explain import arm_title
from graft.report.load import RunFiles
from graft.report.numbers import DASH, number, p_value, points_with_interval
from graft.report.tables import Cell, Table
from graft.stats.paired import Change
from graft.stats.study import TargetVerdict


def form_table(files: RunFiles) -> Table | None:
    """By target and rival: the change by outcome and by strict score, of readable replies and right ones among them."""
    targets = files.study.targets if files.study else ()
    rows = tuple(row for target in targets for row in _form_rows(target))
    if not rows:
        return None
    columns = ("Target", "Trained against", "Outcome", "Strict", "Readable replies", "Right among readable")
    return Table("form", "Form and skill: each change in points, with its 95% interval", columns, rows)


def _form_rows(target: TargetVerdict) -> Iterator[tuple[Cell, ...]]:
    strict = {contrast.before: contrast.change for contrast in target.strict}
    split = {found.before: found for found in target.form}
    for contrast in (contrast for contrast in target.contrasts if contrast.required):
        before = contrast.before
        if before in strict or before in split:
            parts = split.get(before)
            yield (
                Cell(target.task, kind="head"),
                Cell(arm_title(before), kind="text"),
                _moved(contrast.change),
                _moved(strict.get(before)),
                _moved(parts.parsed if parts else None),
                _moved(parts.right_among_parsed if parts else None),
            )


def collateral_table(files: RunFiles) -> Table | None:
    """Tasks of which only harm is reported."""
    found = files.study.collateral if files.study else ()
    if not found:
        return None
    columns = ("Task", "Items", "Seeds", "Trained − base", "p of a loss (Holm)", "Harmed")
    rows = tuple(
        (
            Cell(task.task, kind="head"),
            Cell(number(task.n_items)),
            Cell(number(task.seeds)),
            _moved(task.contrasts[0].change),
            Cell(p_value(task.p_adjusted), task.contrasts[0].change.reason),
            Cell("yes" if task.harmed else "not by the margin" if task.excluded else "open", task.headline, "text"),
        )
        for task in found
    )
    return Table("collateral", "Tasks of which only harm is reported (points)", columns, rows)


def _moved(change: Change | None) -> Cell:
    if change is None:
        return Cell(DASH, "not recorded in this run")
    return Cell(points_with_interval(change.estimate, change.interval), change.reason)
