"""Measuring one task under all its arms: one draw of words serves every arm, so all contrasts are paired."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from graft.errors import DataError
from graft.stats.arms import BASE, DIRECT, FORMAT, TRAINED, ArmAccuracy, Contrast, TaskScores
from graft.stats.equivalence import tost
from graft.stats.intervals import NAN, Interval, percentile_interval, undefined, wilson
from graft.stats.paired import Change, mcnemar_exact, paired_differences, summarise_change, undefined_change
from graft.stats.resampling import encode_clusters, resample_seeds, resampled_means

LEAST_CEILING_GAP = 0.05
"""Gap between base and ceiling below which a share of it means nothing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One task's arms in the sample and under resampled words.

    Attributes:
        task: the task's name.
        rows: (S, N) float scores by arm, ``base`` among them with S = 1.
        replicates: (R, S) means by arm, all arms from the same draws of words.
        codes: (N,) cluster number of each item.
        n_clusters: words.
    """

    task: str
    rows: Mapping[str, NDArray[np.float64]]
    replicates: Mapping[str, NDArray[np.float64]]
    codes: NDArray[np.intp]
    n_clusters: int

    @property
    def n_items(self) -> int:
        """Items N."""
        return len(self.codes)

    @property
    def seeds(self) -> int:
        """Seeds of the trained arm, 0 without one."""
        return len(self.rows[TRAINED]) if TRAINED in self.rows else 0


def scored_rows(scores: TaskScores) -> dict[str, NDArray[np.float64]]:
    """Every arm that was scored as (S, N) floats, base first; arms without a seed are left out.

    Raises:
        DataError: if an arm's items do not match the clusters, or an arm is called ``base``.
    """
    n = np.asarray(scores.clusters).size
    if BASE in scores.arms:
        raise DataError(f"{scores.task}: an arm must not be called 'base'; pass those scores as TaskScores.base")
    given = {} if scores.base is None else {BASE: np.atleast_2d(np.asarray(scores.base, dtype=np.float64))}
    given |= {name: np.atleast_2d(np.asarray(values, dtype=np.float64)) for name, values in scores.arms.items()}
    for name, rows in given.items():
        if rows.ndim != 2 or rows.shape[1] != n:
            raise DataError(f"{scores.task}: arm '{name}' must have shape (seeds, {n}), but got {rows.shape}")
        if not np.isin(rows, (0.0, 1.0)).all():
            raise DataError(f"{scores.task}: arm '{name}' must hold only right (1) and wrong (0) scores")
    return {name: rows for name, rows in given.items() if len(rows)}


def resample_arms(scores: TaskScores, rng: np.random.Generator, resamples: int) -> Sample:
    """Draw the words of one task ``resamples`` times and average every arm and seed on each draw.

    Raises:
        DataError: if shapes disagree.
    """
    rows = scored_rows(scores)
    codes, count = encode_clusters(scores.clusters, np.asarray(scores.clusters).size)
    if not rows or not count:
        return Sample(scores.task, rows, {}, codes, count)
    means = resampled_means(np.concatenate(list(rows.values())), codes, count, rng, resamples)
    ends = np.cumsum([len(block) for block in rows.values()])
    parts = np.split(means, ends[:-1], axis=1)
    return Sample(scores.task, rows, dict(zip(rows, parts, strict=True)), codes, count)


def missing_arms(sample: Sample, arms: Sequence[str]) -> list[str]:
    """Which of the arms were not scored, in a reader's words."""
    if not sample.n_items:
        return ["no items"]
    names = {BASE: "the base was not scored", TRAINED: "no trained arm", FORMAT: "no format control"}
    return [names[arm] for arm in arms if arm not in sample.rows]


def accuracies(sample: Sample) -> tuple[ArmAccuracy, ...]:
    """Accuracy of every arm, base first, with Wilson intervals on N items."""
    n = sample.n_items
    found = []
    for arm, rows in sample.rows.items():
        per_seed = tuple(wilson(int(row.sum()), n) for row in rows)
        found.append(ArmAccuracy(arm, wilson(float(rows.sum()) / len(rows), n), per_seed))
    return tuple(found)


def measure_contrast(
    sample: Sample, after: str, before: str, rng: np.random.Generator, *, required: bool, margin: float, alpha: float
) -> Contrast:
    """The paired change from one arm to another with all its tests.

    Args:
        sample: the resampled task; it has at least one item and holds both arms.
        after: the arm that is judged.
        before: ``base`` or an arm with the same seeds in the same order.
        rng: source of randomness for the seeds.
        required: whether the claim rests on it.
        margin: equivalence margin in proportion units.
        alpha: two-sided error rate for the smallest detectable change.

    Raises:
        DataError: if the two arms do not have the same seeds.
    """
    first, second = sample.rows[before], sample.rows[after]
    if before != BASE and len(first) != len(second):
        raise DataError(
            f"{sample.task}: arms '{after}' and '{before}' must have the same seeds in the same order, "
            f"but got {len(second)} and {len(first)}; run the missing seeds or leave the extra ones out"
        )
    per_seed = second.mean(axis=1) - first.mean(axis=1)
    replicates = resample_seeds(sample.replicates[after] - sample.replicates[before], rng)
    change = summarise_change(per_seed, replicates, sample.n_items, sample.n_clusters)
    source = tost(change.interval90, margin) if change.reason else None
    equivalence = source or tost(replicates, margin, estimate=change.estimate, n=sample.n_items)
    pairs = zip(np.broadcast_to(first, second.shape), second, strict=True)
    spread = NAN if change.reason else float(replicates.std(ddof=1)) if len(replicates) > 1 else 0.0
    detectable = float(ndtri(1 - alpha / 2) + ndtri(0.8)) * spread if spread > 0 else NAN
    mcnemar = tuple(mcnemar_exact(one, two) for one, two in pairs)
    return Contrast(after, before, required, change, equivalence, mcnemar, detectable)


