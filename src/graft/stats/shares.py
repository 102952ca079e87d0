"""Each item's share in a measure that is no plain mean, so that whatever is known of means holds for it too.

An item's share is the measure plus how much the measure moves with that item's weight (its influence). The mean of the
shares is the measure exactly, and their spread over items is its variance to first order, so paired changes, clusters
and seeds are handled as for accuracies. Axes: N items, K classes,
L = K + 1 with those that were called nothing last.

Source: Davison & Hinkley (1997), Bootstrap Methods, section 2.7 (the nonparametric delta method).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.errors import DataError
from graft.stats.classification import MEASURES, UNDEFINED, checked_calls, class_f1, confusion_table, mcc
from graft.stats.paired import Change, paired_change, undefined_change

Shares = NDArray[np.float64]
"""(N,) numbers whose mean is the measure; all NaN where it is undefined."""

_ROUNDING = 1e-9
"""How far shares of items may sum up beside 1."""


def macro_f1_shares(gold_N: ArrayLike, called_N: ArrayLike, classes: int) -> Shares:
    """Shares in macro-F1 over the classes that are an answer or were called.

    Args:
        gold_N: (N,) number of each item's right class.
        called_N: (N,) number of the class that it was called; −1 for none, which is no class of its own.
        classes: K.
    """
    return _table_shares(gold_N, called_N, classes, _macro_f1_slope)


def mcc_shares(gold_N: ArrayLike, called_N: ArrayLike, classes: int) -> Shares:
    """Shares in Matthews' correlation; calls of one class only say nothing about the answer and count as 0.

    Args:
        gold_N: (N,) number of each item's right class; all NaN comes back when they are all the same.
        called_N: (N,) number of the class that it was called; −1 for none.
        classes: K.

    Source: Chicco & Jurman (2020), BMC Genomics 21:6, on the value of calls of one class.
    """
    return _table_shares(gold_N, called_N, classes, _mcc_slope)


def ratio_shares(part_N: ArrayLike, whole_N: ArrayLike) -> Shares:
    """Shares in a ratio of sums, such as micro-F1 with 2·TP over predicted + expected.

    Args:
        part_N: (N,) each item's part of the sum above.
        whole_N: (N,) each item's part of the sum below; a sum of 0 is undefined.
    """
    part, whole = np.asarray(part_N, dtype=np.float64), np.asarray(whole_N, dtype=np.float64)
    if not whole.sum() > 0:
        return np.full(part.shape, np.nan)
    ratio = part.sum() / whole.sum()
    shares: Shares = ratio + (part - ratio * whole) / whole.mean()
    return shares


def balanced_shares(values_N: ArrayLike, strata_N: ArrayLike) -> Shares:
    """Shares in the mean over strata, in which every stratum weighs the same however many items it has.

    Args:
        values_N: (N,) value of each item.
        strata_N: (N,) its stratum.

    Raises:
        DataError: there is not one stratum for each item.
    """
    values, strata = np.asarray(values_N, dtype=np.float64), np.asarray(strata_N)
    if values.shape != strata.shape:
        raise DataError(f"a balanced mean needs one stratum per item, but got {values.shape} and {strata.shape}")
    _, codes, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    means = np.bincount(codes, weights=values) / sizes
    shares: Shares = means.mean() + (values - means[codes]) * (len(values) / (len(sizes) * sizes[codes]))
    return shares


def skill_shares(error_N: ArrayLike, reference_N: ArrayLike, power: int) -> Shares:
    """Shares in a skill: 1 less the size of the errors over that of a reference's errors.

    Args:
        error_N: (N,) each item's error.
        reference_N: (N,) the error of the best constant answer to each item; all 0 is undefined.
        power: 1 for mean absolute errors, 2 for root mean squared ones.

    Source: Murphy (1988), Monthly Weather Review 116:2417 (skill scores).
    """
    error, reference = (np.abs(np.asarray(side, dtype=np.float64)) ** power for side in (error_N, reference_N))
    if not reference.mean() > 0:
        return np.full(error.shape, np.nan)
    if not error.any():
        return np.ones(error.shape)
    left = (error.mean() / reference.mean()) ** (1 / power)
    shares: Shares = 1 - left * (1 + (error / error.mean() - reference / reference.mean()) / power)
    return shares


def correlation_shares(gold_N: ArrayLike, said_N: ArrayLike) -> Shares:
    """Shares in Pearson's correlation; answers that are all the same say nothing and count as 0.

    Args:
        gold_N: (N,) right numbers; all NaN comes back when they are all the same.
        said_N: (N,) numbers that were said.

    Source: Devlin, Gnanadesikan & Kettenring (1975), Biometrika 62:531 (the influence function of r).
    """
    gold, said = (np.asarray(side, dtype=np.float64) for side in (gold_N, said_N))
    if not gold.std() > 0:
        return np.full(gold.shape, np.nan)
    if not said.std() > 0:
        return np.zeros(gold.shape)
    x, y = (gold - gold.mean()) / gold.std(), (said - said.mean()) / said.std()
    r = float((x * y).mean())
    shares: Shares = r + x * y - r / 2 * (x**2 + y**2)
    return shares


def classification_change(
    gold_N: ArrayLike, before_SN: ArrayLike, after_SN: ArrayLike, classes: int, clusters: NDArray[Any]
) -> dict[str, Change]:
    """Paired change of every measure of called classes from one arm to another on the same items.

    Args:
        gold_N: (N,) number of each item's right class.
        before_SN: (N,) or (S, N) calls of one arm.
        after_SN: (N,) or (S, N) calls of the other; the seeds need not be the same.
        classes: K.
        clusters: (N,) label of each item's cluster.

    Returns:
        A change for each of `MEASURES`; NaN with its reason where one is undefined in a seed.

    Raises:
        DataError: items disagree or a number is no class.
    """
    gold, after = checked_calls(gold_N, after_SN, classes)
    _, before = checked_calls(gold_N, before_SN, classes)
    tables = np.stack([confusion_table(gold, row, classes) for row in (*before, *after)])
    found = {}
    for name, measure in MEASURES.items():
        if np.isnan(measure(tables)).any():
            found[name] = undefined_change(UNDEFINED[name], seeds=len(after))
            continue
        sides = [np.stack([_CALLED[name](gold, row, classes) for row in rows]) for rows in (before, after)]
        found[name] = paired_change(sides[0], sides[1], clusters)
    return found


def _accuracy_shares(gold_N: NDArray[np.intp], called_N: NDArray[np.intp], classes: int) -> Shares:
    shares: Shares = (gold_N == called_N).astype(np.float64)
    return shares


_CALLED = {"accuracy": _accuracy_shares, "macro_f1": macro_f1_shares, "mcc": mcc_shares}
"""How each of `MEASURES` is shared out over the items."""


def _table_shares(
    gold_N: ArrayLike,
    called_N: ArrayLike,
    classes: int,
    slope: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]],
) -> Shares:
    """Value plus slope at each item's cell: the measures do not change when all counts are doubled (Euler)."""
    gold, called = np.asarray(gold_N, dtype=np.intp), np.asarray(called_N, dtype=np.intp)
    if not len(gold):
        return np.empty(0)
    called = np.where(called < 0, classes, called)
    value, slope_LL = slope(confusion_table(gold, called, classes + 1) / len(gold))
    shares: Shares = value + slope_LL[gold, called]
    return shares


