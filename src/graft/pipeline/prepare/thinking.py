"""What the recipe's thinking policy means for scoring: which ways are scored, and how thinking replies are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graft.config.schema import Recipe
from graft.models.sampling import PRESETS, from_section
from graft.pipeline.branches import Branch
from graft.types import Sampling


def ways(recipe: Recipe, branch: Branch) -> Iterator[tuple[Branch, bool]]:
    """Each way in which a branch is scored: the name it is stored under, and whether it thinks.

    Under ``compare`` the way without thinking is the branch itself, which is judged, and the other stands beside it.
    """
    if recipe.thinking == "compare":
        yield branch, False
        yield replace(branch, thinking=True), True
    else:
        yield branch, recipe.thinking == "on"


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
