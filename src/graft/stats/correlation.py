"""Does the gain in spelling go with the gain on another task: word by word within a run, and across runs?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from graft.errors import DataError
from graft.stats.intervals import Interval, undefined
from graft.stats.resampling import check_resamples, chunk_sizes, draw_counts, encode_clusters

LEAST_RUNS = 10
"""Runs below which a correlation across runs gets no verdict."""

LEAST_WORDS = 7
"""Words below which two gains and three covariates leave nothing to correlate."""

LEAST_DEFINED = 0.9
"""Share of replicates in which the correlation must exist for its interval to be given."""

_FLAT = 1e-9
"""Share of a variable's variance under which what is left of it counts as constant."""


class Association(Enum):
    """What the interval of a correlation allows to be said."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCLEAR = "unclear"
    NONE = "no verdict"


@dataclass(frozen=True, slots=True)
class Correlation:
    """Two correlations of the same pair of variables.

    Attributes:
        linear: Pearson, or its partial form when covariates are controlled.
        rank: Spearman, or its partial form.
        n: items or runs.
        n_clusters: resampling units: words, or runs.
        controlled: names of the covariates.
        verdict: ``positive`` or ``negative`` when both intervals agree on the sign, else ``unclear``; ``no verdict``
            when a correlation is undefined or there are too few runs.
        reason: why there is no verdict; empty otherwise.
    """

    linear: Interval
    rank: Interval
    n: int
    n_clusters: int
    controlled: tuple[str, ...]
    verdict: Association
    reason: str = ""


def within_word_correlation(
    spelling_gain: ArrayLike,
    target_gain: ArrayLike,
    base_spelling: ArrayLike,
    base_target: ArrayLike,
    length: ArrayLike,
    clusters: NDArray[Any],
    rng: np.random.Generator,
    *,
    resamples: int = 2_000,
    level: float = 0.95,
) -> Correlation:
    """Partial correlation of two gains over words, given how good the base was and how long the word is.

    Without the covariates the correlation is an artefact: words that the base already gets right cannot gain on
    either task. The rank form ranks all five variables and then proceeds as the linear one; each bootstrap replicate
    ranks its own words anew.

    Args:
        spelling_gain: (N,) after − before on the trained task.
        target_gain: (N,) after − before on the other task, the same words.
        base_spelling: (N,) score of the base on the trained task.
        base_target: (N,) score of the base on the other task.
        length: (N,) word length in letters.
        clusters: (N,) word of each item.
        rng: source of randomness.
        resamples: bootstrap replicates over words.
        level: coverage in (0, 1).

    Returns:
        Both correlations; NaN with a reason when a gain does not vary or is explained wholly by the covariates.

    Raises:
        DataError: if shapes disagree.

    Source: Efron & Tibshirani (1993), ch. 13 for the interval.
    """
    given = (spelling_gain, target_gain, base_spelling, base_target, length)
    columns = [np.asarray(column, dtype=np.float64) for column in given]
    names = ("spelling gain", "target gain", "base spelling", "base target", "length")
    return _correlate(columns, names, clusters, rng, resamples, level, least=LEAST_WORDS)


def across_runs_correlation(
    x: ArrayLike, y: ArrayLike, rng: np.random.Generator, *, resamples: int = 10_000, level: float = 0.95
) -> Correlation:
    """Pearson and Spearman correlation over runs, for example of the gain in spelling with the gain in counting.

    Args:
        x: (n,) one value for each run.
        y: (n,) the other value.
        rng: source of randomness.
        resamples: bootstrap replicates over runs.
        level: coverage in (0, 1).

    Returns:
        Both correlations with n; under 10 runs without a verdict, under 3 or with a constant variable undefined.

    Raises:
        DataError: if shapes disagree.
    """
    columns = [np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)]
    runs = np.arange(columns[0].size)
    found = _correlate(columns, ("x", "y"), runs, rng, resamples, level, least=3)
    if found.n >= LEAST_RUNS or not (found.linear.defined and found.rank.defined):
        return found
    reason = f"{found.n} runs: no verdict under {LEAST_RUNS}"
    return Correlation(found.linear, found.rank, found.n, found.n_clusters, (), Association.NONE, reason)


def _correlate(
    columns: list[NDArray[np.float64]],
    names: tuple[str, ...],
    clusters: NDArray[Any],
    rng: np.random.Generator,
    resamples: int,
    level: float,
    least: int,
) -> Correlation:
    """Linear and rank correlation of the first two columns given the others."""
    check_resamples(resamples)
    shapes = {column.shape for column in columns}
    if len(shapes) > 1 or columns[0].ndim != 1:
        raise DataError(f"{', '.join(names)} must be equally long (N,) arrays, but got {[c.shape for c in columns]}")
    values_KN = np.stack(columns)
    n = values_KN.shape[1]
    codes, count = encode_clusters(clusters, n)
    reason = _why_undefined(values_KN, names, count, least)
    if reason:
        blank = undefined(reason, n=n, level=level)
        return Correlation(blank, blank, n, count, names[2:], Association.NONE, reason)
    linear_R, rank_R = [], []
    for chunk in chunk_sizes(resamples, n * len(names)):
        weights_RN = draw_counts(rng, chunk, count)[:, codes]
        linear_R.append(_partial(np.broadcast_to(values_KN, (chunk, *values_KN.shape)), weights_RN))
        rank_R.append(_partial(np.stack([_midranks(v, weights_RN) for v in values_KN], axis=1), weights_RN))
    once = np.ones((1, n))
    ranks_KN = rankdata(values_KN, axis=1)
    linear = _interval(_partial(values_KN[None], once)[0], np.concatenate(linear_R), level, n)
    rank = _interval(_partial(ranks_KN[None], once)[0], np.concatenate(rank_R), level, n)
    reason = linear.reason or rank.reason
    return Correlation(linear, rank, n, count, names[2:], _association(linear, rank), reason)


def _why_undefined(values_KN: NDArray[np.float64], names: tuple[str, ...], count: int, least: int) -> str:
    """The first rule that the data break, or nothing."""
    if count < least:
        return f"{count} units: a correlation with {len(names) - 2} covariates needs at least {least}"
    for name, row in zip(names, values_KN, strict=True):
        if np.isnan(row).any():
            return f"{name} is undefined for {int(np.isnan(row).sum())} of {row.size}"
    for name, row in zip(names[:2], values_KN[:2], strict=True):
        if np.ptp(row) == 0:
            return f"{name} is constant"
    return ""


def _midranks(values_N: NDArray[np.float64], weights_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks with ties averaged, of a sample in which item n stands ``weights[r, n]`` times; (R, N)."""
    _, group_N = np.unique(values_N, return_inverse=True)
    order = np.argsort(group_N, kind="stable")
    starts = np.flatnonzero(np.diff(group_N[order], prepend=-1))
    size_RG = np.add.reduceat(weights_RN[:, order], starts, axis=1)
    middle_RG = np.cumsum(size_RG, axis=1) - size_RG / 2 + 0.5
    ranks: NDArray[np.float64] = middle_RG[:, group_N]
    return ranks


