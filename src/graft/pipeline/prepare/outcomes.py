"""Which score of a task the verdict is about: fixed before training, from the recipe, the task and the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.evals.constrained import questions
from graft.evals.items import Items
from graft.evals.labels import has_labels
from graft.pipeline.prepare.served import is_remote

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Measure = Literal["constrained", "lenient", "strict"]


def outcome_of(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, scored: Sequence[Items], *, thinks: bool = False
) -> Measure:
    """The score of a task that the verdict is about.

    Args:
        recipe: what it asks for.
        tokenizer: the model's.
        scored: the task's items, at least one part of them.
        thinks: the replies think first; only what they come to is scored then.

    Raises:
        ConfigError: the recipe asks for a constrained score that the task cannot have.
    """
    wanted = recipe.study.outcome
    if wanted in ("lenient", "strict"):
        return wanted
    if not thinks and not is_remote(recipe) and all(_is_closed(tokenizer, items) for items in scored):
        return "constrained"
    if wanted == "constrained" and not thinks:
        raise ConfigError(
            f"study.outcome is constrained, but the answers of {scored[0].task.card.name} are no closed set that this "
            "model's likelihoods can be asked for; take auto or lenient"
        )
    return "lenient"


def _is_closed(tokenizer: PreTrainedTokenizerBase, items: Items) -> bool:
    """Whether every item can be asked which answer of a closed set is the likeliest."""
    return not items.think and (has_labels(items) or None not in questions(tokenizer, items))
