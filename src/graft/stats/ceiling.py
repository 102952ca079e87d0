"""The share of the reachable gain that was reached: (trained − base) / (direct − base)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graft.stats.arms import BASE, DIRECT, TRAINED
from graft.stats.contrasts import Sample, Variances, measure_contrast
from graft.stats.intervals import Interval, undefined
from graft.stats.spread import SeedVariance, combine

LEAST_GAP = 0.05
"""Gap between base and ceiling below which a share of it means nothing."""

_LEVEL = 0.95
_FARTHEST = 64.0
"""Distance from the estimate at which the search for an end of the interval gives up."""


def normalised_transfer(sample: Sample, variances: Variances) -> tuple[Interval, Interval]:
    """Share of the reachable gain that was reached.

    The interval is Fieller's: all shares θ for which (trained − base) − θ·(direct − base) may be 0.

    Args:
        sample: the task.
        variances: seed variance by arm.

    Returns:
        The share and the ceiling gap direct − base, both with 95% intervals. The share is undefined, with a reason,
        when the gap is under 5 points or its interval reaches 0; both are without a direct arm.

    Source: Fieller (1954), J. R. Statist. Soc. B 16:175–185.
    """
    n = sample.n_items
    for arm, words in ((BASE, "the base was not scored"), (TRAINED, "no trained arm"), (DIRECT, "no direct arm")):
        if arm not in sample.arms:
            return undefined(f"{words}: the ceiling is unknown", n=n), undefined(words, n=n)
    gap = measure_contrast(sample, DIRECT, BASE, variances, required=False, margin=LEAST_GAP, alpha=0.05).change
    if gap.reason:
        return undefined(gap.reason, n=n), gap.interval
    if gap.estimate < LEAST_GAP:
        return undefined(f"the ceiling gap is {100 * gap.estimate:.1f} points, under 5", n=n), gap.interval
    if gap.interval.low <= 0:
        return undefined("the interval of the ceiling gap reaches 0", n=n), gap.interval
    means = {arm: float(sample.arms[arm].means_S.mean()) for arm in (BASE, TRAINED)}
    share = (means[TRAINED] - means[BASE]) / gap.estimate
    possible = _possible(sample, variances, share, gap.estimate)
    low, high = (_farthest(possible, share, side) for side in (-1.0, 1.0))
    return Interval(share, low, high, _LEVEL, n), gap.interval


def _possible(sample: Sample, variances: Variances, share: float, gap: float) -> Callable[[float], bool]:
    """Whether a share is compatible with the sample."""
    base, trained, direct = (sample.arms[arm] for arm in (BASE, TRAINED, DIRECT))
    gained, reach = (arm.totals_SC.mean(axis=0) - base.totals_SC[0] for arm in (trained, direct))
    squares = np.vdot(gained, gained) - trained.noise, np.vdot(gained, reach), np.vdot(reach, reach) - direct.noise
    scale = sample.n_clusters / max(sample.n_clusters - 1, 1) / sample.n_items**2

    def holds(theta: float) -> bool:
        seeds = [
            (SeedVariance(weight * variances[arm].value, variances[arm].df), sample.arms[arm].seeds)
            for arm, weight in ((TRAINED, 1.0), (DIRECT, theta * theta))
            if arm in variances
        ]
        word = max(0.0, float(squares[0] - 2 * theta * squares[1] + theta * theta * squares[2])) * scale
        return abs(share - theta) * gap <= combine(seeds, word, sample.n_clusters).half(_LEVEL)

    return holds


def _farthest(possible: Callable[[float], bool], start: float, side: float) -> float:
    """The last possible share on one side of the estimate."""
    step = 1 / 64
    while possible(start + side * step) and step < _FARTHEST:
        step *= 2
    low, high = 0.0, step
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if possible(start + side * middle) else (low, middle)
    return start + side * low
