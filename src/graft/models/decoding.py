"""Writing replies token by token: the choice of a token, and the loop that lets finished rows leave the batch.

B: rows of the batch. T: tokens read so far, padding included. V: vocabulary.

A plain `model.generate` computes every row until the longest reply is done, and keeps its padding. Here a row leaves
with its share of the key-value cache once it has ended its turn, so no time goes into tokens that nobody reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from graft.models.batch import Batch
from graft.models.lengths import length_limit
from graft.models.selftest import Habits, habits_of
from graft.models.trial import bare
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
    ends: Callable[[int, int], bool] | None = None,
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
        ends: told a prompt's stream and each token of its reply, says whether the reply ends with it too.

    Yields:
        Step by step the pairs (index of the prompt, new token) of every reply that is not finished.
    """
    habits = habits_of(model)
    for group in _groups(prompts, habits, _longest_shared(model, sampling.max_new_tokens)):
        together = [prompts[index] for index in group]
        # What a model holds outside of its cache is begun anew only where a prompt has several tokens.
        cached = habits.cached and (habits.leaves or max(map(len, together)) > 1)
        batch = Batch(model, together, pad_id, cached=cached)
        own = [streams[index] for index in group]
        for step in _write(batch, sampling, end_ids, own, allowed, ends, leaves=habits.leaves):
            yield [(group[row], token) for row, token in step]


def _longest_shared(model: PreTrainedModel, max_new_tokens: int) -> float:
    """Tokens of the longest prompt that no other notices in its batch, whatever is written after it."""
    limit = length_limit(bare(model))
    return math.inf if limit is None else limit - max_new_tokens


def _groups(prompts: Sequence[Sequence[int]], habits: Habits, longest: float) -> list[list[int]]:
    """Which prompts are written together."""
    groups: dict[tuple[str, int], list[int]] = {}
    for index, prompt in enumerate(prompts):
        if habits.together == "none" or len(prompt) > longest:
            groups["alone", index] = [index]
        else:
            groups.setdefault(("length", len(prompt) if habits.together == "equal" else 0), []).append(index)
    return list(groups.values())


def _write(
    batch: Batch,
    sampling: Sampling,
    end_ids: frozenset[int],
    streams: Sequence[int],
    allowed: torch.Tensor | None,
    ends: Callable[[int, int], bool] | None,
    *,
    leaves: bool,
) -> Iterator[list[tuple[int, int]]]:
    """Write the replies of one batch; yields as `decode` does."""
    rng = [np.random.default_rng((sampling.seed, stream)) for stream in streams]
    rows = list(range(len(streams)))  # the prompt behind each row of the batch
    live = [True] * len(rows)
    for written in range(sampling.max_new_tokens):
        logits_BV = batch.next_logits()
        if written < sampling.min_new_tokens:
            logits_BV = logits_BV.index_fill(1, torch.tensor(sorted(end_ids), device=logits_BV.device), -torch.inf)
        draws = [0.0 if sampling.greedy else float(rng[row].random()) for row in rows]
        chosen_B = choose(logits_BV, batch.seen_BT, sampling, draws, allowed=allowed)
        chosen = chosen_B.tolist()
        yield [(row, token) for row, token, going in zip(rows, chosen, live, strict=True) if going]
        live = [going and token not in end_ids for going, token in zip(live, chosen, strict=True)]
        if ends is not None:
            told = zip(rows, live, chosen, strict=True)
            live = [going and not ends(streams[row], token) for row, going, token in told]
        if not any(live):
            return
        batch.append(chosen_B)
        if leaves and live.count(False) >= LEAVE_SHARE * len(live):
            kept = [index for index, going in enumerate(live) if going]
            batch.keep(torch.tensor(kept, device=chosen_B.device))
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