def _partial(values_RKN: NDArray[np.float64], weights_RN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of variables 0 and 1 given all others, in every weighted replicate; (R,), NaN where undefined.

    The covariance of what is left of the two after regression on the others is the Schur complement
    S₁₁ − S₁₂ S₂₂⁺ S₂₁; the pseudo-inverse lets a constant or doubled covariate simply drop out.
    """
    total = weights_RN.sum(axis=1)[:, None, None]
    mean = (values_RKN @ weights_RN[:, :, None]) / total
    centred = values_RKN - mean
    covariance = (centred * weights_RN[:, None, :]) @ centred.transpose(0, 2, 1) / total
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    scale = np.where(spread > 0, spread, 1.0)
    unit = covariance / (scale[:, :, None] * scale[:, None, :])
    left = unit[:, :2, :2]
    if unit.shape[1] > 2:
        cross = unit[:, :2, 2:]
        left = left - cross @ np.linalg.pinv(unit[:, 2:, 2:], rcond=1e-10, hermitian=True) @ cross.transpose(0, 2, 1)
    variances = left[:, 0, 0], left[:, 1, 1]
    known = (variances[0] > _FLAT) & (variances[1] > _FLAT)
    ratio = left[:, 0, 1] / np.sqrt(np.where(known, variances[0] * variances[1], 1.0))
    return np.where(known, np.clip(ratio, -1.0, 1.0), np.nan)


def _interval(estimate: float, replicates: NDArray[np.float64], level: float, n: int) -> Interval:
    """Percentile interval over the replicates in which the correlation exists."""
    if np.isnan(estimate):
        return undefined("a gain is explained wholly by the covariates", n=n, level=level)
    usable = replicates[~np.isnan(replicates)]
    if len(usable) < LEAST_DEFINED * len(replicates):
        reason = f"a variable is constant in {len(replicates) - len(usable)} of {len(replicates)} resamples"
        return undefined(reason, n=n, level=level, estimate=float(estimate))
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high), level, n)


def _association(linear: Interval, rank: Interval) -> Association:
    """The sign on which both intervals agree."""
    if not (linear.defined and rank.defined):
        return Association.NONE
    if linear.low > 0 and rank.low > 0:
        return Association.POSITIVE
    if linear.high < 0 and rank.high < 0:
        return Association.NEGATIVE
    return Association.UNCLEAR
