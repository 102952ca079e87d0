"""Writing replies token by token: the choice of a token, and the loop that lets finished rows leave the batch.

B: rows of the batch. T: tokens read so far, padding included. V: vocabulary.

A plain `model.generate` computes every row until the longest reply is done, and keeps its padding. Here a row leaves
with its share of the key-value cache once it has ended its turn, so no time goes into tokens that nobody reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graft.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LEAVE_SHARE = 0.125
"""Finished rows leave once they are this share of the batch; copying the cache sooner costs more than it saves."""


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    pad_id: int,
    end_ids: frozenset[int],
    streams: Sequence[int],
    allowed: torch.Tensor | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Write one reply per prompt, all at once.

    Args:
        model: a causal or sequence-to-sequence language model in evaluation mode.
        prompts: token ids, none empty; left padding is added here.
        sampling: how each token is chosen.
        pad_id: token id to pad with; its value does not matter.
        end_ids: tokens that end a reply; they are written too.
        streams: per prompt the number of its stream of draws; the same seed and number draw the same.
        allowed: bool of shape (V,), the tokens that may be written; all when ``None``.

    Yields:
        Step by step the pairs (index of the prompt, new token) of every reply that is not finished.
    """
    rng = [np.random.default_rng((sampling.seed, stream)) for stream in streams]
    state = _Encoded(model, prompts, pad_id) if model.config.is_encoder_decoder else _Continued(model, prompts, pad_id)
    rows = list(range(len(prompts)))  # the prompt behind each row of the batch
    live = [True] * len(rows)
    for written in range(sampling.max_new_tokens):
        logits_BV = state.next_logits()
        if written < sampling.min_new_tokens:
            logits_BV = logits_BV.index_fill(1, torch.tensor(sorted(end_ids), device=logits_BV.device), -torch.inf)
        draws = [0.0 if sampling.greedy else float(rng[row].random()) for row in rows]
        chosen_B = choose(logits_BV, state.seen_BT, sampling, draws, allowed=allowed)
        chosen = chosen_B.tolist()
        yield [(row, token) for row, token, going in zip(rows, chosen, live, strict=True) if going]
        live = [going and token not in end_ids for going, token in zip(live, chosen, strict=True)]
        if not any(live):
            return
        state.append(chosen_B)
        if live.count(False) >= LEAVE_SHARE * len(live):
            kept = [index for index, going in enumerate(live) if going]
            state.keep(torch.tensor(kept, device=model.device))
            rows, live = [rows[index] for index in kept], [True] * len(kept)


@torch.inference_mode()
def choose(
    logits_BV: torch.Tensor,
    seen_BT: torch.Tensor,
    sampling: Sampling,
    draws: Sequence[float],
    *,
    allowed: torch.Tensor | None = None,
) -> torch.Tensor:
    """The next token of each row.

    The order is that of transformers: repetition penalty, temperature, top_k, top_p, min_p. A draw picks from the
    cumulative distribution, so it decides alone, whatever else is in the batch.

    Args:
        logits_BV: logits of the next token.
        seen_BT: ids of prompt and reply so far, -1 for padding; what the repetition penalty looks at.
        sampling: the settings.
        draws: per row a number in [0, 1); not looked at when greedy.
        allowed: bool of shape (V,), the tokens that may be chosen.

    Returns:
        int64 of shape (B,).

    Source: Holtzman et al. 2020 (top-p); Nguyen et al. 2024 (min-p); Keskar et al. 2019, section 4.1 (the penalty).
    """
    scores_BV = logits_BV.float()
    if sampling.repetition_penalty != 1.0:
        scores_BV = _penalised(scores_BV, seen_BT, sampling.repetition_penalty)
    if allowed is not None:
        scores_BV = scores_BV.masked_fill(~allowed, -torch.inf)
    if sampling.greedy:
        return scores_BV.argmax(-1)
    count = min(sampling.top_k or scores_BV.shape[-1], scores_BV.shape[-1])
    ranked_BK, ids_BK = scores_BV.topk(count, dim=-1)
    probs_BK = torch.softmax(ranked_BK / sampling.temperature, dim=-1)
    before_BK = probs_BK.cumsum(-1) - probs_BK
    kept_BK = before_BK < sampling.top_p
    kept_BK[:, 0] = True
    # min_p compares two tokens, so the renormalisation after top_p cancels out
    kept_BK &= probs_BK >= sampling.min_p * probs_BK[:, :1]
    probs_BK = probs_BK * kept_BK
    reached_BK = probs_BK.cumsum(-1)
    wanted_B1 = torch.tensor(draws, dtype=reached_BK.dtype, device=reached_BK.device)[:, None] * reached_BK[:, -1:]
    last_B1 = (probs_BK > 0).sum(-1, keepdim=True) - 1  # rounding must not reach beyond the tokens that are kept
    place_B1 = torch.searchsorted(reached_BK, wanted_B1, right=True).minimum(last_B1)
    return ids_BK.gather(1, place_B1)[:, 0]


