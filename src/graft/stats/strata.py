"""The change broken down by strata that were declared in advance: exploratory, and labelled so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.errors import DataError
from graft.stats.arms import BASE, TRAINED, TaskScores
from graft.stats.contrasts import outcome_rows
from graft.stats.intervals import NAN, undefined
from graft.stats.multiplicity import benjamini_hochberg
from graft.stats.paired import paired_change
from graft.stats.study import StratumRow

LEAST_ITEMS = 20
"""Items below which a level gets no interval."""


def by_stratum(scores: TaskScores, strata: Mapping[str, NDArray[Any]]) -> tuple[StratumRow, ...]:
    """Change trained − base on every level of every stratum.

    Args:
        scores: one task; needs ``base`` and the ``trained`` arm.
        strata: (N,) value of each item by stratum name, all of one kind within a stratum.

    Returns:
        One row for each level, strata in the given order and levels ascending, p adjusted by Benjamini–Hochberg over
        all rows. Levels with fewer than 20 items have NaN and the reason.

    Raises:
        DataError: if base or trained scores are missing, or a stratum does not have one value for each item.
    """
    rows = outcome_rows(scores)
    for arm in (BASE, TRAINED):
        if arm not in rows:
            raise DataError(f"{scores.task}: strata need the arms 'base' and 'trained', but '{arm}' was not scored")
    clusters = np.asarray(scores.clusters)
    found = []
    for name, values in strata.items():
        given = np.asarray(values)
        if given.shape != clusters.shape:
            raise DataError(
                f"{scores.task}: stratum '{name}' must have one value for each of {clusters.size} items, "
                f"but got shape {given.shape}"
            )
        for level in np.unique(given):
            chosen = given == level
            found.append(_row(scores.task, name, str(level), rows, clusters, chosen))
    return adjust_together(found)


def adjust_together(rows: Sequence[StratumRow]) -> tuple[StratumRow, ...]:
    """The same rows with p adjusted by Benjamini–Hochberg over all of them, whatever tasks they are of."""
    adjusted = benjamini_hochberg([row.p for row in rows])
    return tuple(replace(row, p_adjusted=float(p)) for row, p in zip(rows, adjusted, strict=True))


def _row(
    task: str,
    stratum: str,
    level: str,
    rows: Mapping[str, NDArray[np.float64]],
    clusters: NDArray[Any],
    chosen: NDArray[np.bool_],
) -> StratumRow:
    """One level, its p not yet adjusted."""
    n, words = int(chosen.sum()), len(np.unique(clusters[chosen]))
    before, after = rows[BASE][0, chosen], rows[TRAINED][:, chosen]
    sizes = (task, stratum, level, n, words, float(before.mean()), float(after.mean()))
    if n < LEAST_ITEMS:
        return StratumRow(*sizes, undefined(f"{n} items, under {LEAST_ITEMS}", n=n), NAN, NAN)
    change = paired_change(before, after, clusters[chosen])
    return StratumRow(*sizes, change.interval, change.p, NAN)
