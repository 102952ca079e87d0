"""Spell a word, letter by letter.

One row: ``Spell the word strawberry.`` → ``s-t-r-a-w-b-e-r-r-y``. Licence: the word list's. Metric: exact match.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from graft.tasks.base import TaskCard
from graft.tasks.words.parsing import parse_letters
from graft.tasks.words.pool import Word
from graft.tasks.words.scoring import character_error_rate, first_error
from graft.tasks.words.task import ALPHABET, LICENCE, SEPARATORS, SOURCE, Item, Phrasing, WordTask, numbered
from graft.types import Example

_TRAIN_HYPHEN = (
    "Spell the word {word}.",
    "How do you spell {word}?",
    "Spell {word} letter by letter.",
    "Write the letters of {word} one by one, with hyphens.",
    "What are the letters of the word {word}?",
    "Please spell out {word} for me.",
    "Give me the spelling of {word}, with hyphens.",
    "Can you spell the word {word} with hyphens between the letters?",
    "Show how the word {word} is spelled.",
    "Break {word} into its letters, with hyphens between them.",
    "List all the letters of {word} in order.",
    "Write out {word} one letter at a time.",
)
_TRAIN_SPACE = ("Spell {word} with spaces between the letters.", "Write the word {word} with spaces, letter by letter.")
_TRAIN_COMMA = ("Spell the word {word} with commas between the letters.", "List the letters of {word} with commas.")
_HELDOUT_HYPHEN = (
    "Please write out the letters of {word} with hyphens.",
    "Can you show me how {word} is spelled, letter by letter, with hyphens?",
)
_HELDOUT_SPACE = ("Spell out the word {word} with spaces, one letter at a time.",)


class SpellingTask(WordTask):
    """Spell a word, letter by letter."""

    card = TaskCard("spelling", "Spell a word, letter by letter.", "strict", LICENCE, SOURCE)
    train_phrasings = (
        *numbered("train", _TRAIN_HYPHEN, "hyphen"),
        *numbered("train", _TRAIN_SPACE, "space", start=13),
        *numbered("train", _TRAIN_COMMA, "comma", start=15),
    )
    heldout_phrasings = (
        *numbered("heldout", _HELDOUT_HYPHEN, "hyphen"),
        *numbered("heldout", _HELDOUT_SPACE, "space", start=3),
    )

    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Join the letters with the separator that the phrasing asks for."""
        return Item(gold=SEPARATORS[phrasing.form].join(word.text), strata={"separator": phrasing.form})

    def letter_places(self, example: Example) -> tuple[int, ...]:
        """Every letter of the word, a separator apart."""
        step = 1 + len(SEPARATORS[str(example.strata["separator"])])
        return tuple(range(0, len(example.gold), step))

    def parse(self, example: Example, reply: str) -> str | None:
        """The letters, joined."""
        return parse_letters(reply)

    def target(self, example: Example) -> str:
        """The gold letters, joined."""
        return example.gold.replace(SEPARATORS[str(example.strata["separator"])], "")

    def details(self, example: Example, answer: str | None) -> dict[str, float]:
        """``cer`` (≥ 0, may exceed 1) and ``first_error`` (0-based, NaN if right); no answer counts as an empty one."""
        gold = self.target(example)
        return {"cer": character_error_rate(answer or "", gold), "first_error": first_error(answer or "", gold)}

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The word unspelled, the alphabet to the word's length, and the usual letters at their places in words."""
        usual = {place: Counter(letters).most_common(1)[0][0] for place, letters in self._letters_by_place().items()}
        guess = "".join(usual.get(place, "e") for place in range(max(map(_length, examples), default=0)))
        rows = {"alphabet": ALPHABET, "usual letter at every place": guess}
        found: dict[str, list[str]] = {"echo the word": [example.cluster for example in examples]}
        for name, letters in rows.items():
            found[name] = [
                SEPARATORS[str(example.strata["separator"])].join(letters[: _length(example)]) for example in examples
            ]
        return found

    def _letters_by_place(self) -> dict[int, str]:
        """All letters of the training words at each place."""
        found: dict[int, list[str]] = {}
        for word in self.words.train:
            for place, letter in enumerate(word.text):
                found.setdefault(place, []).append(letter)
        return {place: "".join(letters) for place, letters in found.items()}


def _length(example: Example) -> int:
    return len(example.cluster)
