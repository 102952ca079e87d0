"""A change split in two: replies that can be read at all, and right answers among those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from graft.stats.arms import COMPARED, TRAINED, TaskScores
from graft.stats.contrasts import Sample, contrast_spread, read_sample, scored_rows
from graft.stats.paired import Change, Frame, arm_change, undefined_change, whole_step
from graft.stats.spread import seed_variances
from graft.stats.study import FormSplit

Rows = Mapping[str, NDArray[np.float64]]


def split_change(scores: TaskScores, sample: Sample) -> tuple[FormSplit, ...]:
    """Both required changes split by whether an answer could be read off the reply.

    Args:
        scores: the target; nothing is split without its ``parsed``.
        sample: its outcome.

    Returns:
        One split for each of base and controls that was recorded.
    """
    parsed = scored_rows(scores.task, len(scores.clusters), scores.parsed)
    right = {arm: _among(sample.rows[arm], parsed[arm]) for arm in parsed if arm in sample.rows}
    return tuple(
        FormSplit(
            before,
            _change(scores, parsed, before),
            _change(scores, right, before) if _all_read(right, before) else undefined_change("a seed with no answer"),
        )
        for before in COMPARED
        if {before, TRAINED} <= set(right)
    )


def _among(rows_SN: NDArray[np.float64], parsed_SN: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores whose mean is the accuracy among parsed replies and whose spread is that of a ratio.

    Each item's score is the ratio plus its linearised influence on it; NaN for a seed without a parsed reply.

    Source: Cochran (1977), Sampling Techniques, ch. 6 (the ratio estimator).
    """
    share = parsed_SN.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (rows_SN * parsed_SN).mean(axis=1, keepdims=True) / share
        scores: NDArray[np.float64] = ratio + (rows_SN - ratio) * parsed_SN / share
    return scores


def _all_read(rows: Rows, before: str) -> bool:
    return not any(np.isnan(rows[arm]).any() for arm in (before, TRAINED))


def _change(scores: TaskScores, rows: Rows, before: str) -> Change:
    sample = read_sample(scores.task, scores.clusters, {arm: rows[arm] for arm in (before, TRAINED)})
    spread = contrast_spread(sample, TRAINED, before, seed_variances([sample.arms])[0])
    unit = whole_step(rows[TRAINED], rows[before])
    frame = Frame(sample.n_items, sample.n_clusters, sample.largest, unit)
    return _bounded(arm_change(sample.arms[TRAINED], sample.arms[before], spread, frame))


def _bounded(change: Change) -> Change:
    """The change of a share, which is at most 1 whatever its linearised scores are."""
    interval, interval90 = (
        replace(one, low=max(-1.0, one.low), high=min(1.0, one.high)) for one in (change.interval, change.interval90)
    )
    return replace(change, interval=interval, interval90=interval90)
