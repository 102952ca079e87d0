"""Whether the model of a recipe is behind a server."""

from __future__ import annotations

from graft.config.schema import Recipe


def is_remote(recipe: Recipe) -> bool:
    """True when the model is behind a server, so that it can be scored but neither loaded nor trained."""
    return recipe.model.backend != "transformers"
