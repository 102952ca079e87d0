"""What stands beside the verdict: further measures of the same items. Exploratory: they carry no claim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.stats.intervals import NAN
from graft.stats.paired import Change, paired_change, undefined_change


@dataclass(frozen=True, slots=True)
class Aside:
    """The paired change of one measure between two ways of answering the same items.

    Attributes:
        task: the task.
        measure: what was measured, for people: ``mean absolute error``.
        after, before: the two ways: arms, or one arm with thinking and without.
        n_items: items on which it is defined under both, in every seed.
        left_out: items on which it is not.
        value_before, value_after: means over those items and seeds.
        change: after − before, in the unit of the measure.
    """

    task: str
    measure: str
    after: str
    before: str
    n_items: int
    left_out: int
    value_before: float
    value_after: float
    change: Change


def compare_aside(
    task: str,
    measure: str,
    *,
    after: tuple[str, ArrayLike],
    before: tuple[str, ArrayLike],
    clusters: NDArray[Any],
) -> Aside:
    """Measure a change on the items on which both sides are defined.

    Args:
        task: the task.
        measure: its name for people.
        after: name and (S, N) values, NaN where undefined.
        before: name and (1, N) or (S, N) values.
        clusters: (N,) word of each item.

    Raises:
        DataError: items do not match.
    """
    second = np.atleast_2d(np.asarray(after[1], dtype=np.float64))
    first = np.atleast_2d(np.asarray(before[1], dtype=np.float64))
    kept = np.isfinite(np.concatenate([first, second])).all(axis=0)
    n = int(kept.sum())
    change = (
        _change(first[:, kept], second[:, kept], np.asarray(clusters)[kept])
        if n
        else undefined_change("no item has this measure under both", seeds=len(second))
    )
    means = (float(first[:, kept].mean()), float(second[:, kept].mean())) if n else (NAN, NAN)
    return Aside(task, measure, after[0], before[0], n, len(kept) - n, *means, change)


def _change(first: NDArray[np.float64], second: NDArray[np.float64], clusters: NDArray[Any]) -> Change:
    """The change in the unit of the measure; the exact bound of its interval needs values from 0 to 1."""
    low = min(float(first.min()), float(second.min()))
    size = max(float(first.max()), float(second.max())) - low or 1.0
    found = paired_change((first - low) / size, (second - low) / size, clusters)
    interval, interval90 = (
        replace(one, estimate=size * one.estimate, low=size * one.low, high=size * one.high)
        for one in (found.interval, found.interval90)
    )
    per_seed = tuple(size * value for value in found.per_seed)
    return replace(found, estimate=size * found.estimate, interval=interval, interval90=interval90, per_seed=per_seed)
