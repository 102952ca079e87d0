"""The one engine behind every bootstrap here: whole words are drawn with replacement, all rows together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.errors import DataError

CHUNK_CELLS = 2_000_000
"""Cells of the count matrix held at once: 16 MB as float64, so memory does not grow with the resamples."""


def encode_clusters(clusters: ArrayLike, n: int) -> tuple[NDArray[np.intp], int]:
    """Number the clusters 0..C−1 in sorted order, so the order of items does not matter.

    Args:
        clusters: (N,) labels, strings or integers.
        n: items expected.

    Returns:
        (N,) codes and C.

    Raises:
        DataError: if there is not exactly one label for each item.
    """
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise DataError(f"clusters must have one label per item, shape ({n},), but got shape {labels.shape}")
    names, codes = np.unique(labels, return_inverse=True)
    return codes.reshape(-1), len(names)


def check_resamples(resamples: int) -> None:
    """Refuse a bootstrap without replicates.

    Raises:
        DataError: if ``resamples`` is below 1.
    """
    if resamples < 1:
        raise DataError(f"resamples must be at least 1, but got {resamples}; 10000 is usual")


def draw_counts(rng: np.random.Generator, replicates: int, units: int) -> NDArray[np.float64]:
    """How often each unit is drawn when ``units`` of them are drawn with replacement.

    The rows are multinomial counts; drawing indices and counting them is faster than
    ``Generator.multinomial``, which needs one binomial draw for every cell.

    Returns:
        (replicates, units) counts, each row summing to ``units``.
    """
    kind = np.uint16 if units <= np.iinfo(np.uint16).max else np.int32
    drawn = rng.integers(0, units, size=(replicates, units), dtype=kind)
    flat = drawn + np.arange(replicates, dtype=np.int64)[:, None] * units
    return np.bincount(flat.ravel(), minlength=replicates * units).reshape(replicates, units).astype(np.float64)


def chunk_sizes(resamples: int, units: int, cells: int = CHUNK_CELLS) -> list[int]:
    """Split the replicates so that a (chunk, units) array stays under ``cells`` cells."""
    size = max(1, cells // max(1, units))
    full, rest = divmod(resamples, size)
    return [size] * full + ([rest] if rest else [])


def resampled_means(
    rows: NDArray[np.float64], codes: NDArray[np.intp], count: int, rng: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """Row means over resampled words; one draw of words per replicate serves all rows.

    Args:
        rows: (K, N) item values, for example one row for each arm and seed.
        codes: (N,) cluster number of each item.
        count: number of clusters C.
        rng: source of randomness.
        resamples: replicates R.

    Returns:
        (R, K) means. With unequal clusters the mean is a ratio: total of the drawn clusters over their items.

    Raises:
        DataError: if ``resamples`` is below 1.

    Source: Davison & Hinkley (1997), §3.8; Efron & Tibshirani (1993), ch. 8.
    """
    check_resamples(resamples)
    totals_CK = np.stack([np.bincount(codes, weights=row, minlength=count) for row in rows], axis=1)
    sizes_C = np.bincount(codes, minlength=count).astype(np.float64)
    table = np.concatenate([totals_CK, sizes_C[:, None]], axis=1)
    sums = np.concatenate([draw_counts(rng, chunk, count) @ table for chunk in chunk_sizes(resamples, count)])
    means: NDArray[np.float64] = sums[:, :-1] / sums[:, -1:]
    return means


def resample_seeds(means: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw seeds with replacement on top of resampled words and average them.

    Drawing S units with replacement shows only (S − 1)/S of their variance, which at 2 to 5 seeds is far from all of
    it. Each replicate's departure from the mean of all seeds is therefore stretched by √(S/(S − 1)).

    Args:
        means: (R, S) mean of every seed in every replicate.
        rng: source of randomness.

    Returns:
        (R,) replicate means; with one seed there is nothing to draw and its column is returned.

    Source: Hesterberg (2015), The American Statistician 69:371–386 ("narrowness bias").
    """
    seeds = means.shape[1]
    if seeds == 1:
        return means[:, 0].copy()
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(means))
    centre = means.mean(axis=1)
    drawn = (weights * means).sum(axis=1) / seeds
    stretched: NDArray[np.float64] = centre + np.sqrt(seeds / (seeds - 1)) * (drawn - centre)
    return stretched
