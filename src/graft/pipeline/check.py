"""What a recipe would do, told before it does anything: nothing is trained and no weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graft.config.loading import Resolved
from graft.config.naming import run_name
from graft.data.chat import thinking_mode
from graft.data.tokens import encode
from graft.pipeline.branches import branch_examples, branches
from graft.pipeline.lab import Lab, detectable, forecast, prepare
from graft.pipeline.lab import warnings as lab_warnings
from graft.pipeline.outcome import Table, now
from graft.pipeline.validate import validate
from graft.stats.study import CONFIRMATORY_SEEDS

SAMPLE_ROWS = 256
"""Training rows that are tokenised to forecast the whole."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        lines: the plan in words.
        table: scored tasks with their items and the smallest change they can show.
        warnings: what may spoil the result, though the recipe can run.
    """

    lines: tuple[str, ...]
    table: Table
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The check for machines."""
        tasks = [dict(zip(self.table.columns, row, strict=True)) for row in self.table.rows]
        return {"plan": list(self.lines), "tasks": tasks, "warnings": list(self.warnings)}


def check(resolved: Resolved) -> CheckResult:
    """Validate a recipe and describe its run.

    Raises:
        GraftError: whatever would stop the run, found early.
    """
    recipe = resolved.recipe
    validate(recipe)
    lab = prepare(recipe)
    lab.audit.require()
    plan = forecast(lab)
    rows = tuple(_task_row(name, facts) for name, facts in plan["tasks"].items())
    columns = ("task", "trained", "held-out items", "smallest detectable change")
    lines = (f"run       {recipe.runs / run_name(recipe, now())}", *_plan(lab), *_sample(lab))
    return CheckResult(lines, Table(columns, rows), tuple(_warnings(lab)))


def _task_row(name: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    return name, "yes" if facts["trained"] else "no", f"{facts['items']:,}", detectable(facts)


def _plan(lab: Lab) -> tuple[str, ...]:
    recipe = lab.recipe
    trained = [branch for branch in branches(recipe) if branch.seed is not None]
    words = f"{len(lab.words.train):,} to train, {len(lab.words.eval):,} held out, from {lab.words.source}"
    lines = [
        f"model     {recipe.model.id}, {len(lab.tokenizer):,} tokens in its vocabulary",
        f"thinking  {recipe.thinking}; the model's template: {thinking_mode(lab.tokenizer).value}",
        f"words     {words}; leak audit passed",
        f"branches  {', '.join(branch.label for branch in branches(recipe))}",
    ]
    if trained:
        sample = branch_examples(recipe, trained[0], lab.words, SAMPLE_ROWS)
        encoded = encode(lab.tokenizer, sample, max_length=recipe.data.max_length, policy=lab.policy)
        sizes = [len(row) for row in encoded.rows]
        mean = sum(sizes) / len(sizes)
        examples = lab.steps * recipe.train.batch_size * recipe.train.gradient_accumulation
        each = f"{lab.steps} steps × {examples // lab.steps} examples of about {mean:.0f} tokens"
        lines.append(f"training  {len(trained)} × {each}: {len(trained) * examples * mean:,.0f} tokens in all")
    return tuple(lines)


def _sample(lab: Lab) -> tuple[str, ...]:
    """One training example as the model sees it."""
    trained = next((branch for branch in branches(lab.recipe) if branch.seed is not None), None)
    if trained is None:
        return ()
    example = branch_examples(lab.recipe, trained, lab.words, 1)[0]
    length = lab.recipe.data.max_length
    row = encode(lab.tokenizer, [example], max_length=length, policy=lab.policy).rows[0]
    read, trained_text = (lab.tokenizer.decode(list(ids)) for ids in (row.prompt, row.completion))
    return (f"read      {read!r}", f"trained   {trained_text!r}")


def _warnings(lab: Lab) -> list[str]:
    study = lab.recipe.study
    found = list(lab_warnings(lab))
    if len(study.seeds) < CONFIRMATORY_SEEDS:
        found.append(f"study.seeds has {len(study.seeds)}; under {CONFIRMATORY_SEEDS} the result is exploratory")
    if "trained" in study.arms and not {"base", "format"} <= set(study.arms):
        found.append("study.arms lacks base or format; without both, transfer cannot be claimed")
    return found
