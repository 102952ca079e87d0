"""Training a branch on answers or texts: its rows, and the engine that fits them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.data.mixture import Drawn
from graft.pipeline.branches import Branch
from graft.pipeline.places import controls_path
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.progress import Progress
from graft.pipeline.train.replies import own_replies
from graft.pipeline.train.rows import TrainingRows, training_rows
from graft.runs.directory import RunDirectory
from graft.train.backends import fit_with
from graft.train.plan import FitResult, Hooks, Plan, StepReport
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Supervised:
    """A training on rows.

    Attributes:
        lab: names the engine.
        rows: in training order.
        drawn: what each source gave.
    """

    lab: Lab
    rows: Sequence[TokenRow]
    drawn: tuple[Drawn, ...]

    shown = "loss"

    @property
    def steps(self) -> int:
        """Optimizer steps in which the rows are read; the last may be smaller than the others."""
        return self.lab.steps_of(len(self.rows))

    def fit(self, model: PreTrainedModel, plan: Plan, folder: Path, hooks: Hooks[StepReport]) -> FitResult:
        """Train by the recipe's engine."""
        pad_id = int(self.lab.tokenizer.pad_token_id)
        return fit_with(self.lab.recipe.engine.name, model, self.rows, plan, pad_id=pad_id, folder=folder, hooks=hooks)

    def numbers(self, report: StepReport) -> dict[str, float]:
        """A report as values of the log; what is not known is left out."""
        extra = {"accuracy": report.accuracy, "tokens_per_second": report.tokens_per_second}
        return {
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "grad_norm": report.grad_norm,
            **{name: value for name, value in extra.items() if not math.isnan(value)},
            **({"peak_bytes": report.peak_bytes} if report.peak_bytes else {}),
        }


def supervised(run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, progress: Progress) -> Supervised:
    """The rows of a branch; those of ``self`` are answered by the model as it came."""
    bar = progress.task(f"tokenise {branch.label}", lab.examples)
    found = training_rows(lab, branch, on_rows=bar.advance)
    bar.finish()
    _tell_rows(lab, branch, found, progress)
    if branch.arm != "self":
        return Supervised(lab, found.table, found.drawn)
    replies = own_replies(
        model,
        lab.tokenizer,
        found.table,
        controls_path(run, branch),
        progress,
        max_new_tokens=lab.recipe.sampling.max_new_tokens,
        batch_size=lab.recipe.eval.batch_size,
    )
    return Supervised(lab, replies, found.drawn)


def _tell_rows(lab: Lab, branch: Branch, found: TrainingRows, progress: Progress) -> None:
    """Say what was passed over and how often each source was gone through."""
    if found.dropped:
        limit = lab.recipe.data.max_length
        progress.note(f"{branch.label}: {found.dropped:,} rows longer than data.max_length={limit} were passed over")
    for drawn in found.drawn:
        LOG.info("%s: %s gave %d rows, %.2f epochs", branch.label, drawn.source, drawn.rows, drawn.epochs)
    if len(found.drawn) > 1:
        given = ", ".join(f"{drawn.source} {drawn.rows:,} rows ({drawn.epochs:.2f} epochs)" for drawn in found.drawn)
        progress.note(f"{branch.label}: {given}")
