"""A second benchmark for a finished run: its arms, scored on other tasks, as a run of its own.

The first run's verdict was fixed before it was trained, so nothing is added to it. The new run has the arms by a link
to their checkpoints, and is judged and reported like any other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from graft import tasks
from graft.config.data import TaskSection
from graft.config.loading import Resolved
from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.pipeline.prepare.number_formats import FILE as FORMATS
from graft.pipeline.prepare.taskbook import task_names
from graft.runs.directory import RunDirectory

READS = (
    "eval sampling study.outcome study.margin study.alpha study.resamples check report runs name model.device model.url"
)
"""What may be set beside the tasks: how they are scored and judged, not what was trained."""


def further_recipe(resolved: Resolved, own: Sequence[TaskSection] = ()) -> Resolved:
    """The recipe of the new run.

    Args:
        resolved: the first run's recipe with other tasks to score.
        own: further tasks from files.

    Raises:
        ConfigError: no arm is left that can be scored so.
    """
    recipe = resolved.recipe
    there = {section.name for section in recipe.data.tasks}
    data = recipe.data.model_copy(
        update={"tasks": (*recipe.data.tasks, *(section for section in own if section.name not in there))}
    )
    recipe = recipe.model_copy(update={"data": data, "name": recipe.name or f"eval-{'-'.join(recipe.eval.tasks)}"})
    roles = {task: role for task, role in recipe.eval.roles.items() if task in recipe.eval.tasks}
    arms = tuple(arm for arm in recipe.study.arms if _can_be_asked(recipe, arm))
    if not arms:
        raise ConfigError(f"the run has only {', '.join(recipe.study.arms)}, which {recipe.name} cannot ask")
    changed = {
        "study": recipe.study.model_copy(update={"arms": arms}),
        "eval": recipe.eval.model_copy(update={"roles": roles}),
    }
    return Resolved(recipe.model_copy(update=changed), resolved.origins)


def _can_be_asked(recipe: Recipe, arm: str) -> bool:
    """Arms about tasks of their own are left out: ``direct`` was trained on one, ``prompted`` asks about words."""
    return arm != "direct" and (arm != "prompted" or all(map(tasks.is_word_task, task_names(recipe))))


def adopt(run: RunDirectory, first: RunDirectory) -> None:
    """Give a new run the trained arms of another: a link to their weights, and copies of what is known of them."""
    run.checkpoints.symlink_to(os.path.relpath(first.checkpoints, run.path), target_is_directory=True)
    run.stages.mkdir(exist_ok=True)
    for marker in first.stages.glob("train-*"):
        shutil.copy(marker, run.stages)
    if (first.path / FORMATS).is_file():
        shutil.copy(first.path / FORMATS, run.path)