def no_contrast(after: str, before: str, reason: str, margin: float) -> Contrast:
    """A required contrast that could not be measured, with the reason."""
    change: Change = undefined_change(reason)
    return Contrast(after, before, True, change, tost(change.interval90, margin), (), NAN)


def normalised_transfer(sample: Sample, rng: np.random.Generator) -> tuple[Interval, Interval]:
    """Share of the reachable gain that was reached: (trained − base) / (direct − base).

    Numerator and denominator are averaged over the same draws of words, so their shared luck cancels.

    Args:
        sample: the resampled task.
        rng: source of randomness for the seeds.

    Returns:
        The share and the ceiling gap direct − base, both with 95% intervals. The share is undefined, with a reason,
        when the gap is under 5 points or its interval reaches 0; both are without a direct arm.

    Source: Efron & Tibshirani (1993), ch. 13, for percentile intervals of a ratio.
    """
    n = sample.n_items
    for arm, words in ((BASE, "the base was not scored"), (TRAINED, "no trained arm"), (DIRECT, "no direct arm")):
        if arm not in sample.rows:
            return undefined(f"{words}: the ceiling is unknown", n=n), undefined(words, n=n)
    if sample.n_clusters < 2:
        reason = "fewer than two words: their spread cannot be seen"
        return undefined(reason, n=n), undefined(reason, n=n)
    means = {arm: float(sample.rows[arm].mean()) for arm in (BASE, TRAINED, DIRECT)}
    gap = means[DIRECT] - means[BASE]
    gaps = resample_seeds(sample.replicates[DIRECT] - sample.replicates[BASE], rng)
    gap_interval = percentile_interval(gap, gaps, 0.95, n)
    if gap < LEAST_CEILING_GAP:
        return undefined(f"the ceiling gap is {100 * gap:.1f} points, under 5", n=n), gap_interval
    if gap_interval.low <= 0:
        return undefined("the interval of the ceiling gap reaches 0", n=n), gap_interval
    gains = resample_seeds(sample.replicates[TRAINED] - sample.replicates[BASE], rng)
    # The interval of the gap excludes 0, so the few replicates at or below 0 are tail that a ratio cannot carry.
    usable = gaps > 0
    share = (means[TRAINED] - means[BASE]) / gap
    return percentile_interval(share, gains[usable] / gaps[usable], 0.95, n), gap_interval


def words_to_decide(sample: Sample, contrasts: tuple[Contrast, ...], margin: float) -> tuple[float, str]:
    """Words with which the required contrasts would probably be decided, at the same number of seeds.

    The rule: the half-width of the 90% interval should be margin/2. If the true change is zero, equivalence is then
    shown with about 90% probability, and a true change of twice the margin is then found with far more than 80%.
    The variance seen now is split into a part between seeds, which more words do not shrink, and the rest, which
    shrinks as 1/words. The larger answer of the contrasts counts. Where the rule asks for no more words than there
    are (the change lies unluckily near the margin), the answer is twice as many.

    Returns:
        The number of words and "", or NaN and the reason.
    """
    goal = (margin / 2 / float(ndtri(0.95))) ** 2
    needed = 0
    for contrast in contrasts:
        if contrast.change.reason or math.isnan(contrast.smallest_detectable):
            return NAN, contrast.change.reason or "the change does not vary between words"
        after = sample.rows[contrast.after]
        differences = paired_differences(np.broadcast_to(sample.rows[contrast.before], after.shape), after)
        half = (contrast.change.interval90.high - contrast.change.interval90.low) / 2
        total = (half / float(ndtri(0.95))) ** 2
        between = min(seed_variance(differences, sample.codes), total)
        if between >= goal:
            seeds = math.ceil(2 * len(differences) * between / goal)
            return NAN, f"seeds differ too much for more words to decide; about {seeds} seeds would"
        needed = max(needed, math.ceil(sample.n_clusters * (total - between) / (goal - between)))
    return float(needed if needed > sample.n_clusters else 2 * sample.n_clusters), ""


def seed_variance(differences: NDArray[np.float64], codes: NDArray[np.intp]) -> float:
    """Variance that training seeds alone put into the mean over seeds: what is left after the noise of words.

    Args:
        differences: (S, N) paired differences.
        codes: (N,) cluster numbers.

    Returns:
        Variance of the mean of S seeds, at least 0; 0 with one seed, where it cannot be seen.

    Source: the two-way analysis of variance, Searle, Casella & McCulloch (1992), Variance Components, ch. 4.
    """
    seeds, items = len(differences), len(codes)
    if seeds == 1:
        return 0.0
    per_seed = differences.mean(axis=1, keepdims=True)
    residual = differences - per_seed - differences.mean(axis=0) + per_seed.mean()
    by_word = np.stack([np.bincount(codes, weights=row) for row in residual])
    noise = float((by_word**2).sum()) / ((seeds - 1) * items * items)
    variance = float(np.var(per_seed, ddof=1))
    return max(0.0, variance - noise) / seeds
