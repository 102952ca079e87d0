"""How far a paired change may lie from the truth: the seeds' part, the words' part, and the exact bound beside them.

For a change between two arms, on N items of C words under S training seeds each,

    half² = t²(df) · Σ_arms s²/S  +  t²(C − 1) · max(between words − noise, 0)

- s² is the variance of an arm's accuracy between its seeds, noise of its items included; the untouched base has none.
  It is pooled over the tasks of a declared family, but never below the task's own; df are those of Welch.
- The words' part is what all seeds share. The noise of single seeds is subtracted from it, for s² holds it already.
- The two parts keep their own quantile. One quantile at Satterthwaite's df covers 87–94% with 2 seeds, a bootstrap
  over the seeds 40–90%; this sum covers 95–98% (``docs/transfer.md`` has the table).
- At few changed words neither part can be seen. The interval is therefore never narrower than the exact bound of
  `exact_reach`, which after N unchanged words is the rule of three.

Axes: ``S`` seeds, ``N`` items, ``C`` words. Variances are in squared proportions.

Sources: Welch (1947), Biometrika 34:28–35; Burdick & Graybill (1992), Confidence Intervals on Variance Components.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

LEAST_P = 1e-15
"""The smallest p that is reported: below it, sums of floats decide."""

_FAR = 9.0
"""Standard deviations beyond which a sum of sign flips is less likely than `LEAST_P` (Hoeffding: 2·exp(−9²/2))."""

_GRID = 32
"""Steps in which scores that are no whole numbers enter the exact test."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm's scores on one task.

    Attributes:
        means_S: accuracy of every seed.
        totals_SC: score of every seed in every word, each seed centred: less its accuracy times the word's items.
        raw_C: score of every word, mean over seeds, not centred.
    """

    means_S: NDArray[np.float64]
    totals_SC: NDArray[np.float64]
    raw_C: NDArray[np.float64]

    @property
    def seeds(self) -> int:
        """Training seeds S."""
        return len(self.means_S)

    @property
    def noise(self) -> float:
        """What single seeds add to the sum over words of the squared mean total; 0 with one seed."""
        if self.seeds == 1:
            return 0.0
        apart = self.totals_SC - self.totals_SC.mean(axis=0)
        return float(np.vdot(apart, apart)) / (self.seeds * (self.seeds - 1))


@dataclass(frozen=True, slots=True)
class SeedVariance:
    """Variance of an arm's accuracy between training seeds, and the degrees of freedom it was seen with."""

    value: float
    df: int


@dataclass(frozen=True, slots=True)
class Spread:
    """Variance of a mean change in its two parts.

    Attributes:
        seed, seed_df: the seeds' part; 0 with 0 df where no arm has a second seed.
        word, word_df: the words' part.
    """

    seed: float
    seed_df: float
    word: float
    word_df: float

    def half(self, level: float) -> float:
        """Half the width of the interval at a level in (0, 1)."""
        return math.sqrt(self._square((1 + level) / 2))

    def p(self, distance: float) -> float:
        """Two-sided p of a truth this far away: one less the level at which the interval just reaches it."""
        if distance == 0:
            return 1.0
        square = distance * distance
        if self._square(1 - LEAST_P / 2) < square:
            return LEAST_P
        low, high = math.log(LEAST_P), 0.0
        for _ in range(25):
            middle = (low + high) / 2
            wide = self._square(1 - math.exp(middle) / 2) > square
            low, high = (middle, high) if wide else (low, middle)
        return math.exp(high)

    @property
    def standard_error(self) -> float:
        """Of the mean change."""
        return math.sqrt(self.seed + self.word)

    def _square(self, quantile: float) -> float:
        seeds = float(stdtrit(self.seed_df, quantile)) ** 2 * self.seed if self.seed > 0 else 0.0
        words = float(stdtrit(self.word_df, quantile)) ** 2 * self.word if self.word > 0 else 0.0
        return seeds + words


def measure_arm(rows_SN: NDArray[np.float64], codes: NDArray[np.intp], count: int) -> Arm:
    """Reduce an arm's scores to words.

    Args:
        rows_SN: scores, at least one seed and one item.
        codes: (N,) word of each item, 0 to ``count`` − 1.
        count: words C.
    """
    means = rows_SN.mean(axis=1)
    if count == rows_SN.shape[1]:
        order = np.argsort(codes)
        return Arm(means, rows_SN[:, order] - means[:, None], rows_SN.mean(axis=0)[order])
    totals = np.stack([np.bincount(codes, weights=row, minlength=count) for row in rows_SN])
    sizes = np.bincount(codes, minlength=count)
    return Arm(means, totals - means[:, None] * sizes, totals.mean(axis=0))


def seed_variances(family: Sequence[Mapping[str, Arm]]) -> list[dict[str, SeedVariance]]:
    """Each arm's seed variance on each task, pooled over the family and never below the task's own.

    Args:
        family: by task, the arms that were trained under seeds; arms with one seed are left out of the answer.
    """
    pooled = {}
    for name in dict.fromkeys(name for arms in family for name in arms):
        seen = [arms[name].means_S for arms in family if name in arms and arms[name].seeds > 1]
        df = sum(len(means) - 1 for means in seen)
        if df:
            pooled[name] = SeedVariance(sum(float(np.var(m)) * len(m) for m in seen) / df, df)
    return [
        {
            name: SeedVariance(max(pooled[name].value, float(np.var(arm.means_S, ddof=1))), pooled[name].df)
            for name, arm in arms.items()
            if name in pooled and arm.seeds > 1
        }
        for arms in family
    ]


