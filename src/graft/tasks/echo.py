"""Repeat a word; helps to build the embedded model.

One row: ``Repeat the word strawberry.`` → ``strawberry``. Licence: the word list's. Metric: exact match.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from graft.tasks.base import TaskCard, constant_answer
from graft.tasks.words.parsing import parse_word
from graft.tasks.words.pool import Word
from graft.tasks.words.task import LICENCE, SOURCE, Item, Phrasing, WordTask, numbered
from graft.types import Example

_TRAIN = (
    "Repeat the word {word}.",
    "Say {word}.",
    "Write the word {word}.",
    "Please repeat {word} for me.",
    "Copy the word {word}.",
    "Write {word} again.",
    "Say the word {word} again.",
    "Give me the word {word} back.",
    "Write only the word {word}.",
    "Copy {word} and nothing else.",
    "Repeat {word} once.",
    "Please write down {word}.",
)
_HELDOUT = (
    "Please copy the word {word}.",
    "Write the word {word} once and nothing else.",
    "Say only {word}.",
)


class EchoTask(WordTask):
    """Repeat a word."""

    card = TaskCard("echo", "Repeat a word.", "strict", LICENCE, SOURCE)
    train_phrasings = numbered("train", _TRAIN)
    heldout_phrasings = numbered("heldout", _HELDOUT)

    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Answer with the word itself."""
        return Item(gold=word.text)

    def parse(self, example: Example, reply: str) -> str | None:
        """The word."""
        return parse_word(reply)

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The best constant word."""
        return {"constant word": constant_answer(examples)}
