"""How small a change a study can show: the whole rule simulated before anything is trained, and McNemar's formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from graft.errors import DataError
from graft.stats.intervals import NAN
from graft.stats.spread import exact_reach

UNKNOWN_DISCORDANCE = 0.20
"""Share of items assumed to change sides while no run has shown it: an assumption, not a measurement. More discordance
needs more items, so replace it by the share seen in a pilot as soon as there is one."""

SEED_CORRELATION = 0.5
"""Assumed correlation, between two seeds, of an item's change. At 1 more seeds add nothing, at 0 they count as new
items; seeds share base, data and items, so the truth lies between. Shifts of a whole seed are not in this figure."""

UNKNOWN_SEED_SD = 0.02
"""Spread between seeds of an arm's accuracy that is assumed while no run has shown it, in proportion units."""

LEAST_WORDS = 20
"""Words below which a study is refused: seven must change, all one way, before one of two targets is claimed."""

POWER = 0.8
"""Chance to find the smallest detectable change."""

DRAWS = 4000
"""Simulated studies behind a forecast: its power is known within a point."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A study that is planned.

    Attributes:
        words: words of each target.
        seeds: training seeds of each arm, at least 2.
        targets: declared targets; all but the one of interest are taken not to change, the hardest case for Holm.
        seed_sd: spread of an arm's accuracy between seeds, in proportion units.
        discordance: share of items that change sides between the base and a seed, in (0, 0.5].
        alpha: error rate of the family of claims.
        controls: trained controls that a claim must beat beside the base.
    """

    words: int
    seeds: int
    targets: int = 1
    seed_sd: float = UNKNOWN_SEED_SD
    discordance: float = UNKNOWN_DISCORDANCE
    alpha: float = 0.05
    controls: int = 1


@dataclass(frozen=True, slots=True)
class _Parts:
    """Variance of one item's change: what all seeds share against the base and the control, and a seed's own noise."""

    base: float
    control: float
    noise: float


def claimed_from(plan: Plan, rng: np.random.Generator, draws: int = DRAWS) -> NDArray[np.float64]:
    """From which true change on each of many simulated studies would claim transfer.

    Every study draws its words' luck, its seeds' luck and the seed variances that it then sees, and applies both
    contrasts, Holm, Welch's degrees of freedom and the exact bound as the judge does. A change only moves the
    estimates, so each study has one threshold, and power at a change is the share of thresholds below it.

    Args:
        plan: the study.
        rng: source of randomness.
        draws: simulated studies R.

    Returns:
        (R,) changes in ascending order, in proportion units; above 1 where no change would do.

    Raises:
        DataError: if the plan has fewer than 2 seeds or no word, or a share is out of range.
    """
    _check(plan.discordance, plan.alpha, POWER)
    if plan.words < 1 or plan.seeds < 2 or plan.targets < 1 or plan.discordance > 0.5:
        raise DataError(
            "a forecast needs at least 1 word, 2 seeds and 1 target, and a discordance of at most 0.5, but got "
            f"words={plan.words}, seeds={plan.seeds}, targets={plan.targets}, discordance={plan.discordance}"
        )
    parts = _parts(plan.discordance)
    spread = math.sqrt(plan.seed_sd**2 + parts.noise / plan.words)
    accuracy = spread * rng.normal(size=(1 + plan.controls, draws, plan.targets, plan.seeds))  # trained first
    seen = accuracy.var(axis=3, ddof=1)
    variance = np.maximum(seen.mean(axis=2), seen[:, :, 0]) / plan.seeds
    df = float(plan.targets * (plan.seeds - 1))
    luck = accuracy[:, :, 0].mean(axis=2)
    words = rng.normal(size=(1 + plan.controls, draws)) / math.sqrt(plan.words)
    level = 1 - plan.alpha / plan.targets

    def needed(
        seeds: NDArray[np.float64],
        freedom: NDArray[np.float64] | float,
        error: NDArray[np.float64],
        shared: float,
        noise: float,
    ) -> NDArray[np.float64]:
        half = _half(seeds, freedom, shared / plan.words, plan.words, level)
        return np.maximum(half, _reach(plan, shared, noise, level)) - error

    error = luck[0] + math.sqrt(parts.base) * words[0]
    least = needed(variance[0], df, error, parts.base, parts.noise)
    for k in range(1, 1 + plan.controls):
        error = luck[0] - luck[k] + math.sqrt(parts.control) * words[k]
        seeds = variance[0] + variance[k]
        welch = seeds**2 / (variance[0] ** 2 + variance[k] ** 2) * df
        least = np.maximum(least, needed(seeds, welch, error, parts.control, 2 * parts.noise))
    return np.sort(least)


