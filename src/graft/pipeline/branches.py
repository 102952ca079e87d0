"""The arms of a study, spelled out: one branch per model that is trained or scored."""

from __future__ import annotations

from dataclasses import dataclass

from graft.config.data import TrainSource
from graft.config.schema import Arm, Recipe
from graft.errors import ConfigError, choices
from graft.tasks import is_word_task

UNTRAINED: tuple[Arm, ...] = ("base", "prompted")
"""Arms that score the model as it came."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One model of the study.

    Attributes:
        arm: the arm it belongs to.
        seed: training seed; ``None`` for an untrained arm.
        target: the task that a ``direct`` branch is trained on.
        thinking: the second way of scoring under ``thinking: compare``.
    """

    arm: Arm
    seed: int | None = None
    target: str = ""
    thinking: bool = False

    @property
    def label(self) -> str:
        """Name in files and logs, for instance ``base``, ``trained-seed0`` or ``direct-count-seed1``."""
        way = "thinking" if self.thinking else ""
        target = self.target.replace("/", "-")
        parts = (self.arm, target, way, "" if self.seed is None else f"seed{self.seed}")
        return "-".join(part for part in parts if part)


def branches(recipe: Recipe) -> tuple[Branch, ...]:
    """All branches of a recipe, the untrained ones first, then seed by seed."""
    arms = recipe.study.arms
    trained = [
        Branch(arm, seed, target)
        for seed in recipe.study.seeds
        for arm in arms
        if arm not in UNTRAINED
        for target in (target_tasks(recipe) if arm == "direct" else ("",))
    ]
    return (*(Branch(arm) for arm in arms if arm in UNTRAINED), *trained)


def find_branch(recipe: Recipe, arm: str | None) -> Branch:
    """The branch of that label; the first one of the arm ``trained``, else the first of all, when unset.

    Raises:
        ConfigError: there is no such branch.
    """
    known = {branch.label: branch for branch in branches(recipe)}
    if arm is not None and arm not in known:
        raise ConfigError(f"the arm is {arm!r}, but the run has no such arm. {choices(arm, known)}")
    if arm is not None:
        return known[arm]
    return next((branch for branch in known.values() if branch.arm == "trained"), next(iter(known.values())))


def trained_tasks(recipe: Recipe) -> tuple[str, ...]:
    """The tasks that the recipe trains on."""
    return tuple(source.task for source in recipe.data.train)


def target_tasks(recipe: Recipe) -> tuple[str, ...]:
    """The scored tasks to which transfer may be claimed: never trained, and declared or akin to a trained one."""
    return tuple(task for task in _untrained_tasks(recipe) if _is_target(recipe, task))


def collateral_tasks(recipe: Recipe) -> tuple[str, ...]:
    """The other scored tasks that are never trained: of them only harm is reported."""
    return tuple(task for task in _untrained_tasks(recipe) if not _is_target(recipe, task))


def _untrained_tasks(recipe: Recipe) -> tuple[str, ...]:
    return tuple(task for task in recipe.eval.tasks if task not in trained_tasks(recipe))


def _is_target(recipe: Recipe, task: str) -> bool:
    if task in recipe.eval.roles:
        return recipe.eval.roles[task] == "target"
    return any(_family(task) == _family(trained) for trained in trained_tasks(recipe))


def _family(task: str) -> str:
    """Word tasks are one, and so are the tasks of a collection, such as ``glue/…``."""
    return "words" if is_word_task(task) else task.partition("/")[0]


def branch_sources(recipe: Recipe, branch: Branch) -> tuple[TrainSource, ...]:
    """What a branch is trained on: the recipe's mixture, or for a ``direct`` branch its target alone."""
    return (TrainSource(task=branch.target),) if branch.arm == "direct" else recipe.data.train
