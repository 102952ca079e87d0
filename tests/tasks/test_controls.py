"""The control arms change the answers and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from graft.errors import DataError
from graft.tasks.controls import formed, shuffled, spell_first
from graft.tasks.count import CountTask
from graft.tasks.spelling import SpellingTask
from graft.tasks.words.pool import Word, WordSets
from graft.tasks.words.split import package_sets
from graft.tasks.words.task import SEPARATORS
from graft.types import Example

SETS = package_sets(300, 50, seed=0)
EXAMPLES = list(SpellingTask(SETS).examples("train", limit=700, seed=0))


def _letters(example: Example) -> str:
    return example.gold.replace(SEPARATORS[str(example.strata["separator"])], "")


def test_shuffled_answers_are_the_letters_of_another_word_of_equal_length() -> None:
    words = {word.text for word in SETS.train}
    wrong: dict[str, str] = {}
    for before, after in zip(EXAMPLES, shuffled(EXAMPLES, seed=1), strict=True):
        assert replace(after, gold=before.gold) == before
        assert len(after.gold) == len(before.gold)
        assert _letters(after) in words - {before.cluster}
        assert wrong.setdefault(before.cluster, _letters(after)) == _letters(after)
    assert sorted(wrong.values()) == sorted(wrong)


def test_shuffled_is_seeded() -> None:
    assert shuffled(EXAMPLES, seed=1) == shuffled(EXAMPLES, seed=1) != shuffled(EXAMPLES, seed=2)


def test_a_word_of_a_length_of_its_own_is_permuted() -> None:
    sets = WordSets((Word("straw"), Word("strawberry")), ())
    for example in shuffled(list(SpellingTask(sets).examples("train", limit=None, seed=0)), seed=0):
        assert _letters(example) != example.cluster
        assert sorted(_letters(example)) == sorted(example.cluster)


def test_the_prompted_arm_asks_for_the_spelling_first_and_keeps_the_question() -> None:
    example = next(CountTask(SETS).examples("eval", limit=1, seed=0))
    prompted = spell_first(example)
    assert prompted.prompt == f"Spell the word {example.cluster} first, then answer. {example.prompt}"
    assert replace(prompted, prompt=example.prompt) == example


LABELS = ("bad", "good", "neutral")


def _labelled(count: int) -> list[Example]:
    golds = ["neutral"] * (count * 2 // 3) + ["good", "bad"] * count
    return [Example(f"own/{n}", "own", f"text {n}", golds[n], f"text {n}", options=LABELS) for n in range(count)]


def test_shuffled_labels_are_those_of_other_rows_and_as_frequent_as_before() -> None:
    rows = _labelled(300)
    found = shuffled(rows, seed=3)
    assert Counter(row.gold for row in found) == Counter(row.gold for row in rows)
    assert all(replace(after, gold=before.gold) == before for before, after in zip(rows, found, strict=True))
    kept = sum(after.gold == before.gold for before, after in zip(rows, found, strict=True)) / 300
    assert 0.42 < kept < 0.58  # by chance (2/3)² + (1/6)² + (1/6)² = 50%
    assert found != shuffled(rows, seed=4)


def test_a_row_keeps_its_wrong_label_when_it_comes_again() -> None:
    rows = _labelled(30)
    found = shuffled([*rows, *rows], seed=0)
    assert found[:30] == found[30:]


def test_options_of_each_rows_own_are_exchanged_by_their_place() -> None:
    rows = [
        Example("c/0", "c", "?", "red", options=("blue", "red")),
        Example("c/1", "c", "?", "one", options=("one", "two", "six")),
    ]
    assert [row.gold for row in shuffled(rows, seed=0)] == ["blue", "two"]


def test_free_answers_are_exchanged_and_plain_text_is_refused() -> None:
    rows = [Example(f"q/{n}", "q", f"{n}?", f"answer {n}") for n in range(5)]
    assert sorted(row.gold for row in shuffled(rows, seed=0)) == [row.gold for row in rows]
    assert all(after.gold != before.gold for before, after in zip(rows, shuffled(rows, seed=0), strict=True))
    with pytest.raises(DataError, match="prose/1 is plain text"):
        shuffled([Example("prose/1", "prose", None, "Once upon a time")], seed=0)


def test_the_format_control_has_random_letters_in_exactly_the_trained_form() -> None:
    places = {"spelling": SpellingTask(SETS).letter_places}
    changed = formed(EXAMPLES, seed=1, letter_places=places)
    for before, after in zip(EXAMPLES, changed, strict=True):
        assert replace(after, gold=before.gold) == before
        assert [c for c in after.gold if not c.isalpha()] == [c for c in before.gold if not c.isalpha()]
        assert len(after.gold) == len(before.gold)
    right = sum(
        a == b
        for before, after in zip(EXAMPLES, changed, strict=True)
        for a, b in zip(_letters(before), _letters(after), strict=True)
    )
    letters = Counter(letter for example in EXAMPLES for letter in _letters(example))
    by_chance = sum((count / letters.total()) ** 2 for count in letters.values())
    assert right / letters.total() == pytest.approx(by_chance, abs=0.01)
    assert changed == formed(EXAMPLES, seed=1, letter_places=places) != formed(EXAMPLES, seed=2, letter_places=places)


def test_the_format_control_keeps_the_frequencies_of_labels_and_numbers() -> None:
    task = CountTask(SETS)
    examples = list(task.examples("train", limit=3000, seed=0))
    changed = formed(examples, seed=0, letter_places={"count": task.letter_places})
    golds, drawn = (Counter(example.gold for example in rows) for rows in (examples, changed))
    assert set(drawn) <= set(golds)
    for answer, count in golds.items():
        assert drawn[answer] / 3000 == pytest.approx(count / 3000, abs=0.03)


def test_options_of_a_row_of_its_own_are_answered_by_one_of_them() -> None:
    rows = [
        Example(f"choice/{n}", "choice", f"Which {n}?", f"{n} b", options=(f"{n} a", f"{n} b", f"{n} c"))
        for n in range(20)
    ]
    for before, after in zip(rows, formed(rows, seed=0, letter_places={"choice": lambda example: ()}), strict=True):
        assert after.gold in before.options


def test_plain_text_stays_in_the_format_control() -> None:
    text = [Example("prose/1", "prose", None, "Once upon a time.")]
    assert formed(text, seed=0, letter_places={"prose": lambda example: ()}) == text
