"""Paired comparisons on the same items: the change with its intervals, and the exact test of one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from graft.errors import DataError
from graft.stats.intervals import NAN, Interval, undefined
from graft.stats.resampling import encode_clusters
from graft.stats.spread import Arm, Spread, combine, exact_p, exact_reach, measure_arm, seed_variances, word_variance

EQUIVALENCE_LEVEL = 0.90
"""Two one-sided tests at 5% are the 90% interval (Schuirmann 1987)."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """Items that changed sides between two scorings of the same items.

    Attributes:
        gained: wrong before, right after.
        lost: right before, wrong after.
        n: pairs in all.
        p: two-sided exact p; 1.0 when no item changed sides.
    """

    gained: int
    lost: int
    n: int
    p: float


@dataclass(frozen=True, slots=True)
class Change:
    """A paired change of a mean, over seeds and words.

    Attributes:
        estimate: mean of after − before over all seeds and items.
        interval: at the level asked for, usually 95%.
        interval90: the 90% interval, which decides equivalence.
        p: two-sided, of no change.
        n_items: items N.
        n_clusters: words.
        seeds: S.
        per_seed: the S changes one by one.
        reason: why the intervals or p are NaN; empty when they are numbers.
    """

    estimate: float
    interval: Interval
    interval90: Interval
    p: float
    n_items: int
    n_clusters: int
    seeds: int
    per_seed: tuple[float, ...]
    reason: str = ""


def mcnemar_exact(before: ArrayLike, after: ArrayLike) -> McNemar:
    """Exact McNemar test: among items that changed sides, are gains and losses equally likely?

    With no discordant pair the sample holds no evidence either way and p = 1.0 is right, not undefined: every
    outcome of a binomial with zero trials is at least as extreme as the one seen.

    Args:
        before: (N,) bool.
        after: (N,) bool, the same items.

    Raises:
        DataError: if the shapes differ or are not one-dimensional.

    Source: McNemar (1947), Psychometrika 12:153–157; the exact conditional form as in Fagerland, Lydersen & Laake
    (2013), BMC Med. Res. Methodol. 13:91, which also shows that it is conservative.
    """
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"McNemar needs two equal (N,) arrays, but got shapes {first.shape} and {second.shape}")
    gained = int((~first & second).sum())
    lost = int((first & ~second).sum())
    p = min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))
    return McNemar(gained, lost, first.size, p)


def paired_differences(before: ArrayLike, after: ArrayLike) -> NDArray[np.float64]:
    """After − before for every seed and item.

    Args:
        before: (N,) when all seeds start from the same scores, else (S, N).
        after: (N,) or (S, N), row s from the same seed as row s of ``before``.

    Returns:
        (S, N) differences.

    Raises:
        DataError: if the items or the seeds do not match.
    """
    first = np.asarray(before, dtype=np.float64)
    second = np.atleast_2d(np.asarray(after, dtype=np.float64))
    if first.ndim not in (1, 2) or second.ndim != 2 or first.shape[-1] != second.shape[1]:
        raise DataError(
            f"before and after must hold the same items as (N,) or (S, N), but got {first.shape} and {second.shape}"
        )
    if first.ndim == 2 and len(first) != len(second):
        raise DataError(
            f"before and after must have the same seeds in the same order, but got {len(first)} and {len(second)}; "
            "run the missing seeds or leave the extra ones out"
        )
    if not len(second):
        raise DataError("after must hold at least 1 seed, but got 0")
    differences: NDArray[np.float64] = second - first
    return differences


def undefined_change(reason: str, *, seeds: int = 0, level: float = 0.95) -> Change:
    """A change that says why it is not there."""
    blank, blank90 = undefined(reason, level=level), undefined(reason, level=EQUIVALENCE_LEVEL)
    return Change(NAN, blank, blank90, NAN, 0, 0, seeds, (), reason)


@dataclass(frozen=True, slots=True)
class Frame:
    """What all arms of a task share.

    Attributes:
        n_items: items N.
        n_clusters: words C.
        largest: items of the largest word.
        unit: the step of which every word's change is a whole multiple, ``None`` for scores that are no whole numbers.
    """

    n_items: int
    n_clusters: int
    largest: float
    unit: float | None


def arm_change(after: Arm, before: Arm, spread: Spread, frame: Frame, level: float = 0.95) -> Change:
    """The change from one arm to another with its intervals and p.

    The interval is that of :mod:`graft.stats.spread`, never narrower than the exact bound; p is the larger of the
    interval's and of the exact test's.

    Args:
        after: the arm that is judged.
        before: the arm it is compared with, on the same words; its seeds need not be the same.
        spread: variance of the mean change.
        frame: sizes.
        level: coverage of the main interval in (0, 1).
    """
    estimate = float(after.means_S.mean() - before.means_S.mean())
    base = before.means_S if before.seeds == after.seeds else before.means_S.mean()
    per_seed = tuple(float(value) for value in after.means_S - base)
    n = frame.n_items
    if frame.n_clusters < 2:
        reason = "one word only: its spread cannot be seen"
        blanks = [undefined(reason, n=n, level=lv, estimate=estimate) for lv in (level, EQUIVALENCE_LEVEL)]
        return Change(estimate, blanks[0], blanks[1], NAN, n, frame.n_clusters, len(per_seed), per_seed, reason)
    change_C = after.raw_C - before.raw_C
    intervals = []
    most = math.inf if frame.unit is None else 1.0  # only right and wrong are known to lie in [0, 1]
    for lv in (level, EQUIVALENCE_LEVEL):
        half = spread.half(lv)
        down, up = exact_reach(change_C, frame.largest, n, lv)
        low, high = estimate - max(half, down), estimate + max(half, up)
        intervals.append(Interval(estimate, max(-most, low), min(most, high), lv, n))
    p = max(spread.p(estimate), exact_p(change_C, frame.unit))
    return Change(estimate, intervals[0], intervals[1], p, n, frame.n_clusters, len(per_seed), per_seed)


def whole_step(*rows: NDArray[np.float64]) -> float | None:
    """The step of which the difference of the arms' means over seeds is a whole multiple; ``None`` without one.

    Args:
        rows: (S, N) scores of the two arms, each with its own S.
    """
    if all(np.array_equal(part, part.astype(bool)) for part in rows):
        return 1 / math.lcm(*(len(part) for part in rows))
    return None


def paired_change(before: ArrayLike, after: ArrayLike, clusters: NDArray[Any], level: float = 0.95) -> Change:
    """Change of a mean between two scorings of the same items, with everything a table needs.

    Args:
        before: (N,) or (S, N) scores in [0, 1], bool or float.
        after: (N,) or (S, N) scores of the same items; the seeds need not be those of ``before``.
        clusters: (N,) word of each item.
        level: coverage of the main interval in (0, 1); the 90% interval always comes along.

    Returns:
        The change; NaN with a reason when there are no items, one word only, or undefined scores. With one seed its
        intervals speak of these very checkpoints, not of training again.

    Raises:
        DataError: if items or labels do not match.
    """
    rows = [np.atleast_2d(np.asarray(scores, dtype=np.float64)) for scores in (before, after)]
    if any(part.ndim != 2 or not len(part) for part in rows) or rows[0].shape[1] != rows[1].shape[1]:
        raise DataError(
            f"before and after must hold the same items as (N,) or (S, N), but got {rows[0].shape} and {rows[1].shape}"
        )
    seeds, n_items = rows[1].shape
    codes, words = encode_clusters(clusters, n_items)
    if n_items == 0:
        return undefined_change("no items", seeds=seeds, level=level)
    missing = sum(int(np.isnan(part).sum()) for part in rows)
    if missing:
        return undefined_change(f"{missing} of {sum(p.size for p in rows)} scores are undefined", seeds=seeds)
    first, second = (measure_arm(part, codes, words) for part in rows)
    variances = seed_variances([{"before": first, "after": second}])[0]
    parts = [(variances[name], arm.seeds) for name, arm in (("before", first), ("after", second)) if name in variances]
    spread = combine(parts, word_variance((second, first), n_items), words)
    largest = float(np.bincount(codes).max())
    return arm_change(second, first, spread, Frame(n_items, words, largest, whole_step(*rows)), level)