def smallest_detectable(plan: Plan, rng: np.random.Generator) -> float:
    """The smallest change that the judge claims with 80% power, in proportion units; NaN when there is none below 1.

    Raises:
        DataError: as in `claimed_from`.
    """
    least = float(np.quantile(claimed_from(plan, rng), POWER))
    return least if least < 1 else NAN


def power(plan: Plan, change: float, rng: np.random.Generator) -> float:
    """The chance that the judge claims a true change.

    Raises:
        DataError: as in `claimed_from`.
    """
    return float((claimed_from(plan, rng) <= change).mean())


def _parts(discordance: float) -> _Parts:
    """Variances of the two-way layout at a base of 50%, with normal difficulties behind right and wrong.

    Two arms whose difficulties correlate by r disagree on arccos(r)/π of the items. Trained and format each keep r of
    the base, so they keep r² of each other; two seeds of an arm share `SEED_CORRELATION` of what is left.
    """
    kept = math.cos(math.pi * discordance)
    seeds = math.acos(kept**2 + (1 - kept**2) * SEED_CORRELATION) / math.pi
    control = math.acos(kept**2) / math.pi
    return _Parts(discordance - seeds / 2, control - seeds, seeds / 2)


def _half(
    variance: NDArray[np.float64], df: NDArray[np.float64] | float, word: float, words: int, level: float
) -> NDArray[np.float64]:
    """Half the interval of each study, as :class:`~graft.stats.spread.Spread` has it."""
    quantile = (1 + level) / 2
    seeds = stdtrit(df, quantile) ** 2 * variance
    half: NDArray[np.float64] = np.sqrt(seeds + stdtrit(max(words - 1, 1), quantile) ** 2 * word)
    return half


def _reach(plan: Plan, shared: float, noise: float, level: float) -> float:
    """The exact bound below a change of typical words: half of them gained, half lost, averaged over the seeds."""
    weight = shared + noise / plan.seeds
    changed = plan.words * weight
    change = np.zeros(plan.words)
    whole = min(plan.words, max(2, round(changed)))
    change[:whole] = np.where(np.arange(whole) % 2, 1.0, -1.0)
    return exact_reach(change, 1.0, plan.words, level)[0] if plan.words > 1 else 1.0


def mcnemar_sample_size(
    delta: float, discordance: float = UNKNOWN_DISCORDANCE, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Items that McNemar's test needs to detect a change.

    n = (z₁₋α/₂ √ψ + z_power √(ψ − δ²))² / δ², rounded up.

    Args:
        delta: the change in proportion units, 0 < |delta| ≤ ``discordance``.
        discordance: ψ, share of items that change sides in either direction, in (0, 1].
        alpha: two-sided error rate in (0, 1).
        power: chance to detect the change, in (0, 1).

    Raises:
        DataError: if an argument is out of range.

    Source: Connor (1987), Biometrics 43:207–211.
    """
    _check(discordance, alpha, power)
    if not 0 < abs(delta) <= discordance:
        raise DataError(f"delta must satisfy 0 < |delta| <= discordance ({discordance}), but got {delta}")
    return math.ceil(_items(abs(delta), discordance, alpha, power))


def detectable_change(n: int, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest change that McNemar's test on n items detects: the inverse of `mcnemar_sample_size`.

    A change larger than the discordance brings its own: then every item that changes sides does so in its direction.

    Args:
        n: items, at least 1.
        discordance: ψ, share of items that change sides in either direction, in (0, 1]; where none was seen, 3/n bounds
            it with 95% confidence.
        alpha: two-sided error rate in (0, 1).
        power: chance to detect the change, in (0, 1).

    Returns:
        In proportion units; NaN where no change is.

    Raises:
        DataError: if an argument is out of range.
    """
    _check(discordance, alpha, power)
    low, high = 0.0, 1.0
    if _items(high, high, alpha, power) > n:
        return NAN
    for _ in range(60):
        middle = (low + high) / 2
        enough = _items(middle, max(discordance, middle), alpha, power) <= n
        low, high = (low, middle) if enough else (middle, high)
    return high


def _items(delta: float, discordance: float, alpha: float, power: float) -> float:
    """Connor's n before rounding."""
    spread = float(ndtri(1 - alpha / 2)) * math.sqrt(discordance)
    reach = float(ndtri(power)) * math.sqrt(max(0.0, discordance - delta * delta))
    return (spread + reach) ** 2 / delta**2


def _check(discordance: float, alpha: float, power: float) -> None:
    """Refuse shares outside their ranges."""
    if not 0 < discordance <= 1:
        raise DataError(f"discordance must lie in (0, 1], but got {discordance}; 0.20 is a usual guess")
    for name, value in (("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise DataError(f"{name} must lie strictly between 0 and 1, but got {value}")
