"""The control arms change the answers and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graft.errors import DataError
from graft.tasks.count import CountTask
from graft.tasks.spelling import SpellingTask
from graft.tasks.words.controls import shuffled, spell_first
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


def test_controls_of_another_task_are_refused() -> None:
    examples = list(CountTask(SETS).examples("train", limit=2, seed=0))
    with pytest.raises(DataError, match="spelling examples, but got count/"):
        shuffled(examples, seed=0)
