"""Does the gain on the trained task go with the gain on another one: word by word, and seed by seed?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.errors import DataError
from graft.stats.arms import BASE, TRAINED, TaskScores
from graft.stats.contrasts import outcome_rows
from graft.stats.correlation import Correlation, across_runs_correlation, within_word_correlation


@dataclass(frozen=True, slots=True)
class Link:
    """How the gain on one task goes with that on another. Always exploratory: words and seeds are not assigned gains.

    Attributes:
        trained: the task that was trained.
        target: the other one.
        words: over the words that both ask about, given what the base knew of each and how long it is; a word's gain is
            its mean over items and seeds.
        seeds: over the training seeds of the run.
    """

    trained: str
    target: str
    words: Correlation
    seeds: Correlation


def link_gains(
    trained: TaskScores,
    target: TaskScores,
    lengths: Mapping[str, float],
    *,
    rng: np.random.Generator,
    resamples: int = 2_000,
) -> Link:
    """Correlate the gains of two tasks.

    Args:
        trained: scores of the trained task; needs the base and the arm ``trained``.
        target: scores of the other task, of the same seeds.
        lengths: letters of each word.
        rng: source of randomness.
        resamples: bootstrap replicates over words, and over seeds.

    Raises:
        DataError: base or trained scores are missing, or the seeds differ.
    """
    rows = [outcome_rows(scores) for scores in (trained, target)]
    for scores, found in zip((trained, target), rows, strict=True):
        if not {BASE, TRAINED} <= set(found):
            raise DataError(f"{scores.task}: gains need the arms 'base' and 'trained', but it has {', '.join(found)}")
    per_seed = [found[TRAINED].mean(axis=1) - found[BASE].mean() for found in rows]
    (base_x, gain_x), (base_y, gain_y) = (
        _by_word(scores.clusters, found) for scores, found in zip((trained, target), rows, strict=True)
    )
    shared = sorted(set(base_x) & set(base_y) & set(lengths))

    def column(values: Mapping[str, float]) -> list[float]:
        return [values[word] for word in shared]

    within = within_word_correlation(
        column(gain_x),
        column(gain_y),
        column(base_x),
        column(base_y),
        column(lengths),
        np.array(shared),
        rng,
        resamples=resamples,
    )
    across = across_runs_correlation(per_seed[0], per_seed[1], rng, resamples=resamples)
    return Link(trained.task, target.task, within, across)


def _by_word(
    clusters: NDArray[Any], rows: Mapping[str, NDArray[np.float64]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Score of the base and gain over it, by word."""
    words, codes, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    base, after = (np.bincount(codes, weights=rows[arm].mean(axis=0)) / sizes for arm in (BASE, TRAINED))
    names = [str(word) for word in words]
    return dict(zip(names, base.tolist(), strict=True)), dict(zip(names, (after - base).tolist(), strict=True))
