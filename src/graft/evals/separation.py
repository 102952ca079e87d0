"""How far the styles of control tokens are apart: the same prompts, the same decoding, only the token differs.

The ratio of one prompt is the length of the reply under the long style over that under the short one, in completion
tokens, the end-of-turn token included. The measure is the median over the prompts. Lengths are cut at the token limit,
so a ratio with cut long replies is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.data.chat import ChatPolicy, with_system
from graft.data.tokens import prompt_ids
from graft.errors import DataError
from graft.models.backends.base import Backend, no_progress
from graft.stats.intervals import Interval
from graft.stats.resampling import check_resamples, chunk_sizes, draw_counts, encode_clusters
from graft.types import Completion, Message, Prompt, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TARGET = 3.0
"""Separation that a style training should reach: the long style's replies are three times as long."""


@dataclass(frozen=True, slots=True)
class Separation:
    """One model's separation.

    Attributes:
        ratio: median over the prompts of long over short, with its bootstrap interval.
        medians: median reply length in tokens by condition.
        cut: share of the replies that were cut at the token limit, in [0, 1], by condition.
    """

    ratio: Interval
    medians: dict[str, float]
    cut: dict[str, float]


def styled_replies(
    backend: Backend,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    token: str,
    sampling: Sampling,
    policy: ChatPolicy,
    *,
    on_done: Callable[[int], None] = no_progress,
) -> list[Completion]:
    """Answer every prompt with a control token before it.

    Args:
        backend: the model.
        tokenizer: it knows the token.
        prompts: user turns without any token.
        token: the token; empty for none.
        sampling: the same for all tokens that are compared.
        policy: how prompts are rendered.
        on_done: called with the number of prompts just finished.
    """
    asked = []
    for prompt in prompts:
        turn = Message("user", token + prompt)
        asked.append(Prompt(with_system([turn], policy), prompt_ids(tokenizer, [turn], policy)))
    return backend.generate(asked, sampling, on_done=on_done)


def separate(
    replies: Mapping[str, Sequence[Completion]],
    short: str,
    long: str,
    clusters: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int,
) -> Separation:
    """Compare the lengths of replies to the same prompts.

    Args:
        replies: by condition, one per prompt and in the same order.
        short: the condition below the line of the ratio.
        long: the condition above it.
        clusters: (N,) label of each prompt; prompts that share one are dependent and drawn together.
        rng: source of randomness.
        resamples: bootstrap replicates.
    """
    lengths = {name: np.array([len(reply.token_ids) for reply in found], float) for name, found in replies.items()}
    ratio = median_interval(lengths[long] / lengths[short], clusters, rng=rng, resamples=resamples)
    cut = {name: float(np.mean([not reply.finished for reply in found])) for name, found in replies.items()}
    return Separation(ratio, {name: float(np.median(found)) for name, found in lengths.items()}, cut)


def median_interval(
    values: ArrayLike, clusters: ArrayLike, *, rng: np.random.Generator, resamples: int, level: float = 0.95
) -> Interval:
    """The median with a percentile interval; whole clusters are drawn with replacement.

    Args:
        values: (N,) finite numbers.
        clusters: (N,) labels.
        rng: source of randomness.
        resamples: replicates, at least 1.
        level: coverage aimed at, in (0, 1).

    Raises:
        DataError: there are no values, or not one label for each.

    Source: Efron & Tibshirani (1993), "An Introduction to the Bootstrap", chapters 8 and 13.
    """
    check_resamples(resamples)
    found = np.asarray(values, dtype=np.float64)
    if not found.size:
        raise DataError("a median needs at least one value, but got none; measure more prompts")
    codes, count = encode_clusters(clusters, len(found))
    order = np.argsort(found, kind="stable")
    ranked, codes = found[order], codes[order]
    medians = np.concatenate(
        [_medians(ranked, draw_counts(rng, chunk, count)[:, codes]) for chunk in chunk_sizes(resamples, len(found))]
    )
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.median(found)), float(low), float(high), level, len(found))


def _medians(ranked_N: NDArray[np.float64], counts_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each replicate, in which value n stands counts[r, n] times; values ascend."""
    reached_RN = np.cumsum(counts_RN, axis=1)
    total_R1 = reached_RN[:, -1:]
    below = (reached_RN <= (total_R1 - 1) // 2).sum(axis=1)
    above = (reached_RN <= total_R1 // 2).sum(axis=1)
    medians_R: NDArray[np.float64] = (ranked_N[below] + ranked_N[above]) / 2
    return medians_R


NONE, UNTRAINED = "none", "untrained"
"""Conditions beside the styles: no token, and a token as it was before training."""
