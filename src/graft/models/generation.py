"""Greedy generation in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from graft.types import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> list[Completion]:
    """Continue each prompt greedily until the model ends its turn or the limit is reached.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: its tokenizer; names the end-of-turn and padding tokens.
        prompts: token ids of each prompt, rendered by `graft.data.chat`.
        max_new_tokens: longest reply in tokens, at least 1.
        batch_size: prompts per batch; batches are formed from prompts of similar length.
        on_batch: called with the number of prompts just finished.

    Returns:
        One completion per prompt, in the order of the prompts.
    """
    replies: list[Completion | None] = [None] * len(prompts)
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(by_length), batch_size):
        chosen = by_length[start : start + batch_size]
        ids, mask = _pad_left([prompts[index] for index in chosen], int(tokenizer.pad_token_id))
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                use_cache=True,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        for index, new_ids in zip(chosen, output[:, ids.shape[1] :].tolist(), strict=True):
            replies[index] = _completion(tokenizer, new_ids)
        on_batch(len(chosen))
    return [reply for reply in replies if reply is not None]


def _pad_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


def _completion(tokenizer: PreTrainedTokenizerBase, new_ids: list[int]) -> Completion:
    end = int(tokenizer.eos_token_id)
    finished = end in new_ids
    kept = new_ids[: new_ids.index(end) + 1] if finished else new_ids
    return Completion(tokenizer.decode(kept, skip_special_tokens=True), tuple(kept), finished)
