"""Showing that a change is too small to matter: the test that makes a null result informative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graft.errors import DataError
from graft.stats.intervals import NAN, Interval, percentile_interval
from graft.stats.paired import EQUIVALENCE_LEVEL


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Outcome of the two one-sided tests.

    Attributes:
        shown: the 90% interval lies strictly inside ± margin.
        margin: the smallest change worth having, in the unit of the change.
        p: larger of the two one-sided p; NaN when only an interval was given.
        interval: the 90% interval.
        reason: why ``p`` or the interval is NaN; empty when both are numbers.
    """

    shown: bool
    margin: float
    p: float
    interval: Interval
    reason: str = ""


def tost(
    replicates_or_interval: NDArray[np.float64] | Interval, margin: float, *, estimate: float | None = None, n: int = 0
) -> Equivalence:
    """Two one-sided tests of |change| < margin at 5% each.

    Args:
        replicates_or_interval: (R,) bootstrap values of the change, or its 90% interval.
        margin: positive, in the unit of the change (0.02 is two points of accuracy).
        estimate: the change in the sample; the mean of the replicates when left out.
        n: items behind the replicates.

    Returns:
        Whether equivalence is shown; not shown, with the interval's reason, when the interval is undefined.

    Raises:
        DataError: if the margin is not positive, the interval is not a 90% one, or there are no replicates.

    Source: Schuirmann (1987), J. Pharmacokinet. Biopharm. 15:657–680.
    """
    if not margin > 0:
        raise DataError(f"the equivalence margin must be above 0, but got {margin}; 0.02 is two points")
    if isinstance(replicates_or_interval, Interval):
        interval = replicates_or_interval
        if not np.isclose(interval.level, EQUIVALENCE_LEVEL):
            raise DataError(f"equivalence needs the 90% interval, but got level {interval.level}")
        reason = interval.reason or "p needs the bootstrap replicates, only their interval was given"
        return Equivalence(inside(interval, margin), margin, NAN, interval, reason)
    replicates = np.asarray(replicates_or_interval, dtype=np.float64)
    if replicates.size == 0:
        raise DataError("equivalence needs at least 1 bootstrap replicate, but got 0")
    total = replicates.size + 1
    too_low = (int((replicates <= -margin).sum()) + 1) / total
    too_high = (int((replicates >= margin).sum()) + 1) / total
    centre = float(replicates.mean()) if estimate is None else estimate
    interval = percentile_interval(centre, replicates, EQUIVALENCE_LEVEL, n)
    return Equivalence(inside(interval, margin), margin, max(too_low, too_high), interval)


def inside(interval: Interval, margin: float) -> bool:
    """True when both ends are numbers strictly between −margin and +margin."""
    return interval.defined and -margin < interval.low and interval.high < margin
