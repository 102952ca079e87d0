"""Measuring one task under all its arms: the same words serve every arm, so all contrasts are paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from graft.errors import DataError
from graft.stats.arms import BASE, FORMAT, SELF, TRAINED, ArmAccuracy, Contrast, TaskScores
from graft.stats.equivalence import tost
from graft.stats.intervals import NAN, Interval, undefined, wilson
from graft.stats.paired import Frame, McNemar, arm_change, mcnemar_exact, undefined_change, whole_step
from graft.stats.resampling import encode_clusters
from graft.stats.spread import Arm, SeedVariance, Spread, combine, exact_reach, measure_arm, word_variance

Variances = Mapping[str, SeedVariance]


@dataclass(frozen=True, slots=True)
class Sample:
    """One task's arms, reduced to words.

    Attributes:
        task: the task's name.
        rows: (S, N) float scores by arm, ``base`` among them with S = 1.
        arms: the same by word.
        codes: (N,) word of each item.
        n_clusters: words C.
        largest: items of the largest word.
    """

    task: str
    rows: Mapping[str, NDArray[np.float64]]
    arms: Mapping[str, Arm]
    codes: NDArray[np.intp]
    n_clusters: int
    largest: float

    @property
    def n_items(self) -> int:
        """Items N."""
        return len(self.codes)

    @property
    def seeds(self) -> int:
        """Seeds of the trained arm or of a control, the fewest; 0 without a trained arm."""
        counts = [self.arms[arm].seeds for arm in (TRAINED, FORMAT, SELF) if arm in self.arms]
        return min(counts) if TRAINED in self.arms else 0


def scored_rows(task: str, n: int, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Every arm that was scored as (S, N) floats; arms without a seed are left out.

    Raises:
        DataError: if an arm's items are not ``n``, or a score is no finite number.
    """
    found = {name: np.atleast_2d(np.asarray(values, dtype=np.float64)) for name, values in given.items()}
    for name, rows in found.items():
        if rows.ndim != 2 or rows.shape[1] != n:
            raise DataError(f"{task}: arm '{name}' must have shape (seeds, {n}), but got {rows.shape}")
        if not np.isfinite(rows).all():
            raise DataError(
                f"{task}: arm '{name}' must hold finite scores, but {int((~np.isfinite(rows)).sum())} are not"
            )
    return {name: rows for name, rows in found.items() if len(rows)}


def outcome_rows(scores: TaskScores) -> dict[str, NDArray[np.float64]]:
    """The outcome of every arm as (S, N) floats, base first.

    Raises:
        DataError: if shapes disagree, a score is no finite number, or an arm is called ``base``.
    """
    if BASE in scores.arms:
        raise DataError(f"{scores.task}: an arm must not be called 'base'; pass those scores as TaskScores.base")
    given = dict(scores.arms) if scores.base is None else {BASE: scores.base, **scores.arms}
    return scored_rows(scores.task, np.asarray(scores.clusters).size, given)


def read_sample(task: str, clusters: NDArray[Any], rows: Mapping[str, NDArray[np.float64]]) -> Sample:
    """Reduce every arm of one task to words.

    Args:
        task: the task's name.
        clusters: (N,) word of each item.
        rows: (S, N) scores by arm.

    Raises:
        DataError: if there is not one label for each item.
    """
    codes, count = encode_clusters(clusters, np.asarray(clusters).size)
    if not count:
        return Sample(task, rows, {}, codes, count, 0.0)
    arms = {name: measure_arm(values, codes, count) for name, values in rows.items()}
    return Sample(task, rows, arms, codes, count, float(np.bincount(codes).max()))


def missing_arms(sample: Sample, arms: Sequence[str]) -> list[str]:
    """Which of the arms were not scored, in a reader's words."""
    if not sample.n_items:
        return ["no items"]
    names = {
        BASE: "the base was not scored",
        TRAINED: "no trained arm",
        FORMAT: "no format control",
        SELF: "no self control",
    }
    return [names[arm] for arm in arms if arm not in sample.arms]


def accuracies(sample: Sample) -> tuple[ArmAccuracy, ...]:
    """Score of every arm, base first, with intervals on N items: Wilson's for right and wrong, else over words."""
    n = sample.n_items
    found = []
    for arm, rows in sample.rows.items():
        if whole_step(rows) is None:
            per_seed = tuple(_mean_interval(row[None], sample) for row in rows)
            found.append(ArmAccuracy(arm, _mean_interval(rows, sample), per_seed))
        else:
            per_seed = tuple(wilson(float(row.sum()), n) for row in rows)
            found.append(ArmAccuracy(arm, wilson(float(rows.sum()) / len(rows), n), per_seed))
    return tuple(found)


def _mean_interval(rows: NDArray[np.float64], sample: Sample, level: float = 0.95) -> Interval:
    """A mean over seeds with the interval that its spread over words gives."""
    mean = float(rows.mean())
    if sample.n_clusters < 2:
        return undefined("one word only: its spread cannot be seen", n=sample.n_items, level=level, estimate=mean)
    word = word_variance((measure_arm(rows, sample.codes, sample.n_clusters),), sample.n_items)
    half = combine([], word, sample.n_clusters).half(level)
    return Interval(mean, mean - half, mean + half, level, sample.n_items)


def contrast_spread(sample: Sample, after: str, before: str, variances: Variances) -> Spread:
    """The variance of the change from one arm to another."""
    arms = sample.arms
    seeds = [(variances[name], arms[name].seeds) for name in (after, before) if name in variances]
    word = word_variance((arms[after], arms[before]), sample.n_items)
    return combine(seeds, word, sample.n_clusters)


def measure_contrast(
    sample: Sample, after: str, before: str, variances: Variances, *, required: bool, margin: float, alpha: float
) -> Contrast:
    """The paired change from one arm to another with all its tests.

    Args:
        sample: the task; it has at least one item and holds both arms.
        after: the arm that is judged.
        before: the arm it is compared with; its seeds need not be the same.
        variances: seed variance by arm on this task, from :func:`~graft.stats.spread.seed_variances`.
        required: whether the claim rests on it.
        margin: equivalence margin in proportion units.
        alpha: two-sided error rate for the smallest detectable change.
    """
    first, second = sample.arms[before], sample.arms[after]
    spread = contrast_spread(sample, after, before, variances)
    rows = sample.rows[before], sample.rows[after]
    frame = Frame(sample.n_items, sample.n_clusters, sample.largest, whole_step(*rows))
    change = arm_change(second, first, spread, frame)
    detectable = NAN
    if not change.reason:
        up = exact_reach(second.raw_C - first.raw_C, frame.largest, frame.n_items, 1 - alpha)[1]
        detectable = max(spread.half(1 - alpha), up) + float(ndtri(0.8)) * spread.standard_error
    mcnemar: tuple[McNemar, ...] = ()
    if frame.unit is not None and len(rows[0]) in (1, len(rows[1])):
        pairs = zip(np.broadcast_to(rows[0], rows[1].shape), rows[1], strict=True)
        mcnemar = tuple(mcnemar_exact(one, two) for one, two in pairs)
    return Contrast(after, before, required, change, tost(change, spread, margin), mcnemar, detectable)


def no_contrast(after: str, before: str, reason: str, margin: float) -> Contrast:
    """A required contrast that could not be measured, with the reason."""
    change = undefined_change(reason)
    return Contrast(after, before, True, change, tost(change, Spread(0.0, 0.0, 0.0, 1.0), margin), (), NAN)
