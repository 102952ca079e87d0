"""What a recipe would do, told before it does anything: nothing is trained and no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.config.loading import Resolved
from graft.config.naming import run_name
from graft.data.chat import thinking_mode
from graft.data.survey import ShownExample
from graft.pipeline.branches import branches
from graft.pipeline.outcome import Table, now
from graft.pipeline.prepare.forecast import power_table
from graft.pipeline.prepare.lab import Lab, prepare
from graft.pipeline.prepare.leaks import write_clean_ids
from graft.pipeline.prepare.preflight import (
    Preflight,
    estimate_lines,
    leak_table,
    preflight,
    shown_first,
    survey_table,
    task_table,
)
from graft.pipeline.prepare.taskbook import labels
from graft.pipeline.prepare.validate import validate
from graft.pipeline.progress import Progress
from graft.report.preflight import write_preflight


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        lines: the plan in words.
        shown: one training example of each task, token by token.
        tables: examples, leaks and scored tasks.
        page: the same as an HTML page, with all that is shown of it.
        found: everything.
    """

    lines: tuple[str, ...]
    shown: tuple[ShownExample, ...]
    tables: tuple[Table, ...]
    page: Path
    found: Preflight

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may spoil the result, though the recipe can run."""
        return self.found.warnings

    def to_json(self) -> dict[str, Any]:
        """The check for machines."""
        return {"plan": list(self.lines), "page": str(self.page), **self.found.to_json()}


def check(
    resolved: Resolved, *, progress: Progress, page: Path | None = None, clean: Path | None = None
) -> CheckResult:
    """Validate a recipe, look at its examples and describe its run.

    Args:
        resolved: the recipe.
        progress: told while it looks.
        page: where the HTML page goes; ``preflight.html`` in the run folder when ``None``.
        clean: where the ids of the held-out items that did not leak go; nowhere when ``None``.

    Raises:
        GraftError: whatever would stop the run, found early.
    """
    recipe = resolved.recipe
    validate(recipe)
    lab = prepare(recipe)
    if lab.audit is not None:
        lab.audit.require()
    found = preflight(lab, progress)
    name = run_name(recipe, now(), labels(recipe))
    written = write_preflight(page or recipe.runs / "preflight.html", found.to_json(), title=name)
    if clean is not None:
        write_clean_ids(lab, found.leaks, clean)
    found.require()
    lines = [f"run       {recipe.runs / name}", *_plan(lab)]
    lines += [f"boundary  {line}" for line in found.boundary.lines()] if found.boundary is not None else []
    lines += [f"adapters  {found.adapters.removeprefix('adapters ')}"] if found.adapters else []
    lines += estimate_lines(found.estimate) if found.estimate is not None else []
    lines += [f"data      {note}" for note in found.notes]
    lines.append(f"forecast  {found.detectable['note']}")
    tables = (survey_table(found), leak_table(found), task_table(found), power_table(found.detectable))
    shown = tuple(table for table in tables if table.rows)
    return CheckResult(tuple(lines), tuple(shown_first(found.shown, 1)), shown, written, found)


def _plan(lab: Lab) -> tuple[str, ...]:
    recipe = lab.recipe
    lines = [
        f"model     {recipe.model.id}, {len(lab.tokenizer):,} tokens in its vocabulary",
        f"thinking  {recipe.thinking}; the model's template: {thinking_mode(lab.tokenizer).value}",
    ]
    if lab.words is not None:
        counts = f"{len(lab.words.train):,} to train, {len(lab.words.eval):,} held out, from {lab.words.source}"
        dropped = ", ".join(f"{n:,} by {relation}" for relation, n in lab.words.dropped.items())
        lines.append(f"words     {counts}; leak audit passed{f'; related words dropped: {dropped}' if dropped else ''}")
    for section in lab.recipe.data.tasks:
        card = lab.book.card(section.name)
        lines.append(f"task      {section.name}: {card.summary} {card.size}; from {card.source}")
    return (*lines, f"branches  {', '.join(branch.label for branch in branches(recipe))}")
