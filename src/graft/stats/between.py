"""The change between two runs, each with training seeds of its own, on the same items or on others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.stats.intervals import NAN, Interval, undefined, wilson
from graft.stats.paired import Frame, arm_change, whole_step
from graft.stats.resampling import encode_clusters
from graft.stats.spread import Arm, SeedVariance, combine, measure_arm, seed_variances, word_variance


@dataclass(frozen=True, slots=True)
class RunScores:
    """One run's trained arm on one task.

    Attributes:
        rows: (S, N) scores in [0, 1].
        words: (N,) word of each item.
    """

    rows: NDArray[np.float64]
    words: NDArray[Any]


@dataclass(frozen=True, slots=True)
class RunChange:
    """How much higher one run scored than another.

    Attributes:
        interval: the change with its 95% interval; it holds the spread between seeds unless ``one_seed``.
        p: two-sided p of no change.
        one_seed: neither run has a second seed, so the interval speaks of two checkpoints, not of their recipes.
    """

    interval: Interval
    p: float
    one_seed: bool


def run_change(before: RunScores, after: RunScores, *, paired: bool, level: float = 0.95) -> RunChange:
    """Compare two runs.

    The seeds of two runs are never paired: a seed's number says nothing about what another recipe does with it. The
    seed variance is pooled over both runs and never below a run's own; a run with one seed takes the other's.

    Args:
        before: the run that is compared with.
        after: the run that is judged.
        paired: both hold the same items in the same order. Otherwise their word parts add, and the interval is never
            narrower than Newcombe's for two independent shares.
        level: coverage in (0, 1).

    Source: Newcombe (1998), Stat. Med. 17:873–890, method 10.
    """
    arms, counts = zip(*(_arm(scores) for scores in (before, after)), strict=True)
    n = after.rows.shape[1]
    if min(counts) < 2:
        return RunChange(undefined("one word only: its spread cannot be seen", n=n), NAN, False)
    variance = _variance(arms)
    seeds = [(value, arm.seeds) for value, arm in zip(variance, arms, strict=True) if value is not None]
    if paired:
        spread = combine(seeds, word_variance((arms[1], arms[0]), n), counts[1])
        largest = float(np.unique(after.words, return_counts=True)[1].max())
        frame = Frame(n, counts[1], largest, whole_step(before.rows, after.rows))
        change = arm_change(arms[1], arms[0], spread, frame, level)
        return RunChange(change.interval, change.p, not seeds)
    sizes = [scores.rows.shape[1] for scores in (before, after)]
    word = sum(word_variance((arm,), size) for arm, size in zip(arms, sizes, strict=True))
    spread = combine(seeds, word, min(counts))
    estimate = float(arms[1].means_S.mean() - arms[0].means_S.mean())
    down, up = _newcombe(before.rows, after.rows, level)
    half = spread.half(level)
    interval = Interval(estimate, max(-1.0, estimate - max(half, down)), min(1.0, estimate + max(half, up)), level, n)
    return RunChange(interval, spread.p(estimate), not seeds)


def _newcombe(before: NDArray[np.float64], after: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Distances down and up of Newcombe's interval for two shares; none for scores that are not right or wrong."""
    if whole_step(before, after) is None:
        return 0.0, 0.0
    first, second = (wilson(float(rows.sum()) / len(rows), rows.shape[1], level) for rows in (before, after))
    down = math.hypot(second.estimate - second.low, first.high - first.estimate)
    return down, math.hypot(second.high - second.estimate, first.estimate - first.low)


def _arm(scores: RunScores) -> tuple[Arm, int]:
    codes, count = encode_clusters(scores.words, scores.rows.shape[1])
    return measure_arm(scores.rows, codes, count), count


def _variance(arms: tuple[Arm, ...]) -> list[SeedVariance | None]:
    """Each run's seed variance, the other's where it has one seed, None where both have."""
    own = [found.get("run") for found in seed_variances([{"run": arm} for arm in arms])]
    known = next((value for value in own if value is not None), None)
    return [value or known for value in own]
