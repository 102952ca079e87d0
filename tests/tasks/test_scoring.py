"""Error rates and trivial baselines against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from graft import tasks
from graft.tasks.words.pool import Word, WordSets
from graft.tasks.words.scoring import character_error_rate, edit_distance, first_error
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


def _example(task: str, word: str, gold: str) -> Example:
    return Example(f"{task}/{word}", task, "…", gold, word, strata={"separator": "hyphen"})


def _accuracies(task: str, *examples: Example, words: tuple[str, ...] = ()) -> dict[str, float]:
    built = tasks.load(task, WordSets(tuple(map(Word, words)), ()))
    answers = built.trivial_answers(examples)
    return {
        name: sum(built.score(example, said).strict for example, said in zip(examples, given, strict=True))
        / len(examples)
        for name, given in answers.items()
    }


def test_trivial_answers_are_scored_as_replies_are() -> None:
    spelled = [_example("spelling", word, "-".join(word)) for word in ("straw", "abc")]
    assert _accuracies("spelling", *spelled) == {
        "echo the word": 0.0,
        "alphabet": 0.5,
        "usual letter at every place": 0.0,
    }
    assert _accuracies("spelling", *spelled, words=("abc", "abd", "xbc"))["usual letter at every place"] == 0.5
    counted = [_example("count", word, gold) for word, gold in (("banana", "3"), ("bird", "1"), ("milk", "0"))]
    assert _accuracies("count", *counted, _example("count", "fish", "1")) == {
        "always 0": 0.25,
        "always 1": 0.5,
        "most frequent answer": 0.5,
    }
    held = [_example("contains", word, gold) for word, gold in (("banana", "yes"), ("bird", "no"), ("fish", "no"))]
    assert _accuracies("contains", *held)["most frequent answer"] == pytest.approx(2 / 3)
    assert _accuracies("echo", *(_example("echo", word, word) for word in ("bird", "fish"))) == {"constant word": 0.5}


def _placed(word: str, index: int, from_end: bool = False) -> Example:
    strata = {"index": index, "index_from_end": len(word) + 1 - index, "from_end": from_end}
    return Example(f"position/{word}/{index}", "position", "…", word[index - 1], word, strata=strata)


def test_a_letter_is_guessed_from_its_place_in_the_training_words() -> None:
    items = [_placed("banana", 2), _placed("bird", 1), _placed("tests", 5, from_end=True), _placed("fish", 4)]
    found = _accuracies("position", *items, words=("tables", "cats", "bats"))
    # the 2nd letter is mostly a, the 1st was t, c, b once each, the last is s, the 4th was l, s, s
    assert found["usual letter at the place"] == 0.5
    assert found["first letter"] == 0.25
    assert found["commonest letter of the word"] == 0.5  # banana: a; bird: b, the first of four
    assert "usual letter at the place" not in _accuracies("position", *items)


def test_reading_the_first_letter_is_no_trivial_answer_where_it_is_the_skill() -> None:
    assert "first letter" not in _accuracies("first", _example("first", "area", "a"))


@pytest.mark.parametrize("name", [name for name in tasks.names() if tasks.is_word_task(name)])
def test_trivial_answers_of_no_items_are_none(name: str) -> None:
    answers = tasks.load(name, WordSets((), ())).trivial_answers([])
    assert answers and not any(answers.values())


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("count", {"letter": "e", "length": "5"}),
        ("contains", {"letter": "e", "length": "5"}),
        ("length", {}),  # the length is the skill
        ("spelling", {}),
        ("first", {}),
    ],
)
def test_the_surface_of_an_item_never_holds_the_skill(task: str, expected: dict[str, str]) -> None:
    example = Example(f"{task}/x", task, "…", "1", "there", strata={"letter": "e", "true_count": "2", "present": True})
    assert tasks.load(task, WordSets((), ())).surface(example) == expected


def test_the_surface_of_a_position_is_where_it_is_asked_for() -> None:
    assert tasks.load("position", WordSets((), ())).surface(_placed("banana", 2, from_end=True)) == {
        "place": "end 5",
        "length": "6",
    }
