"""Intervals for one proportion and for one clustered mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from graft.errors import DataError
from graft.stats.resampling import encode_clusters, resampled_means

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its uncertainty.

    Attributes:
        estimate: the value in the sample, NaN when undefined.
        low: lower end, NaN when undefined.
        high: upper end, NaN when undefined.
        level: coverage that is aimed at, in (0, 1).
        n: items behind the estimate.
        reason: why something is NaN, or what a defined interval had to leave out; empty otherwise.
    """

    estimate: float
    low: float
    high: float
    level: float
    n: int
    reason: str = ""

    @property
    def defined(self) -> bool:
        """True when estimate and both ends are numbers."""
        return not (math.isnan(self.estimate) or math.isnan(self.low) or math.isnan(self.high))


def undefined(reason: str, *, n: int = 0, level: float = 0.95, estimate: float = NAN) -> Interval:
    """An interval that says why it is not there.

    Args:
        reason: the rule that failed, with the value that broke it.
        n: items that were available.
        level: coverage that was asked for.
        estimate: the point estimate when that much is known.
    """
    return Interval(estimate, NAN, NAN, level, n, reason)


def check_level(level: float) -> None:
    """Refuse a coverage outside (0, 1).

    Raises:
        DataError: if ``level`` is not strictly between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise DataError(f"level must lie strictly between 0 and 1, but got {level}; 0.95 is usual")


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Score interval of one proportion; it never leaves [0, 1] and stays sensible at 0 and n successes.

    Args:
        successes: how many were right, 0 to ``n``; a mean over seeds times n need not be whole.
        n: how many there were.
        level: coverage in (0, 1).

    Returns:
        The interval, undefined with a reason when ``n`` is 0.

    Raises:
        DataError: if ``successes`` is outside 0..n or ``level`` outside (0, 1).

    Source: Wilson (1927), JASA 22:209–212; recommended by Brown, Cai & DasGupta (2001), Statist. Sci. 16:101–133.
    """
    check_level(level)
    if n == 0:
        return undefined("no items", level=level)
    if n < 0 or not 0 <= successes <= n:
        raise DataError(f"successes must lie in 0..n, but got {successes} of {n}")
    z = float(ndtri(0.5 + level / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n successes the ends are exact in theory; rounding must not push them past the estimate.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(share, low, high, level, n)


def percentile_interval(estimate: float, replicates: NDArray[np.float64], level: float, n: int) -> Interval:
    """The central ``level`` part of a bootstrap distribution.

    Args:
        estimate: the value in the sample.
        replicates: (R,) bootstrap values.
        level: coverage in (0, 1).
        n: items behind the estimate.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13.
    """
    check_level(level)
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high), level, n)


def cluster_bootstrap_mean(
    values: ArrayLike, clusters: NDArray[Any], rng: np.random.Generator, resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Mean of items that come in clusters, with a percentile interval over resampled clusters.

    Args:
        values: (N,) item values, bool or float.
        clusters: (N,) label of each item's cluster.
        rng: source of randomness.
        resamples: bootstrap replicates, at least 1.
        level: coverage in (0, 1).

    Returns:
        The interval; undefined with a reason when there are no items, fewer than two clusters or NaN values.

    Raises:
        DataError: if the shapes disagree.

    Source: Efron & Tibshirani (1993), ch. 13; Davison & Hinkley (1997), Bootstrap Methods, §3.8 (whole clusters).
    """
    check_level(level)
    array = np.asarray(values, dtype=np.float64)
    codes, count = encode_clusters(clusters, array.shape[-1] if array.ndim else 0)
    n = array.size
    if n == 0:
        return undefined("no items", level=level)
    missing = int(np.isnan(array).sum())
    if missing:
        return undefined(f"{missing} of {n} values are undefined", n=n, level=level)
    mean = float(array.mean())
    if count < 2:
        return undefined("one cluster only: its spread cannot be seen", n=n, level=level, estimate=mean)
    replicates = resampled_means(array[None, :], codes, count, rng, resamples)[:, 0]
    return percentile_interval(mean, replicates, level, n)
