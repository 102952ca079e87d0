"""Style control in training: rows for its tokens, and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graft.config.schema import Recipe
from graft.models.adapters import save_adapter
from graft.pipeline.prepare.lab import recipe_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def with_style_rows(recipe: Recipe, model: PreTrainedModel) -> PreTrainedModel:
    """The model with rows for the recipe's control tokens, if it has any."""
    tokens = recipe.style.tokens
    if not tokens:
        return model
    from graft.models.style import add_style_rows

    tokenizer = recipe_tokenizer(recipe)
    return add_style_rows(model, tokenizer, [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens])


def save_trained_model(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: Path
) -> None:
    """Save what was trained: weights, an adapter, or an adapter with the rows of the control tokens."""
    if recipe.style.tokens:
        from graft.models.style import save_styled

        save_styled(model, tokenizer, recipe.style.tokens, folder)
    elif recipe.adapter.kind == "lora":
        save_adapter(model, folder)
    else:
        model.save_pretrained(folder)
    if model.generation_config is not None:  # an adapter is saved without it, but not without an end
        model.generation_config.save_pretrained(folder)
