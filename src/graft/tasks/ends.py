"""Name the first or the last letter of a word.

One row: ``What is the first letter of strawberry?`` → ``s``. Licence: the word list's. Metric: exact match.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

from graft.tasks.base import TaskCard, constant_answer
from graft.tasks.words.parsing import parse_letter
from graft.tasks.words.pool import Word
from graft.tasks.words.scoring import commonest_letter
from graft.tasks.words.task import ALPHABET, LICENCE, SOURCE, Item, Phrasing, WordTask, numbered
from graft.types import Example

_TRAIN = (
    "What is the {which} letter of {word}?",
    "Which letter comes {which} in {word}?",
    "Give me the {which} letter of the word {word}.",
    "Tell me the {which} letter of {word}.",
    "In the word {word}, what is the {which} letter?",
    "Write only the {which} letter of {word}.",
    "Name the {which} letter in {word}.",
    "Find the {which} letter in the word {word}.",
    "Look at {word} and give its {which} letter.",
    "Which letter is the {which} one in {word}?",
    "With which letter does {word} {verb}?",
    "What letter does the word {word} {verb} with?",
)
_HELDOUT = (
    "In {word}, which letter comes {which}?",
    "Look at the word {word} and tell me the {which} letter.",
    "Which letter does {word} {verb} with?",
)


class EndsTask(WordTask):
    """What the tasks `first` and `last` share."""

    train_phrasings = numbered("train", _TRAIN)
    heldout_phrasings = numbered("heldout", _HELDOUT)
    index: ClassVar[int]
    verb: ClassVar[str]

    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Take the letter at the end that the task is named after."""
        return Item(gold=word.text[self.index], fill={"which": self.card.name, "verb": self.verb})

    def answers(self, example: Example) -> tuple[str, ...]:
        """The letters of the alphabet."""
        return tuple(ALPHABET)

    def parse(self, example: Example, reply: str) -> str | None:
        """The letter; a sentence about the asked end outranks others."""
        return parse_letter(reply, (self.card.name,))

    def details(self, example: Example, answer: str | None) -> dict[str, float]:
        """``same_letter_in_word``: 1 when the answer is some letter of the word, NaN without an answer."""
        return {"same_letter_in_word": math.nan if answer is None else float(answer in example.cluster)}

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The best constant letter, and the commonest letter of the word."""
        return {
            "constant letter": constant_answer(examples),
            "commonest letter of the word": [commonest_letter(example.cluster) for example in examples],
        }


class FirstTask(EndsTask):
    """Name the first letter of a word."""

    card = TaskCard("first", "Name the first letter of a word.", "strict", LICENCE, SOURCE)
    index = 0
    verb = "start"


class LastTask(EndsTask):
    """Name the last letter of a word."""

    card = TaskCard("last", "Name the last letter of a word.", "strict", LICENCE, SOURCE)
    index = -1
    verb = "end"
