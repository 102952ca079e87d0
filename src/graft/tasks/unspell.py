"""Put spelled letters together; helps to build the embedded model.

One row: ``Which word is spelled s-t-r-a-w?`` → ``straw``. Licence: the word list's. Metric: exact match.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from graft.tasks.base import TaskCard, constant_answer
from graft.tasks.words.parsing import parse_word
from graft.tasks.words.pool import Word
from graft.tasks.words.task import LICENCE, SEPARATORS, SOURCE, Item, Phrasing, WordTask, numbered
from graft.types import Example

_TRAIN_HYPHEN = (
    "Which word is spelled {letters}?",
    "What word do the letters {letters} spell?",
    "Put the letters {letters} together.",
    "Join the letters {letters} into a word.",
    "Write {letters} as one word.",
    "What does {letters} spell?",
    "The letters are {letters}. What is the word?",
    "Turn {letters} into a word.",
    "Give me the word that is spelled {letters}.",
    "Tell me which word {letters} is.",
)
_TRAIN_SPACE = ("Put {letters} together into one word.", "Read {letters} as a word.")
_TRAIN_COMMA = ("Which word has the letters {letters}?", "Join {letters} and give me the word.")
_HELDOUT_HYPHEN = ("What is the word that {letters} spell?", "Join {letters} into one word.")
_HELDOUT_SPACE = ("Write the word that the letters {letters} spell.",)


class UnspellTask(WordTask):
    """Put spelled letters together."""

    card = TaskCard("unspell", "Put spelled letters together into a word.", "strict", LICENCE, SOURCE)
    train_phrasings = (
        *numbered("train", _TRAIN_HYPHEN, "hyphen"),
        *numbered("train", _TRAIN_SPACE, "space", start=11),
        *numbered("train", _TRAIN_COMMA, "comma", start=13),
    )
    heldout_phrasings = (
        *numbered("heldout", _HELDOUT_HYPHEN, "hyphen"),
        *numbered("heldout", _HELDOUT_SPACE, "space", start=3),
    )

    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Spell the word into the prompt."""
        return Item(
            gold=word.text,
            fill={"letters": SEPARATORS[phrasing.form].join(word.text)},
            strata={"separator": phrasing.form},
        )

    def parse(self, example: Example, reply: str) -> str | None:
        """The word."""
        return parse_word(reply)

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The best constant word."""
        return {"constant word": constant_answer(examples)}
