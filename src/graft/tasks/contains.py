"""Say whether a word contains a letter; helps to build the embedded model.

One row: ``Does strawberry contain the letter r?`` → ``yes``. Licence: the word list's. Metric: exact match.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from graft.tasks.base import TaskCard, constant_answer
from graft.tasks.words.parsing import parse_yes_no
from graft.tasks.words.pool import Word
from graft.tasks.words.scoring import letter_and_length
from graft.tasks.words.task import ALPHABET, LICENCE, SOURCE, Item, Phrasing, WordTask, numbered
from graft.types import Example

_TRAIN = (
    "Does {word} contain the letter {letter}?",
    "Is the letter {letter} in {word}?",
    "Does the word {word} have the letter {letter}?",
    "Is {letter} one of the letters of {word}?",
    "Look at {word}: does it have the letter {letter}?",
    "Can you find the letter {letter} in {word}?",
    "Does the letter {letter} occur in the word {word}?",
    "Tell me if {word} has the letter {letter}, yes or no.",
    "Yes or no: is {letter} in the word {word}?",
    "In the word {word}, is there the letter {letter}?",
    "Does {letter} appear in {word}?",
    "Say yes or no: the word {word} has the letter {letter}.",
)
_HELDOUT = (
    "Yes or no: does {word} have the letter {letter}?",
    "Is the letter {letter} one of the letters in the word {word}?",
    "Can you find {letter} in the word {word}, yes or no?",
)


class ContainsTask(WordTask):
    """Say whether a word contains a letter."""

    card = TaskCard("contains", "Say whether a word contains a letter.", "strict", LICENCE, SOURCE)
    train_phrasings = numbered("train", _TRAIN)
    heldout_phrasings = numbered("heldout", _HELDOUT)

    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Toss a coin for yes or no, then draw a letter that makes it true."""
        absent = sorted(set(ALPHABET) - set(word.text))
        present = bool(rng.getrandbits(1)) or not absent
        letter = rng.choice(sorted(set(word.text)) if present else absent)
        return Item("yes" if present else "no", letter, {"letter": letter}, {"letter": letter, "present": present})

    def answers(self, example: Example) -> tuple[str, ...]:
        """Yes or no."""
        return ("yes", "no")

    def parse(self, example: Example, reply: str) -> str | None:
        """``yes`` or ``no``."""
        return parse_yes_no(reply)

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The best constant answer."""
        return {"most frequent answer": constant_answer(examples)}

    def surface(self, example: Example) -> Mapping[str, str | float]:
        """The letter and the length of the word: common letters are in long words."""
        return letter_and_length(example)
