"""Error rates, macro accuracy and trivial baselines against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from graft import tasks
from graft.errors import DataError
from graft.tasks.words.pool import WordSets
from graft.tasks.words.scoring import character_error_rate, edit_distance, first_error, macro_accuracy
from graft.types import Example


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("straw", "straw", 0), ("ab", "ba", 2)],
)
def test_edit_distances(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right) == edit_distance(right, left) == distance


def test_error_rates_may_exceed_one_and_are_undefined_without_gold() -> None:
    assert character_error_rate("strawberry", "fig") == pytest.approx(10 / 3)
    assert math.isnan(character_error_rate("x", ""))


def test_the_first_error_may_be_a_missing_letter() -> None:
    assert math.isnan(first_error("straw", "straw"))
    assert first_error("stxaw", "straw") == 2
    assert first_error("str", "straw") == 3
    assert first_error("", "straw") == 0


def test_macro_accuracy_weighs_strata_not_items() -> None:
    assert macro_accuracy([True] * 9 + [False], ["1"] * 9 + ["3+"]) == 0.5
    assert math.isnan(macro_accuracy([], []))
    with pytest.raises(DataError, match="2 and 1"):
        macro_accuracy([True, False], ["1"])


def _example(task: str, word: str, gold: str) -> Example:
    return Example(f"{task}/{word}", task, "…", gold, word, strata={"separator": "hyphen"})


def _baselines(task: str, *rows: tuple[str, str]) -> dict[str, float]:
    return dict(tasks.load(task, WordSets((), ())).baselines([_example(task, word, gold) for word, gold in rows]))


def test_baselines_are_the_accuracy_of_trivial_answers() -> None:
    assert _baselines("spelling", ("straw", "s-t-r-a-w"), ("abc", "a-b-c")) == {"echo the word": 0.0, "alphabet": 0.5}
    position = _baselines("position", ("banana", "a"), ("bird", "b"), ("area", "a"), ("fish", "h"))
    assert position["constant letter"] == 0.5
    assert position["first letter"] == 0.5
    assert position["random letter of the word"] == pytest.approx((3 / 6 + 1 / 4 + 2 / 4 + 1 / 4) / 4)
    count = _baselines("count", ("banana", "3"), ("bird", "1"), ("fish", "1"), ("milk", "0"))
    assert count == {"always 0": 0.25, "always 1": 0.5, "most frequent answer": 0.5}
    assert _baselines("length", ("banana", "6"), ("bird", "4"), ("fish", "4"))["most frequent answer"] == pytest.approx(
        2 / 3
    )
    assert _baselines("contains", ("banana", "yes"), ("bird", "no"), ("fish", "no"))[
        "most frequent answer"
    ] == pytest.approx(2 / 3)
    assert _baselines("first", ("area", "a"))["first letter"] == 1.0
    assert _baselines("echo", ("bird", "bird"), ("fish", "fish")) == {"constant word": 0.5}


@pytest.mark.parametrize("name", [name for name in tasks.names() if tasks.is_word_task(name)])
def test_baselines_without_examples_are_undefined(name: str) -> None:
    values = _baselines(name)
    assert values
    assert all(math.isnan(value) for value in values.values())
