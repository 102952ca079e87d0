"""How many items a paired comparison needs, and how small a change a given number can show."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import ndtri

from graft.errors import DataError
from graft.stats.intervals import NAN

UNKNOWN_DISCORDANCE = 0.20
"""Share of items assumed to change sides while no run has shown it: an assumption, not a measurement. More discordance
needs more items, so replace it by the share seen in a pilot as soon as there is one."""

SEED_CORRELATION = 0.5
"""Assumed correlation, between two seeds, of an item's change. At 1 more seeds add nothing, at 0 they count as new
items; seeds share base, data and items, so the truth lies between. Shifts of a whole seed are not in this figure."""


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


def minimum_detectable_effect(
    n: int, discordance: float = UNKNOWN_DISCORDANCE, alpha: float = 0.05, power: float = 0.8, seeds: int = 1
) -> float:
    """Smallest change that ``n`` items detect: the inverse of :func:`mcnemar_sample_size`.

    Several seeds on the same items count as n·S / (1 + (S − 1)·ρ) items with ρ = 0.5 (``SEED_CORRELATION``), so five
    seeds are worth 1.7 times the items. That holds while seeds differ in noise and not in how much they learn.

    Args:
        n: items, at least 1.
        discordance: share of items that change sides, in (0, 1]; 0.20 when unknown.
        alpha: two-sided error rate in (0, 1).
        power: chance to detect the change, in (0, 1).
        seeds: training seeds that are averaged, at least 1.

    Returns:
        The change in proportion units; NaN when even a change of the whole discordance would go unseen.

    Raises:
        DataError: if an argument is out of range.

    Source: Connor (1987), Biometrics 43:207–211; the design effect as in Kish (1965), Survey Sampling.
    """
    _check(discordance, alpha, power)
    if n < 1 or seeds < 1:
        raise DataError(f"n and seeds must be at least 1, but got n={n}, seeds={seeds}")
    effective = n * seeds / (1 + (seeds - 1) * SEED_CORRELATION)
    if _items(discordance, discordance, alpha, power) > effective:
        return NAN
    # The needed items fall steadily with delta, so there is exactly one root.
    return float(brentq(lambda d: _items(d, discordance, alpha, power) - effective, 1e-9, discordance, xtol=1e-12))


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
