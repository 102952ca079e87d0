"""Baselines on the packaged words and on labels: what no model needs to know."""

from __future__ import annotations

import numpy as np
import pytest

from graft import tasks
from graft.evals.baselines import SHORTCUT, baseline_answers, baseline_records
from graft.tasks.dataset import Row
from graft.tasks.metric import metric_shares
from graft.tasks.words.pool import WordSets, package_words

WORDS = WordSets(tuple(package_words("train")[:4000]), tuple(package_words("eval")[:1500]))


def accuracy(name: str, rule: str) -> float:
    task = tasks.load(name, WORDS)
    examples = list(task.examples("eval", limit=1500, seed=0))
    said = baseline_answers(task, examples)[rule]
    return float(np.mean([task.score(one, answer).strict for one, answer in zip(examples, said, strict=True)]))


def test_letter_and_length_alone_count_nearly_half_of_the_letters() -> None:
    assert accuracy("count", "most frequent answer") < 0.30
    assert 0.44 < accuracy("count", SHORTCUT) < 0.54


def test_letter_and_length_alone_know_most_of_what_a_word_contains() -> None:
    assert 0.65 < accuracy("contains", SHORTCUT) < 0.80


def test_no_shortcut_is_learned_where_only_the_skill_can_be_read() -> None:
    task = tasks.load("spelling", WORDS)
    assert SHORTCUT not in baseline_answers(task, list(task.examples("eval", limit=50, seed=0)))


def test_the_usual_letters_are_right_at_some_places_of_a_word() -> None:
    task = tasks.load("spelling", WORDS)
    records = baseline_records(task, list(task.examples("eval", limit=500, seed=0)))
    usual = [record["baselines"]["usual letter at every place"] for record in records]
    assert np.mean([said["right"] for said in usual]) == 0.0
    assert 0.08 < np.mean([said["constrained"] for said in usual]) < 0.25
    echo = [record["baselines"]["echo the word"]["constrained"] for record in records]
    assert 0.08 < np.mean(echo) < 0.3  # only the first letter stands where it belongs


def test_a_text_gives_its_class_away_by_a_word_and_the_records_say_how_often() -> None:
    rows: list[Row] = [
        {"text": f"film {n} {'superb' if n % 3 else 'dull'}", "label": int(n % 3 > 0)} for n in range(90)
    ]
    task = tasks.load("imdb", rows=lambda part: rows)
    examples = list(task.examples("eval", limit=None, seed=0))
    records = baseline_records(task, examples)
    assert [record["id"] for record in records] == [example.id for example in examples]
    known = [
        {"gold": e.gold, "options": e.options, **record["baselines"][SHORTCUT]}
        for e, record in zip(examples, records, strict=True)
    ]
    assert metric_shares("accuracy", known).mean() == 1.0
    assert metric_shares("macro_f1", known).mean() == pytest.approx(1.0)
