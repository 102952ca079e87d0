"""What the recipe's thinking policy means for scoring: which ways are scored, and how thinking replies are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from graft.config.schema import Recipe
from graft.data.chat import pin_thinking_off
from graft.evals.scoring import Items, prepare_items
from graft.models.sampling import PRESETS, from_section
from graft.pipeline.branches import Branch
from graft.pipeline.lab import Lab
from graft.types import Sampling

if TYPE_CHECKING:
    from pathlib import Path


def ways(recipe: Recipe, branch: Branch) -> Iterator[tuple[Branch, bool]]:
    """Each way in which a branch is scored: the name it is stored under, and whether it thinks.

    Under ``compare`` the way without thinking is the branch itself, which is judged, and the other stands beside it.
    """
    if recipe.thinking == "compare":
        yield branch, False
        yield replace(branch, thinking=True), True
    else:
        yield branch, recipe.thinking == "on"


def thinking_items(lab: Lab, items: Items) -> Items:
    """The same items, rendered so that the model thinks first."""
    if items.think:
        return items
    length = lab.recipe.data.max_length
    return prepare_items(
        lab.tokenizer, items.task, items.split, items.examples, max_length=length, policy=lab.policy, think=True
    )


def thinking_sampling(recipe: Recipe) -> Sampling:
    """How thinking replies are drawn: as the recipe samples, but never greedily.

    A recipe that is greedy elsewhere thinks by the preset ``qwen3-thinking``.
    """
    stated = from_section(recipe.sampling)
    drawn = replace(PRESETS["qwen3-thinking"], seed=recipe.sampling.seed) if stated.greedy else stated
    return replace(drawn, max_new_tokens=recipe.eval.thinking_max_new_tokens)


def used_sampling(recipe: Recipe, *, thinks: bool) -> Sampling:
    """How replies of one way are generated."""
    return thinking_sampling(recipe) if thinks else from_section(recipe.sampling)


def save_tokenizer(lab: Lab, folder: Path) -> None:
    """Save the tokenizer beside a trained model, with thinking fixed to off in its template when the run had it off."""
    template = lab.tokenizer.chat_template
    if lab.policy.thinking == "off":
        pin_thinking_off(lab.tokenizer)
    try:
        lab.tokenizer.save_pretrained(folder)
    finally:
        lab.tokenizer.chat_template = template
