"""Say how many letters a word has.

One row: ``How many letters does strawberry have?`` → ``10``. Licence: the word list's. Metric: exact match.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from graft.tasks.base import TaskCard, constant_answer
from graft.tasks.words.parsing import parse_number
from graft.tasks.words.pool import Word
from graft.tasks.words.scoring import absolute_error
from graft.tasks.words.task import LICENCE, SOURCE, Item, Phrasing, WordTask, numbered, numbers_up_to
from graft.types import Example

_TRAIN = (
    "How many letters does {word} have?",
    "How many letters are in the word {word}?",
    "What is the length of {word}?",
    "Count the letters of {word}.",
    "How long is the word {word}, in letters?",
    "Give the number of letters in {word}.",
    "Tell me how many letters there are in {word}.",
    "In the word {word}, how many letters are there?",
    "What is the number of letters of the word {word}?",
    "Look at {word} and count the letters it has.",
    "Write the number of letters that {word} has.",
    "Tell me the length of the word {word}.",
)
_HELDOUT = (
    "Count how many letters the word {word} has.",
    "Give the length of {word} in letters.",
    "Look at the word {word} and tell me how many letters it has.",
)


LONGEST = 30
"""The largest number that is compared; longer words are hardly any."""


class LengthTask(WordTask):
    """Say how many letters a word has."""

    card = TaskCard("length", "Say how many letters a word has.", "strict", LICENCE, SOURCE)
    train_phrasings = numbered("train", _TRAIN)
    heldout_phrasings = numbered("heldout", _HELDOUT)

    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Count the letters."""
        return Item(gold=str(len(word.text)))

    def answers(self, example: Example) -> tuple[str, ...]:
        """The same numbers for every word: those up to its own length would give the answer away."""
        return numbers_up_to(LONGEST)

    def parse(self, example: Example, reply: str) -> str | None:
        """The number, in digits."""
        return parse_number(reply)

    def details(self, example: Example, answer: str | None) -> dict[str, float]:
        """``absolute_error``, NaN without an answer."""
        return {"absolute_error": absolute_error(answer, example.gold)}

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The best constant answer."""
        return {"most frequent answer": constant_answer(examples)}
