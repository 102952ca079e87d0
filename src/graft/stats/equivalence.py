"""Showing that a change is too small to matter: the test that makes a null result informative."""

from __future__ import annotations

from dataclasses import dataclass

from graft.errors import DataError
from graft.stats.intervals import NAN, Interval
from graft.stats.paired import EQUIVALENCE_LEVEL, Change
from graft.stats.spread import Spread

ONE_SIDED = (1 - EQUIVALENCE_LEVEL) / 2
"""Error of each of the two tests."""


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Outcome of the two one-sided tests.

    Attributes:
        shown: the 90% interval lies strictly inside ± margin.
        margin: the smallest change worth having, in the unit of the change.
        p: larger of the two one-sided p; NaN where it is undefined.
        interval: the 90% interval.
        reason: why ``p`` or the interval is NaN; empty when both are numbers.
    """

    shown: bool
    margin: float
    p: float
    interval: Interval
    reason: str = ""


def tost(change: Change, spread: Spread, margin: float) -> Equivalence:
    """Two one-sided tests of |change| < margin at 5% each.

    Args:
        change: the change with its 90% interval.
        spread: variance of the change.
        margin: positive, in the unit of the change (0.02 is two points of accuracy).

    Returns:
        Whether equivalence is shown; not shown, with the interval's reason, when the interval is undefined.

    Raises:
        DataError: if the margin is not positive.

    Source: Schuirmann (1987), J. Pharmacokinet. Biopharm. 15:657–680.
    """
    if not margin > 0:
        raise DataError(f"the equivalence margin must be above 0, but got {margin}; 0.02 is two points")
    if change.reason:
        return Equivalence(False, margin, NAN, change.interval90, change.reason)
    shown = inside(change.interval90, margin)
    room = margin - abs(change.estimate)
    p = spread.p(room) / 2 if room > 0 else 1 - spread.p(room) / 2
    if not shown and p < ONE_SIDED:
        reason = "too few words changed: the exact bound decides, which has no p"
        return Equivalence(False, margin, NAN, change.interval90, reason)
    return Equivalence(shown, margin, p, change.interval90)


def inside(interval: Interval, margin: float) -> bool:
    """True when both ends are numbers strictly between −margin and +margin."""
    return interval.defined and -margin < interval.low and interval.high < margin
