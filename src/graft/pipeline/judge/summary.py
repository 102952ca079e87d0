"""A run in a sentence and a few numbers, for the list of runs."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import Any

from graft.pipeline.judge.conclude import PERCENT
from graft.pipeline.judge.corpora import corpus_sentences


def plain_headline(results: dict[str, Any]) -> str:
    """What was scored, where nothing is compared."""
    shown = [
        f"{row['arm']} {row['task']} {PERCENT * row['score']:.1f}%{_named(row['metric'])}"
        for row in results["rows"]
        if row["split"] == "eval"
    ]
    right = ("right on held-out items: " + ", ".join(shown),) if shown else ()
    return "; ".join((*corpus_sentences(results), *right))


def _named(metric: str) -> str:
    return "" if metric == "accuracy" else f" {metric}"


def headline_metrics(results: dict[str, Any]) -> dict[str, float]:
    """The tasks' own metrics by arm and task, and the tokens of thinking where there is any, means over seeds."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in results["rows"]:
        if row["split"] == "eval":
            name = f"{row['arm'].split('-seed')[0]}/{row['task']}"
            found[name].append(row["score"])
            if "thinking" in row:
                found[f"{name}/think_tokens"].append(row["thinking"]["think_tokens"])
    for row in results["corpora"]["rows"]:
        found[f"{row['arm'].split('-seed')[0]}/{row['task']}/bits_per_byte"].append(row["bits_per_byte"])
    return {name: fmean(values) for name, values in found.items()}
