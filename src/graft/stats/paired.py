"""Paired comparisons on the same items: the exact test of one seed and the hierarchical bootstrap over seeds.

How honest the bootstrap is was measured by simulation (600 studies a cell; ``tests/stats/test_paired.py`` repeats it,
marked slow). Noise of 30 points an item stood beside each seed's own shift; the nominal 95% interval covered the truth:

    ==========================  =======  =======  =======
    spread between seeds (sd)   2 seeds  3 seeds  5 seeds
    ==========================  =======  =======  =======
    0 to 1 point, 500 words     98%      98%      97–98%
    2 points, 2,000 words       88%      92%      94%
    5 points, 2,000 words       73%      84%      90%
    ==========================  =======  =======  =======

So it is cautious while words are the main source of spread and too narrow when seeds are. No resampling scheme can
see the tails of a distribution from two to four draws, which is why fewer than five seeds are labelled exploratory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from graft.errors import DataError
from graft.stats.intervals import NAN, Interval, percentile_interval, undefined
from graft.stats.resampling import encode_clusters, resample_seeds, resampled_means

EQUIVALENCE_LEVEL = 0.90
"""Two one-sided tests at 5% are the 90% interval (Schuirmann 1987)."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """Items that changed sides between two scorings of the same items.

    Attributes:
        gained: wrong before, right after.
        lost: right before, wrong after.
        n: pairs in all.
        p: two-sided exact p; 1.0 when no item changed sides.
    """

    gained: int
    lost: int
    n: int
    p: float


@dataclass(frozen=True, slots=True)
class Change:
    """A paired change of a mean, over seeds and words.

    Attributes:
        estimate: mean of after − before over all seeds and items.
        interval: percentile interval at the level asked for, usually 95%.
        interval90: the 90% interval, which decides equivalence.
        p: two-sided, from the bootstrap distribution.
        n_items: items N.
        n_clusters: words.
        seeds: S.
        per_seed: the S changes one by one.
        reason: why the intervals or p are NaN; empty when they are numbers.
    """

    estimate: float
    interval: Interval
    interval90: Interval
    p: float
    n_items: int
    n_clusters: int
    seeds: int
    per_seed: tuple[float, ...]
    reason: str = ""


def mcnemar_exact(before: ArrayLike, after: ArrayLike) -> McNemar:
    """Exact McNemar test: among items that changed sides, are gains and losses equally likely?

    With no discordant pair the sample holds no evidence either way and p = 1.0 is right, not undefined: every
    outcome of a binomial with zero trials is at least as extreme as the one seen.

    Args:
        before: (N,) bool.
        after: (N,) bool, the same items.

    Raises:
        DataError: if the shapes differ or are not one-dimensional.

    Source: McNemar (1947), Psychometrika 12:153–157; the exact conditional form as in Fagerland, Lydersen & Laake
    (2013), BMC Med. Res. Methodol. 13:91, which also shows that it is conservative.
    """
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"McNemar needs two equal (N,) arrays, but got shapes {first.shape} and {second.shape}")
    gained = int((~first & second).sum())
    lost = int((first & ~second).sum())
    p = float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
    return McNemar(gained, lost, first.size, p)


def paired_differences(before: ArrayLike, after: ArrayLike) -> NDArray[np.float64]:
    """After − before for every seed and item.

    Args:
        before: (N,) when all seeds start from the same scores, else (S, N).
        after: (N,) or (S, N), row s from the same seed as row s of ``before``.

    Returns:
        (S, N) differences.

    Raises:
        DataError: if the items or the seeds do not match.
    """
    first = np.asarray(before, dtype=np.float64)
    second = np.atleast_2d(np.asarray(after, dtype=np.float64))
    if first.ndim not in (1, 2) or second.ndim != 2 or first.shape[-1] != second.shape[1]:
        raise DataError(
            f"before and after must hold the same items as (N,) or (S, N), but got {first.shape} and {second.shape}"
        )
    if first.ndim == 2 and len(first) != len(second):
        raise DataError(
            f"before and after must have the same seeds in the same order, but got {len(first)} and {len(second)}; "
            "run the missing seeds or leave the extra ones out"
        )
    if not len(second):
        raise DataError("after must hold at least 1 seed, but got 0")
    differences: NDArray[np.float64] = second - first
    return differences


def hierarchical_bootstrap(
    differences: NDArray[np.float64], clusters: NDArray[Any], rng: np.random.Generator, *, resamples: int = 10_000
) -> NDArray[np.float64]:
    """Bootstrap distribution of the mean paired difference, over words and seeds at once.

    Each replicate draws words with replacement once, for all seeds alike, because every seed is scored on the same
    words; and it draws seeds with replacement. With one seed only words are drawn, so the result then speaks about
    this one trained model, not about training again. The seed part is stretched as
    :func:`~graft.stats.resampling.resample_seeds` says. For two crossed factors this scheme overstates the part of
    the noise that belongs to neither (Owen 2007), so intervals err on the wide side.

    Args:
        differences: (S, N) paired differences, the same items in every row.
        clusters: (N,) word of each item.
        rng: source of randomness.
        resamples: replicates R.

    Returns:
        (R,) replicate means.

    Raises:
        DataError: if shapes disagree, nothing is there to resample, or a value is NaN.

    Source: Efron & Tibshirani (1993), ch. 8; Owen (2007), Ann. Appl. Stat. 1:386–411 (the pigeonhole bootstrap).
    """
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise DataError(f"differences must have shape (seeds, items), both at least 1, but got {table.shape}")
    if np.isnan(table).any():
        raise DataError(
            f"{int(np.isnan(table).sum())} of {table.size} differences are NaN; leave those items out first"
        )
    codes, count = encode_clusters(clusters, table.shape[1])
    return resample_seeds(resampled_means(table, codes, count, rng, resamples), rng)


def two_sided_p(replicates: NDArray[np.float64], null: float = 0.0) -> float:
    """Two-sided p of "the mean is ``null``", from a bootstrap distribution.

    Twice the smaller tail, each with one added to count and total, so it is never below 1/(R + 1) — R resamples
    cannot show less — nor above 1.

    Args:
        replicates: (R,) bootstrap values.
        null: the value that is tested.

    Source: Efron & Tibshirani (1993), ch. 16; the added one as in Davison & Hinkley (1997), ch. 4.
    """
    total = len(replicates) + 1
    below = (int((replicates <= null).sum()) + 1) / total
    above = (int((replicates >= null).sum()) + 1) / total
    return min(1.0, 2 * min(below, above))


def summarise_change(
    per_seed: NDArray[np.float64], replicates: NDArray[np.float64], n_items: int, n_clusters: int, level: float = 0.95
) -> Change:
    """Turn a bootstrap distribution into a reportable change.

    Args:
        per_seed: (S,) the changes in the sample.
        replicates: (R,) bootstrap values of their mean.
        n_items: items N, at least 1.
        n_clusters: words.
        level: coverage of the main interval.

    Returns:
        The change; with one word only, its intervals and p are NaN and the reason says so.
    """
    estimate = float(per_seed.mean())
    changes = tuple(float(value) for value in per_seed)
    if n_clusters < 2:
        reason = "one word only: its spread cannot be seen"
        blanks = [undefined(reason, n=n_items, level=lv, estimate=estimate) for lv in (level, EQUIVALENCE_LEVEL)]
        return Change(estimate, blanks[0], blanks[1], NAN, n_items, n_clusters, len(changes), changes, reason)
    return Change(
        estimate=estimate,
        interval=percentile_interval(estimate, replicates, level, n_items),
        interval90=percentile_interval(estimate, replicates, EQUIVALENCE_LEVEL, n_items),
        p=two_sided_p(replicates),
        n_items=n_items,
        n_clusters=n_clusters,
        seeds=len(changes),
        per_seed=changes,
    )


def undefined_change(reason: str, *, seeds: int = 0, level: float = 0.95) -> Change:
    """A change that says why it is not there."""
    blank, blank90 = undefined(reason, level=level), undefined(reason, level=EQUIVALENCE_LEVEL)
    return Change(NAN, blank, blank90, NAN, 0, 0, seeds, (), reason)


def paired_change(
    before: ArrayLike,
    after: ArrayLike,
    clusters: NDArray[Any],
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 10_000,
) -> Change:
    """Change of a mean between two scorings of the same items, with everything a table needs.

    Args:
        before: (N,) or (S, N) scores, bool or float.
        after: (N,) or (S, N) scores of the same items.
        clusters: (N,) word of each item.
        rng: source of randomness.
        level: coverage of the main interval in (0, 1); the 90% interval always comes along.
        resamples: bootstrap replicates.

    Returns:
        The change; NaN with a reason when there are no items, one word only, or undefined scores.

    Raises:
        DataError: if items, seeds or labels do not match.
    """
    differences = paired_differences(before, after)
    seeds, n_items = differences.shape
    if n_items == 0:
        return undefined_change("no items", seeds=seeds, level=level)
    missing = int(np.isnan(differences).sum())
    if missing:
        return undefined_change(f"{missing} of {differences.size} differences are undefined", seeds=seeds, level=level)
    replicates = hierarchical_bootstrap(differences, clusters, rng, resamples=resamples)
    words = encode_clusters(clusters, n_items)[1]
    return summarise_change(differences.mean(axis=1), replicates, n_items, words, level)