def _penalised(scores_BV: torch.Tensor, seen_BT: torch.Tensor, penalty: float) -> torch.Tensor:
    """Each seen token's score once divided (if positive) or multiplied (if negative) by the penalty."""
    rows_BT = torch.arange(len(seen_BT), device=seen_BT.device)[:, None].expand_as(seen_BT)
    real = seen_BT >= 0
    seen_BV = torch.zeros_like(scores_BV, dtype=torch.bool)
    seen_BV[rows_BT[real], seen_BT[real]] = True
    return torch.where(seen_BV, torch.where(scores_BV > 0, scores_BV / penalty, scores_BV * penalty), scores_BV)


class _Continued:
    """Rows of a causal model: the reply continues the prompt in one left-padded sequence."""

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad_id: int) -> None:
        from transformers import DynamicCache

        self.model = model
        width = max(len(prompt) for prompt in prompts)
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        self.ids_BT = torch.tensor(ids, device=model.device)
        self.mask_BT = torch.tensor(mask, device=model.device)
        self.seen_BT = self.ids_BT.masked_fill(self.mask_BT == 0, -1)
        self.cache = DynamicCache(config=model.config)
        known = inspect.signature(_bare(model).forward).parameters
        self.options = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self.places = "position_ids" in known

    @torch.inference_mode()
    def next_logits(self) -> torch.Tensor:
        """Read what is new, the whole prompt at first, and return the logits after it, of shape (B, V)."""
        places: dict[str, Any] = {}
        if self.places:
            places["position_ids"] = (self.mask_BT.cumsum(-1) - 1).clamp(min=0)[:, -self.ids_BT.shape[1] :]
        output = self.model(
            input_ids=self.ids_BT,
            attention_mask=self.mask_BT,
            past_key_values=self.cache,
            use_cache=True,
            **places,
            **self.options,
        )
        logits_BV: torch.Tensor = output.logits[:, -1]
        return logits_BV

    def append(self, ids_B: torch.Tensor) -> None:
        """Put the chosen tokens at the end."""
        self.ids_BT = ids_B[:, None]
        self.seen_BT = torch.cat([self.seen_BT, self.ids_BT], dim=1)
        self.mask_BT = torch.cat([self.mask_BT, torch.ones_like(self.ids_BT)], dim=1)

    @torch.inference_mode()
    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows alone."""
        self.ids_BT, self.seen_BT, self.mask_BT = self.ids_BT[rows], self.seen_BT[rows], self.mask_BT[rows]
        self.cache.batch_select_indices(rows)


class _Encoded:
    """Rows of a sequence-to-sequence model: the prompt is encoded once, the reply is a sequence of its own."""

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad_id: int) -> None:
        from transformers import DynamicCache, EncoderDecoderCache

        self.model = model
        width = max(len(prompt) for prompt in prompts)
        ids = [list(prompt) + [pad_id] * (width - len(prompt)) for prompt in prompts]
        mask = [[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in prompts]
        self.mask_BS = torch.tensor(mask, device=model.device)
        encoder = _bare(model).get_encoder()
        self.encoded = encoder(input_ids=torch.tensor(ids, device=model.device), attention_mask=self.mask_BS)
        start = model.config.decoder_start_token_id
        self.ids_BT = torch.full((len(prompts), 1), start, device=model.device)
        self.seen_BT = self.ids_BT
        decoder = model.config.get_text_config(decoder=True)
        self.cache = EncoderDecoderCache(DynamicCache(config=decoder), DynamicCache(config=decoder))

    @torch.inference_mode()
    def next_logits(self) -> torch.Tensor:
        """Read the newest token and return the logits after it, of shape (B, V)."""
        output = self.model(
            encoder_outputs=self.encoded,
            attention_mask=self.mask_BS,
            decoder_input_ids=self.ids_BT,
            past_key_values=self.cache,
            use_cache=True,
        )
        logits_BV: torch.Tensor = output.logits[:, -1]
        return logits_BV

    def append(self, ids_B: torch.Tensor) -> None:
        """Put the chosen tokens at the end."""
        self.ids_BT = ids_B[:, None]
        self.seen_BT = torch.cat([self.seen_BT, self.ids_BT], dim=1)

    @torch.inference_mode()
    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows alone."""
        self.ids_BT, self.seen_BT = self.ids_BT[rows], self.seen_BT[rows]
        self.mask_BS = self.mask_BS[rows]
        self.encoded.last_hidden_state = self.encoded.last_hidden_state[rows]
        self.cache.batch_select_indices(rows)


def _bare(model: PreTrainedModel) -> Any:
    """The model inside its adapters, whose own signature hides that of the model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
