"""One number of many scored items, by the metric of their task, as shares whose mean it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graft.stats.shares import Shares, macro_f1_shares, mcc_shares, ratio_shares

BY_CLASS = {"macro_f1": macro_f1_shares, "mcc": mcc_shares}
"""Metrics that weigh classes and not items."""

TITLES = {"macro_f1": "macro-F1", "mcc": "MCC", "f1": "F1"}
"""Metrics that are no share of right items, as they are written for people."""

Record = Mapping[str, Any]


def metric_title(metric: str) -> str:
    """A metric for people; a share of right items is an accuracy."""
    return TITLES.get(metric, "accuracy")


def metric_shares(metric: str, records: Sequence[Record], outcome: str = "right") -> Shares:
    """What each item adds to the metric of its task.

    Args:
        metric: that of the task's card: ``macro_f1`` and ``mcc`` are about labels; ``f1`` is F1 over all items together
            where items count what was found, and else the mean of the items' own; any other is the share that is right.
        records: scored items, all with a defined score.
        outcome: the field of a record that says whether it is right, or how much of it. Labels are called by the
            likeliest one where it is ``right`` or ``constrained``, else by the reply.

    Returns:
        (N,) numbers whose mean is the metric: each item's own value, or its share (see `graft.stats.shares`).
    """
    if metric in BY_CLASS:
        asked = (option for record in records for option in (*record.get("options", ()), record["gold"]))
        labels = list(dict.fromkeys(asked))
        gold = [labels.index(record["gold"]) for record in records]
        return BY_CLASS[metric](gold, [_call(record, labels, outcome) for record in records], len(labels))
    if metric == "f1" and all("true_positives" in record["details"] for record in records):
        hits, said, there = (
            np.array([record["details"][name] for record in records], dtype=np.float64)
            for name in ("true_positives", "predicted", "expected")
        )
        return ratio_shares(2 * hits, said + there)
    if metric == "f1":
        return np.array([record["details"]["f1"] for record in records], dtype=np.float64)
    return np.array([record[outcome] for record in records], dtype=np.float64)


def mean_score(metric: str, records: Sequence[Record]) -> float:
    """The metric of scored items; those whose score is undefined are left out, and NaN is the metric of none."""
    shares = metric_shares(metric, [record for record in records if "undefined" not in record])
    return float(shares.mean()) if len(shares) else math.nan


def _call(record: Record, labels: Sequence[str], outcome: str) -> int:
    """The class that an item was called; −1 for none."""
    likeliest = record.get("label_choice") if outcome in ("right", "constrained") else None
    called = record.get("answer") if likeliest is None else likeliest
    return labels.index(called) if called in labels else -1
