"""Changes of a ratio of sums, such as bits per byte: texts are drawn with replacement, each with its own weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.errors import DataError
from graft.stats.intervals import Interval, percentile_interval, undefined
from graft.stats.paired import paired_differences
from graft.stats.resampling import check_resamples, chunk_sizes, draw_counts, resample_seeds


def ratio_change(
    before: ArrayLike,
    after: ArrayLike,
    weights: ArrayLike,
    rng: np.random.Generator,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Change of total value over total weight between two scorings of the same texts.

    Every replicate draws texts with replacement, the same ones for all seeds and both sides, and seeds as
    :func:`~graft.stats.resampling.resample_seeds` does.

    Args:
        before: (N,) value of each text, such as its nats.
        after: (N,) or (S, N) values of the same texts.
        weights: (N,) weight of each text, such as its bytes; above 0 in sum.
        rng: source of randomness.
        resamples: replicates.
        level: coverage in (0, 1).

    Returns:
        The change, mean over seeds; its interval is NaN, with the reason, for fewer than two texts.

    Raises:
        DataError: shapes do not match, or `resamples` is below 1.

    Source: Davison & Hinkley (1997), §2.2 and §3.8.
    """
    check_resamples(resamples)
    differences_SN = paired_differences(before, after)
    sizes_N = np.asarray(weights, dtype=np.float64)
    n = differences_SN.shape[1]
    if sizes_N.shape != (n,):
        raise DataError(f"weights must have shape ({n},), one per text, but got {sizes_N.shape}")
    if n == 0 or not sizes_N.sum() > 0:
        return undefined("no texts", n=n, level=level)
    if not np.isfinite(differences_SN).all():
        return undefined("a text's likelihood is not a finite number", n=n, level=level)
    estimate = float((differences_SN.sum(axis=1) / sizes_N.sum()).mean())
    if n < 2:
        return undefined("one text only: its spread cannot be seen", n=n, level=level, estimate=estimate)
    replicates = resample_seeds(_resampled(differences_SN, sizes_N, rng, resamples), rng)
    return percentile_interval(estimate, replicates, level, n)


def _resampled(
    differences_SN: NDArray[np.float64], sizes_N: NDArray[np.float64], rng: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """(R, S) ratios of resampled texts."""
    table = np.concatenate([differences_SN, sizes_N[None]]).T
    n = len(sizes_N)
    sums = np.concatenate([draw_counts(rng, chunk, n) @ table for chunk in chunk_sizes(resamples, n)])
    ratios: NDArray[np.float64] = sums[:, :-1] / np.maximum(sums[:, -1:], np.finfo(np.float64).tiny)
    return ratios
