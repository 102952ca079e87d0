"""How many more words, or seeds, would decide what a study left open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import chdtri, ndtri

from graft.stats import wording
from graft.stats.arms import BASE, Contrast
from graft.stats.contrasts import Sample, Variances, contrast_spread
from graft.stats.equivalence import ONE_SIDED
from graft.stats.intervals import NAN
from graft.stats.paired import EQUIVALENCE_LEVEL
from graft.stats.spread import SeedVariance, Spread

MOST_SEEDS = 100
"""Seeds beyond which no number is named."""

_LEVEL = 0.95
_SURE = 0.8
_REACH = float(ndtri(0.975)) / float(ndtri(0.975) + ndtri(0.8))
"""Half an interval over the change it is to exclude 0 for, with 80% power."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A contrast's spread with its part that words do not shrink, and the half-width that decides it."""

    spread: Spread
    fixed: float
    level: float
    goal: float
    seeds: int

    def words(self, now: int) -> float:
        """Words that reach the goal, infinite where the seeds alone already exceed it."""
        fixed = replace(self.spread, seed=self.fixed, word=0.0).half(self.level) ** 2
        rest = self.spread.half(self.level) ** 2 - fixed
        return now * rest / (self.goal**2 - fixed) if fixed < self.goal**2 else math.inf

    def seeds_needed(self) -> float:
        """Seeds at which their part is half of what the goal allows, infinite beyond `MOST_SEEDS`."""
        per_df = self.spread.seed_df / (self.seeds - 1)
        for seeds in range(self.seeds + 1, MOST_SEEDS + 1):
            part = Spread(self.fixed * self.seeds / seeds, per_df * (seeds - 1), 0.0, 1.0)
            if part.half(self.level) ** 2 <= self.goal**2 / 2:
                return seeds
        return math.inf


def words_to_decide(
    sample: Sample, contrasts: Sequence[Contrast], variances: Variances, margin: float, pool: int | None
) -> tuple[float, str]:
    """Words with which the required contrasts would probably be decided, at the same number of seeds.

    Changes that all reach the margin are planned to be claimed: half the 95% interval is to be 0.70 of the smallest,
    which gives 80% power. Otherwise equivalence is planned: half the 90% interval is to be margin/2, which shows it
    with about 90% probability if the true change is zero. The part of the seeds that words do not shrink is kept
    apart. Where the rule asks for no more words than there are, the answer is twice as many.

    Returns:
        The number of words and "", or NaN and the reason: seeds differ too much, or the pool is too small.
    """
    if sample.seeds < 2:
        return NAN, "one seed: run at least 2"
    broken = [contrast.change.reason for contrast in contrasts if contrast.change.reason]
    if broken:
        return NAN, broken[0]
    plans = [_plan(sample, contrast, contrasts, variances, margin) for contrast in contrasts]
    least = math.log(ONE_SIDED) / math.log1p(-margin)  # unchanged words that exclude the margin
    needed = max(least, *(plan.words(sample.n_clusters) for plan in plans))
    if math.isinf(needed):
        seeds = max(plan.seeds_needed() for plan in plans if math.isinf(plan.words(sample.n_clusters)))
        more = f"about {seeds:.0f} seeds would" if math.isfinite(seeds) else f"nor would {MOST_SEEDS} seeds"
        return NAN, f"seeds differ too much for more words to decide; {more}"
    words = max(math.ceil(needed), 2 * sample.n_clusters if needed <= sample.n_clusters else 0)
    if pool is not None and words > pool:
        return NAN, f"about {wording.about(words)} words would decide, but the pool has {pool:,}: more seeds may"
    return float(words), ""


def _surely(variance: SeedVariance) -> float:
    """A seed variance that is exceeded with 80% probability: few seeds seem to differ by chance alone."""
    return variance.value * variance.df / float(chdtri(variance.df, 1 - _SURE))


def _plan(
    sample: Sample, contrast: Contrast, contrasts: Sequence[Contrast], variances: Variances, margin: float
) -> _Plan:
    spread = contrast_spread(sample, contrast.after, contrast.before, variances)
    fixed = 0.0
    for name in (contrast.after, contrast.before):
        if name in variances:
            arm = sample.arms[name]
            noise = arm.noise * arm.seeds / sample.n_items**2
            fixed += max(0.0, _surely(variances[name]) - noise) / arm.seeds
    estimates = [c.change.estimate for c in contrasts]
    harm = max((-c.change.estimate for c in contrasts if c.before == BASE), default=0.0)
    claim = max(min(estimates), harm)
    level, goal = (_LEVEL, _REACH * claim) if claim >= margin else (EQUIVALENCE_LEVEL, margin / 2)
    return _Plan(spread, fixed, level, goal, sample.seeds)
