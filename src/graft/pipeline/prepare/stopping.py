"""The recipe's rule for ending a training early."""

from __future__ import annotations

from graft.config.schema import Recipe
from graft.train.plan import Stopping
from graft.train.stopping import build_stopping


def stopping_of(recipe: Recipe, *, load: bool = True) -> Stopping | None:
    """The recipe's stopping rule; ``None`` when it has none.

    Args:
        recipe: the settings.
        load: import the criterion's module, which runs its code.

    Raises:
        ConfigError: an unknown metric, a rule without `train.eval_steps`, or a criterion that cannot be loaded.
    """
    section, train = recipe.stopping, recipe.train
    return build_stopping(
        metric=section.metric,
        mode=section.mode,
        patience=section.patience,
        min_delta=section.min_delta,
        criterion=section.criterion,
        keep_best=train.keep_best,
        eval_steps=train.eval_steps,
        tasks=recipe.eval.tasks,
        load=load,
    )
