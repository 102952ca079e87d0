"""One number of many scored items, by the metric of their task, as shares whose mean it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graft.stats.shares import (
    Shares,
    correlation_shares,
    macro_f1_shares,
    mcc_shares,
    ratio_shares,
    skill_shares,
)

BY_CLASS = {"macro_f1": macro_f1_shares, "mcc": mcc_shares}
"""Metrics that weigh classes and not items."""

NUMERIC = ("mae", "rmse", "pearson", "spearman")
"""Metrics of numbers: skill in mean absolute and in root mean squared error, and correlations."""

RIGHT, SAID = "right_number", "number"
"""Details of a score that hold the right number, and the one that was said if any was."""

GOLD, CALLED = "gold: ", "called: "
"""Beginnings of the details that say for each label of several whether a row has it, and whether it was said."""

TITLES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "mcc": "MCC",
    "f1": "F1",
    "mae": "skill in MAE",
    "rmse": "skill in RMSE",
    "pearson": "Pearson's r",
    "spearman": "Spearman's ρ",
}
"""Metrics that are no share of right items, as they are written for people."""

Record = Mapping[str, Any]


def metric_title(metric: str) -> str:
    """A metric for people; a share of right items is an accuracy."""
    return TITLES.get(metric, "accuracy")


def metric_shares(metric: str, records: Sequence[Record], outcome: str = "right") -> Shares:
    """What each item adds to the metric of its task.

    Args:
        metric: that of the task's card: ``macro_f1`` and ``mcc`` are about labels; ``f1`` and ``micro_f1`` are F1 over
            all items together where items count what was found, and ``f1`` else the mean of the items' own; ``mae``,
            ``rmse``, ``pearson`` and ``spearman`` are about numbers; any other is the share that is right.
        records: scored items, all with a defined score.
        outcome: the field of a record that says whether it is right, or how much of it. Labels are called by the
            likeliest one where it is ``right`` or ``constrained``, else by the reply.

    Returns:
        (N,) numbers whose mean is the metric: each item's own value, or its share (see `graft.stats.shares`).
    """
    if metric in NUMERIC:
        return _numeric_shares(metric, records)
    if metric == "macro_f1" and records and any(name.startswith(GOLD) for name in records[0]["details"]):
        return _set_shares(records)
    if metric in BY_CLASS:
        asked = (option for record in records for option in (*record.get("options", ()), record["gold"]))
        labels = list(dict.fromkeys(asked))
        gold = [labels.index(record["gold"]) for record in records]
        return BY_CLASS[metric](gold, [_call(record, labels, outcome) for record in records], len(labels))
    if metric in ("f1", "micro_f1") and all("true_positives" in record["details"] for record in records):
        hits, said, there = (
            np.array([record["details"][name] for record in records], dtype=np.float64)
            for name in ("true_positives", "predicted", "expected")
        )
        return ratio_shares(2 * hits, said + there)
    if metric == "f1":
        return np.array([record["details"]["f1"] for record in records], dtype=np.float64)
    return np.array([record[outcome] for record in records], dtype=np.float64)


def _numeric_shares(metric: str, records: Sequence[Record]) -> Shares:
    """Skill against the best constant answer, or a correlation; a reply without a number is as far off as can be."""
    details = [record["details"] for record in records]
    gold = np.array([found[RIGHT] for found in details], dtype=np.float64)
    if not len(gold):
        return gold
    farthest = np.where(gold - gold.min() > gold.max() - gold, gold.min(), gold.max())
    said = np.array([found.get(SAID, np.nan) for found in details], dtype=np.float64)
    said = np.where(np.isnan(said), farthest, said)
    if metric in ("pearson", "spearman"):
        return correlation_shares(*((_ranks(gold), _ranks(said)) if metric == "spearman" else (gold, said)))
    constant = np.median(gold) if metric == "mae" else gold.mean()
    return skill_shares(said - gold, constant - gold, 1 if metric == "mae" else 2)


def _ranks(values: Shares) -> Shares:
    """Ranks from 0; equal values share the mean of theirs."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Shares = (ends - (counts + 1) / 2)[codes]
    return ranks


def _set_shares(records: Sequence[Record]) -> Shares:
    """The mean F1 of the labels of a task with several labels a row."""
    names = [name.removeprefix(GOLD) for name in records[0]["details"] if name.startswith(GOLD)]
    found = []
    for name in names:
        gold, said = (np.array([record["details"][side + name] for record in records]) for side in (GOLD, CALLED))
        found.append(ratio_shares(2 * gold * said, gold + said))
    known = [shares for shares in found if not np.isnan(shares).any()]
    shares: Shares = np.mean(known, axis=0) if known else np.full(len(records), np.nan)
    return shares


def mean_score(metric: str, records: Sequence[Record]) -> float:
    """The metric of scored items; those whose score is undefined are left out, and NaN is the metric of none."""
    shares = metric_shares(metric, [record for record in records if "undefined" not in record])
    return float(shares.mean()) if len(shares) else math.nan


def _call(record: Record, labels: Sequence[str], outcome: str) -> int:
    """The class that an item was called; −1 for none."""
    likeliest = record.get("label_choice") if outcome in ("right", "constrained") else None
    called = record.get("answer") if likeliest is None else likeliest
    return labels.index(called) if called in labels else -1
