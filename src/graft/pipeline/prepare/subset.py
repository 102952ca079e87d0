"""The part of a vocabulary that a recipe restricts training or replies to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def subset_ids(
    subset: str | None, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> tuple[int, ...] | None:
    """The ids that a `restrict_to` setting allows, ascending; ``None`` without one."""
    if subset is None:
        return None
    from graft.vocab.restrict import allowed_ids

    return allowed_ids(tokenizer, subset, rows=int(model.config.get_text_config().vocab_size))
