"""Rows of a batch that are written token by token, each step read as the model's own `generate` reads it.

B: rows of the batch. T: tokens so far, padding included. S: tokens of the encoder. V: vocabulary.

What a model keeps between two tokens is its own affair: keys and values, the states of recurrent layers, both, or
something in a list. So the inputs of each step and what is carried over come from the model's own functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from graft.models.lengths import forget_lengths, length_limit
from graft.models.trial import bare

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Batch:
    """Replies in progress.

    A causal model continues the prompt in one left-padded sequence; an encoder-decoder encodes it once and writes a
    sequence of its own.

    Args:
        model: a causal or sequence-to-sequence language model, with or without adapters.
        prompts: token ids, none empty.
        pad_id: token id to pad with.
        cached: keep what was read; else everything is read anew for each token.
    """

    @torch.inference_mode()
    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad_id: int, *, cached: bool = True
    ) -> None:
        self.model: Any = bare(model)
        if length_limit(self.model) is not None:
            forget_lengths(self.model)
        self.cached = cached
        self.first = True
        self.inputs: dict[str, Any] = {"use_cache": cached}
        known = inspect.signature(self.model.forward).parameters
        if "logits_to_keep" in known:
            self.inputs["logits_to_keep"] = 1
        seq2seq = bool(self.model.config.is_encoder_decoder)
        ids_BT, mask_BT = _rectangle(prompts, pad_id, self.model.device, left=not seq2seq)
        self.inputs["attention_mask"] = mask_BT
        if seq2seq:
            encoder = self.model.get_encoder()
            self.inputs["encoder_outputs"] = encoder(input_ids=ids_BT, attention_mask=mask_BT)
            start = getattr(self.model.config, "decoder_start_token_id", None)
            self.ids_BT = torch.full((len(prompts), 1), pad_id if start is None else start, device=self.model.device)
            self.seen_BT = self.ids_BT
        else:
            self.ids_BT = ids_BT
            self.seen_BT = ids_BT.masked_fill(mask_BT == 0, -1)
            if "position_ids" in known:
                self.inputs["position_ids"] = (mask_BT.cumsum(-1) - 1).clamp(min=0)
        if cached:
            self.inputs |= _empty_cache(self.model)

    @torch.inference_mode()
    def next_logits(self) -> torch.Tensor:
        """Read what is new, the whole prompt at first, and return the logits after it, of shape (B, V)."""
        new = 1 if self.cached and not self.first else None
        inputs = self.model.prepare_inputs_for_generation(
            self.ids_BT, next_sequence_length=new, is_first_iteration=self.first, **self.inputs
        )
        output = self.model(**inputs, return_dict=True)
        self.inputs = self.model._update_model_kwargs_for_generation(
            output, self.inputs, is_encoder_decoder=self.model.config.is_encoder_decoder
        )
        self.first = False
        logits_BV: torch.Tensor = output.logits[:, -1]
        return logits_BV

    def append(self, ids_B: torch.Tensor) -> None:
        """Put the chosen tokens at the end."""
        self.ids_BT = torch.cat([self.ids_BT, ids_B[:, None]], dim=1)
        self.seen_BT = torch.cat([self.seen_BT, ids_B[:, None]], dim=1)

    @torch.inference_mode()
    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows alone.

        Raises:
            TypeError: the model carries something over whose rows nobody knows.
        """
        self.inputs = {name: _select(value, rows) for name, value in self.inputs.items()}
        self.ids_BT, self.seen_BT = self.ids_BT[rows], self.seen_BT[rows]


def _rectangle(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of shape (B, T), padded on one side."""
    width = max(len(prompt) for prompt in prompts)

    def rows(inside: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
        gaps = [[filler] * (width - len(row)) for row in inside]
        pairs = zip(gaps, inside, strict=True)
        return torch.tensor([[*gap, *row] if left else [*row, *gap] for gap, row in pairs], device=device)

    return rows(prompts, pad_id), rows([[1] * len(prompt) for prompt in prompts], 0)


def _empty_cache(model: Any) -> dict[str, Any]:
    """The cache that `generate` would begin with; nothing for models that make one of their own."""
    from transformers import DynamicCache, EncoderDecoderCache

    if not model._supports_default_dynamic_cache():
        return {}
    config = model.config.get_text_config(decoder=True)
    if model.config.is_encoder_decoder:
        return {"past_key_values": EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))}
    name = "cache_params" if "cache_params" in inspect.signature(model.forward).parameters else "past_key_values"
    return {name: DynamicCache(config=config)}


def _select(value: Any, rows: torch.Tensor) -> Any:
    """The same with these rows alone; caches change in place."""
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, torch.Tensor):
        return value.index_select(0, rows)
    if hasattr(value, "reorder_cache"):
        value.reorder_cache(rows)
        return value
    if isinstance(value, dict):  # the outputs of an encoder too
        for name, part in value.items():
            value[name] = _select(part, rows)
        return value
    if isinstance(value, list | tuple):
        return type(value)(_select(part, rows) for part in value)
    raise TypeError(f"the rows of a {type(value).__name__} cannot be told apart")
