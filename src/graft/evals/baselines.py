"""What could be answered without the skill: the trivial answers of a task and a learned shortcut, scored as replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from graft.stats.shortcut import encode_features, shortcut_calls
from graft.tasks.base import Task
from graft.tasks.metric import BY_CLASS, metric_shares
from graft.types import Example

SHORTCUT = "learned shortcut"
"""Name of the regression on what can be read off an item, called on words or texts that it did not see."""

MOST_ANSWERS = 50
"""Different right answers up to which a regression chooses among them."""


def baseline_answers(task: Task, examples: Sequence[Example]) -> dict[str, Sequence[str]]:
    """One answer for each example by the name of the rule: the task's trivial ones, and the learned shortcut.

    Nothing is trained and no reply is read, so all of them are known beforehand.
    """
    found = dict(task.trivial_answers(examples))
    surfaces = [task.surface(example) for example in examples]
    answers, gold = np.unique([example.gold for example in examples], return_inverse=True)
    clusters = np.array([example.cluster or example.id for example in examples])
    if any(surfaces) and 1 < len(answers) <= MOST_ANSWERS and len(set(clusters)) > 1:
        balanced = task.card.metric in BY_CLASS
        calls = shortcut_calls(encode_features(surfaces), gold, clusters, balanced=balanced)
        found[SHORTCUT] = [str(answers[call]) for call in calls]
    return found


def baseline_records(task: Task, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """The answers of `baseline_answers` scored by the task: ``id``, and per rule its answer with its scores."""
    answers = baseline_answers(task, examples)
    return [
        {"id": example.id, "baselines": {name: _scored(task, example, said[index]) for name, said in answers.items()}}
        for index, example in enumerate(examples)
    ]


def baseline_scores(metric: str, examples: Sequence[Example], records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metric of every rule.

    Args:
        metric: that of the task's card.
        examples: the items.
        records: what `baseline_records` gave for them.
    """
    asked = [{"gold": example.gold, "options": example.options} for example in examples]
    rules = records[0]["baselines"] if records else ()
    return {rule: float(metric_shares(metric, said(asked, records, rule)).mean()) for rule in rules}


def said(
    items: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]], rule: str
) -> list[Mapping[str, Any]]:
    """A rule's answers as scored records, beside the items that they answer."""
    return [{**item, **record["baselines"][rule]} for item, record in zip(items, records, strict=True)]


def _scored(task: Task, example: Example, answer: str) -> Mapping[str, Any]:
    """An answer with its scores; the constrained one is the share of its letters that are right, or all or nothing."""
    score = task.verdict(example, answer)
    places = task.letter_places(example)
    hits = [answer[place : place + 1] == example.gold[place] for place in places]
    return {
        "answer": answer,
        "right": score.lenient,
        "constrained": fmean(hits) if hits else float(score.lenient),
        "details": dict(score.details),
    }