def _macro_f1_slope(share_LL: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
    each, sizes = class_f1(share_LL), share_LL.sum(axis=1) + share_LL.sum(axis=0)
    known = ~np.isnan(each)
    known[-1] = False  # no call at all
    # one more item of (g, p) makes both classes' denominators larger, and the numerator where g is p
    less = np.where(known, each, 0.0) / np.where(known, sizes, 1.0)
    more = np.diag(np.where(known, 2.0 / np.where(known, sizes, 1.0), 0.0))
    return float(each[known].mean()), (more - less[:, None] - less[None, :]) / known.sum()


def _mcc_slope(share_LL: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
    answers, calls = share_LL.sum(axis=1), share_LL.sum(axis=0)
    if answers.max() > 1 - _ROUNDING:
        return np.nan, np.zeros_like(share_LL)
    if calls.max() > 1 - _ROUNDING:
        return 0.0, np.zeros_like(share_LL)
    right = np.trace(share_LL)
    above = right - answers @ calls
    left, below = 1 - answers @ answers, 1 - calls @ calls
    d_above = np.eye(len(answers)) + right - calls[:, None] - answers[None, :]
    d_left, d_below = 2 - 2 * answers[:, None], 2 - 2 * calls[None, :]
    slope = (d_above - above / 2 * (d_left / left + d_below / below)) / np.sqrt(left * below)
    return float(mcc(share_LL)), slope
