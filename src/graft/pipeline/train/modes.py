"""How each mode trains a branch. The modes are named here and nowhere else in this stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from graft.data.mixture import Drawn
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.progress import Progress
from graft.pipeline.train.grpo import by_reward
from graft.pipeline.train.supervised import supervised
from graft.runs.directory import RunDirectory
from graft.train import processes
from graft.train.plan import FitResult, Hooks, Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Training(Protocol):
    """A branch that is ready to be fitted."""

    @property
    def steps(self) -> int:
        """Optimizer steps."""

    @property
    def drawn(self) -> tuple[Drawn, ...]:
        """What each source gave, where that is known before."""

    @property
    def shown(self) -> str:
        """The number of a report that is shown while it runs."""

    def fit(self, model: PreTrainedModel, plan: Plan, folder: Path, hooks: Hooks[Any]) -> FitResult:
        """Train the model, in place, from the newest complete checkpoint in ``folder`` if any."""

    def numbers(self, report: Any) -> dict[str, float]:
        """A report as values of the log."""


Begin = Callable[[RunDirectory, Lab, Branch, "PreTrainedModel", Progress], Training]

MODES: Mapping[str, Begin] = {"sft": supervised, "pretrain": supervised, "grpo": by_reward}
"""What gets a branch ready, by the recipe's mode."""


def begin(run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, progress: Progress) -> Training:
    """Get a branch ready in the recipe's mode; of many processes the first one makes what all of them read."""
    with processes.first_goes_first(f"rows of {branch.label}"):
        return MODES[lab.recipe.mode](run, lab, branch, model, progress)
