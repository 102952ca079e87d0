"""Accuracy, macro-F1 and Matthews' correlation of labels that were chosen, with intervals over clusters of items.

Axes: N items, S seeds, C clusters, K classes, R resamples. ``table_KK[g, p]`` counts items with answer g that were
called p. Everything is computed from such tables, so a resample of clusters is a weighted sum of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.errors import DataError
from graft.stats.intervals import NAN, Interval, percentile_interval, undefined
from graft.stats.resampling import check_resamples, chunk_sizes, draw_counts, encode_clusters, resample_seeds

MOST_UNDEFINED = 0.1
"""Share of resamples without a value up to which the others give the interval: a rare class may be drawn by none."""

Tables = NDArray[np.float64]
"""(..., K, K) counts."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class.

    Attributes:
        label: its name.
        support: items whose right answer it is.
        predicted: items that were called so.
        precision: share of those called so that are right; NaN when nothing was.
        recall: share of those that are so that were called so; NaN when there is none.
        f1: harmonic mean of both, 2·TP / (support + predicted); NaN when the class is on neither side.
        reason: why something is NaN; empty when everything is a number.
    """

    label: str
    support: float
    predicted: float
    precision: float
    recall: float
    f1: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Classification:
    """How well labels were chosen; over several seeds, means of the seeds' values.

    Attributes:
        n: items.
        seeds: S.
        accuracy: share of items called right.
        macro_f1: mean F1 of the classes that are an answer or were called.
        mcc: Matthews' correlation for several classes, −1 to 1.
        classes: one row per class; counts are means over seeds.
        confusion: row g, column p: items with answer g called p, mean over seeds.
    """

    n: int
    seeds: int
    accuracy: Interval
    macro_f1: Interval
    mcc: Interval
    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[float, ...], ...]


def confusion_table(gold_N: ArrayLike, called_N: ArrayLike, classes: int) -> NDArray[np.float64]:
    """(K, K) counts of items with answer g that were called p."""
    gold, called = np.asarray(gold_N, dtype=np.intp), np.asarray(called_N, dtype=np.intp)
    return np.bincount(gold * classes + called, minlength=classes**2).reshape(classes, classes).astype(np.float64)


def accuracy(table: Tables) -> NDArray[np.float64]:
    """Share of the items on the diagonal; NaN without items."""
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = np.trace(table, axis1=-2, axis2=-1) / table.sum(axis=(-2, -1))
    return found


def class_f1(table: Tables) -> NDArray[np.float64]:
    """(..., K) F1 of every class; NaN for a class that is on neither side."""
    right = np.diagonal(table, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = 2 * right / (table.sum(axis=-1) + table.sum(axis=-2))
    return found


def macro_f1(table: Tables) -> NDArray[np.float64]:
    """Mean F1 of the classes that are an answer or were called; NaN without items."""
    each = class_f1(table)
    known = ~np.isnan(each)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = np.where(known, each, 0.0).sum(axis=-1) / known.sum(axis=-1)
    return found


def mcc(table: Tables) -> NDArray[np.float64]:
    """Matthews' correlation for several classes; NaN when all answers or all calls are one class.

    Source: Gorodkin (2004), Computational Biology and Chemistry 28:367–374; for two classes Matthews (1975).
    """
    n = table.sum(axis=(-2, -1))
    answers, calls = table.sum(axis=-1), table.sum(axis=-2)
    covariance = np.trace(table, axis1=-2, axis2=-1) * n - (answers * calls).sum(axis=-1)
    spread = (n**2 - (answers**2).sum(axis=-1)) * (n**2 - (calls**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 0)), NAN)
    return found


MEASURES: dict[str, Callable[[Tables], NDArray[np.float64]]] = {"accuracy": accuracy, "macro_f1": macro_f1, "mcc": mcc}
"""What is measured of a table of counts, by name."""

UNDEFINED = {
    "accuracy": "no items",
    "macro_f1": "no items",
    "mcc": "all answers or all calls are one class",
}
"""Why a measure does not exist."""


def classify(
    gold_N: ArrayLike,
    called_SN: ArrayLike,
    labels: tuple[str, ...],
    clusters: NDArray[Any],
    rng: np.random.Generator,
    resamples: int = 10_000,
    level: float = 0.95,
) -> Classification:
    """Measure how labels were chosen.

    Args:
        gold_N: (N,) number of each item's right class.
        called_SN: (N,) or (S, N) number of the class that it was called.
        labels: names of the K classes.
        clusters: (N,) label of each item's resampling unit.
        rng: source of randomness.
        resamples: bootstrap replicates; whole clusters, and seeds on top of them.
        level: coverage of the intervals in (0, 1).

    Raises:
        DataError: shapes disagree or a number is no class.
    """
    gold, called = checked_calls(gold_N, called_SN, len(labels))
    tables = np.stack([confusion_table(gold, row, len(labels)) for row in called])
    values = {name: measure(tables) for name, measure in MEASURES.items()}
    drawn = _replicates(gold, called, len(labels), clusters, rng, resamples)
    intervals = {
        name: _interval(name, values[name], None if drawn is None else drawn[name], rng, len(gold), level)
        for name in MEASURES
    }
    mean = tables.mean(axis=0)
    return Classification(
        n=len(gold),
        seeds=len(called),
        classes=_class_rows(mean, labels),
        confusion=tuple(tuple(float(value) for value in row) for row in mean),
        **intervals,
    )


def _defined(drawn_RS: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """The resamples in which a measure exists, and how many do not; none of them where too many are lost."""
    usable = drawn_RS[~np.isnan(drawn_RS).any(axis=1)]
    lost, drawn = len(drawn_RS) - len(usable), len(drawn_RS)
    if not lost:
        return drawn_RS, ""
    if lost > MOST_UNDEFINED * drawn:
        return drawn_RS[:0], f"undefined in {lost} of {drawn} resamples"
    return usable, f"undefined in {lost} of {drawn} resamples, which are left out"


def _replicates(
    gold: NDArray[np.intp],
    called: NDArray[np.intp],
    classes: int,
    clusters: NDArray[Any],
    rng: np.random.Generator,
    resamples: int,
) -> dict[str, NDArray[np.float64]] | None:
    """(R, S) values of every measure over resampled clusters; None with fewer than two clusters.

    Only cells that hold an item are resampled: most pairs of twenty classes never meet.
    """
    check_resamples(resamples)
    codes, count = encode_clusters(clusters, len(gold))
    if count < 2:
        return None
    pairs = gold * classes + called
    cells, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(pairs.shape)
    counts = [
        np.bincount(codes * len(cells) + row, minlength=count * len(cells)).reshape(count, len(cells)).astype(float)
        for row in places
    ]
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MEASURES}
    for chunk in chunk_sizes(resamples, max(count, classes**2)):
        drawn = draw_counts(rng, chunk, count)
        tables = np.zeros((chunk, len(called), classes**2))
        for seed, table in enumerate(counts):
            tables[:, seed, cells] = drawn @ table
        for name, measure in MEASURES.items():
            found[name].append(measure(tables.reshape(chunk, len(called), classes, classes)))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _interval(
    name: str,
    values: NDArray[np.float64],
    drawn: NDArray[np.float64] | None,
    rng: np.random.Generator,
    n: int,
    level: float,
) -> Interval:
    estimate = float(values.mean())
    if np.isnan(estimate):
        return undefined(UNDEFINED[name], n=n, level=level)
    if drawn is None:
        return undefined("one cluster only: its spread cannot be seen", n=n, level=level, estimate=estimate)
    usable, left_out = _defined(drawn)
    if not len(usable):
        return undefined(left_out, n=n, level=level, estimate=estimate)
    return replace(percentile_interval(estimate, resample_seeds(usable, rng), level, n), reason=left_out)


def _class_rows(table: NDArray[np.float64], labels: tuple[str, ...]) -> tuple[ClassRow, ...]:
    rows = []
    for index, (label, f1) in enumerate(zip(labels, class_f1(table), strict=True)):
        right, support, predicted = table[index, index], table[index].sum(), table[:, index].sum()
        reasons = ["no item has this answer"] if not support else []
        reasons += ["no item was called so"] if not predicted else []
        precision = float(right / predicted) if predicted else NAN
        recall = float(right / support) if support else NAN
        rows.append(ClassRow(label, float(support), float(predicted), precision, recall, float(f1), "; ".join(reasons)))
    return tuple(rows)


def checked_calls(gold_N: ArrayLike, called_SN: ArrayLike, classes: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Right classes as (N,) and calls as (S, N) numbers.

    Raises:
        DataError: shapes disagree or a number is no class.
    """
    gold, called = np.asarray(gold_N, dtype=np.intp), np.atleast_2d(np.asarray(called_SN, dtype=np.intp))
    if gold.ndim != 1 or called.ndim != 2 or called.shape[1] != len(gold):
        raise DataError(f"answers must be (N,) and calls (N,) or (S, N), but got {gold.shape} and {called.shape}")
    both = np.concatenate([gold, called.ravel()])
    if both.size and not (both.min() >= 0 and both.max() < classes):
        raise DataError(f"a class must lie in 0..{classes - 1}, but got {both.min()}..{both.max()}")
    return gold, called