def word_variance(side: Sequence[Arm], n_items: int) -> float:
    """Variance that words put into a mean, or into the difference of two means on the same words.

    Args:
        side: one arm, or the two that are compared on the same words.
        n_items: items N.

    Returns:
        What all seeds share: the noise of single seeds is subtracted, and the answer is at least 0.
    """
    means = [arm.totals_SC.mean(axis=0) for arm in side]
    shared = means[0] - means[1] if len(means) == 2 else means[0]
    words = len(shared)
    total = max(0.0, float(np.vdot(shared, shared)) - sum(arm.noise for arm in side))
    return total * words / max(words - 1, 1) / n_items**2


def combine(seeds: Sequence[tuple[SeedVariance, int]], word: float, words: int) -> Spread:
    """The spread of a change from its parts.

    Args:
        seeds: seed variance and number of seeds of each arm that was trained under more than one.
        word: variance of the words' part.
        words: number of words C.
    """
    parts = [(variance.value / count, variance.df) for variance, count in seeds]
    seed = sum(value for value, _ in parts)
    weight = sum(value * value / df for value, df in parts)
    df = seed * seed / weight if weight > 0 else float(sum(df for _, df in parts))
    return Spread(seed, df, word, float(max(words - 1, 1)))


def exact_reach(change_C: NDArray[np.float64], largest: float, n_items: int, level: float) -> tuple[float, float]:
    """How far the truth may lie below and above a change when the spread between words cannot be trusted.

    The shares gained and lost each get the exact binomial bound of Clopper and Pearson. Where a word counts for less
    than one item, as one that only some seeds change, the bound is taken at the effective number of changed words,
    and one unseen word of full weight is added above. The two are combined by squaring and adding.

    Args:
        change_C: change of every word, mean over seeds, in items.
        largest: items of the largest word: what one unseen word may add.
        n_items: items N.
        level: two-sided level in (0, 1).

    Returns:
        Distances down and up, in proportion units. With no change at all both are 1 − ((1 − level)/2)^(1/N), the rule
        of three.

    Sources: Clopper & Pearson (1934); Fay & Feuer (1997), Stat. Med. 16:791–801 (weights); Korn & Graubard (1998),
    Survey Methodology 24:193–201 (effective size); Newcombe (1998), Stat. Med. 17:2635–2650 (square and add).
    """
    tail = (1 - level) / 2
    gained, lost = np.maximum(change_C, 0.0), np.maximum(-change_C, 0.0)
    up, down = (_share_bounds(side, largest, n_items, tail) for side in (gained, lost))
    below = math.hypot(up[0] - up[1], down[2] - down[0])
    above = math.hypot(up[2] - up[0], down[0] - down[1])
    return below, above


def _share_bounds(
    weights_C: NDArray[np.float64], largest: float, n_items: int, tail: float
) -> tuple[float, float, float]:
    """The share that weights make of N items, with its exact lower and upper bound."""
    total, squares = float(weights_C.sum()), float(np.vdot(weights_C, weights_C))
    space = n_items + largest
    low = 0.0
    if total > 0:
        changed = total * total / squares
        low = float(betaincinv(changed, max(space * changed / total - changed, 1e-9), tail))
    more, scale = total + largest, squares + largest * largest
    changed = more * more / scale
    rest = space * changed / more - changed
    high = float(betaincinv(changed, rest, 1 - tail)) if rest > 0 else 1.0
    share = total / n_items
    return share, min(low, share), max(high, share)


def exact_p(change_C: NDArray[np.float64], unit: float | None) -> float:
    """Two-sided exact p of "a word's change is as likely up as down", over words: McNemar's test for many seeds.

    With one seed, one item a word and right or wrong as scores it is McNemar's exact test. The distribution of the
    sum under all 2^C sign flips comes from its characteristic function ∏ cos(θ·|change|).

    Args:
        change_C: change of every word.
        unit: the step of which every change is a whole multiple, ``None`` to round to 1/32 of the largest.

    Source: Fisher's sign-flip test as in Pesarin & Salmaso (2010), Permutation Tests for Complex Data, ch. 1.
    """
    largest = float(np.abs(change_C).max(initial=0.0))
    if largest == 0:
        return 1.0
    steps = np.rint(change_C / (unit or largest / _GRID)).astype(np.int64)
    sizes, times = np.unique(np.abs(steps[steps != 0]), return_counts=True)
    seen, deviation = abs(int(steps.sum())), math.sqrt(float(np.dot(sizes * sizes, times)))
    reach = math.ceil(_FAR * deviation)
    if seen > reach:
        return LEAST_P
    length = 1 << (2 * reach + 1).bit_length()
    angle = 2 * np.pi / length * np.arange(length // 2 + 1)
    wave = np.ones(len(angle))
    for size, count in zip(sizes, times, strict=True):
        wave *= np.cos(angle * size) ** count
    mass = np.fft.irfft(wave, length)
    tail = float(mass[seen : reach + 1].sum())
    return min(1.0, max(LEAST_P, 2 * tail)) if seen else 1.0
