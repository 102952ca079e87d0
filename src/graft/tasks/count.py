"""Count how often a letter occurs in a word.

One row: ``How many times does the letter r occur in strawberry?`` → ``3``. Licence: the word list's. Metric: exact
match, averaged over the true-count strata 0, 1, 2 and 3+, which evaluation balances because most letters of most words
occur once.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from graft.tasks.base import TaskCard, constant_answer
from graft.tasks.words.parsing import parse_number
from graft.tasks.words.pool import Word
from graft.tasks.words.scoring import absolute_error, letter_and_length
from graft.tasks.words.task import LICENCE, SOURCE, Item, Phrasing, WordTask, numbered, numbers_up_to
from graft.types import Example

STRATA = ("0", "1", "2", "3+")
_TRAIN_WEIGHTS = {"0": 1.0, "1": 1.0, "2": 2.0, "3+": 8.0}
"""How strongly each stratum is preferred in training, among those that a word offers: high counts are rare in words."""

_LETTERS = "etaoinshrdlucmfwygpbvkxjqz"
_LETTER_WEIGHTS = dict(zip(_LETTERS, range(30, 4, -1), strict=True))
"""Absent letters are drawn with a preference for common ones, so that a rare letter does not give "0" away."""

_TRAIN = (
    "How many times does the letter {letter} occur in {word}?",
    "How many {letter}'s are in {word}?",
    "How many times does {letter} appear in the word {word}?",
    "Count the letter {letter} in {word}.",
    "In the word {word}, how many times is the letter {letter} used?",
    "How often does the letter {letter} appear in {word}?",
    "Count how often {letter} occurs in the word {word}.",
    "What is the number of {letter}'s in {word}?",
    "Give the number of times {letter} is in {word}.",
    "Tell me how many {letter}'s the word {word} has.",
    "Look at the word {word} and count the letter {letter}.",
    "How many of the letters in {word} are {letter}?",
)
_HELDOUT = (
    "Count how many times the letter {letter} is used in {word}.",
    "How often does {letter} occur in the word {word}?",
    "Tell me the number of {letter}'s in the word {word}.",
)


class CountTask(WordTask):
    """Count how often a letter occurs in a word."""

    card = TaskCard("count", "Count how often a letter occurs in a word.", "strict", LICENCE, SOURCE)
    train_phrasings = numbered("train", _TRAIN)
    heldout_phrasings = numbered("heldout", _HELDOUT)

    def select(self, order: Sequence[Word], limit: int | None) -> list[tuple[Word, str]]:
        """Share the words out over the strata as evenly as they allow, scarce strata first."""
        size = len(order) if limit is None else min(limit, len(order))
        wanted: dict[str, str] = {}
        for left, stratum in zip((4, 3, 2, 1), reversed(STRATA), strict=True):
            quota = -(-(size - len(wanted)) // left)
            fit = [word.text for word in order if word.text not in wanted and stratum in letters_by_stratum(word.text)]
            wanted |= dict.fromkeys(fit[:quota], stratum)
        return [(word, wanted[word.text]) for word in order if word.text in wanted]

    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Draw the stratum if none is wanted, then a letter of it."""
        offered = letters_by_stratum(word.text)
        stratum = wanted or rng.choices(list(offered), [_TRAIN_WEIGHTS[name] for name in offered])[0]
        letters = offered[stratum]
        weights = [_LETTER_WEIGHTS[letter] if stratum == "0" else 1 for letter in letters]
        letter = rng.choices(letters, weights)[0]
        return Item(
            gold=str(word.text.count(letter)),
            key=letter,
            fill={"letter": letter},
            strata={"true_count": stratum, "letter": letter},
        )

    def answers(self, example: Example) -> tuple[str, ...]:
        """No number is larger than the word is long."""
        return numbers_up_to(len(example.cluster))

    def parse(self, example: Example, reply: str) -> str | None:
        """The number, in digits."""
        return parse_number(reply, ignore_length=True, letter=str(example.strata.get("letter", "")))

    def details(self, example: Example, answer: str | None) -> dict[str, float]:
        """``absolute_error``, NaN without an answer."""
        return {"absolute_error": absolute_error(answer, example.gold)}

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The constant answers."""
        return {
            "always 0": ["0"] * len(examples),
            "always 1": ["1"] * len(examples),
            "most frequent answer": constant_answer(examples),
        }

    def surface(self, example: Example) -> Mapping[str, str | float]:
        """The letter and the length of the word: common letters are often in long words."""
        return letter_and_length(example)


def letters_by_stratum(word: str) -> dict[str, list[str]]:
    """The letters one can ask for, by true-count stratum, only those strata that the word offers."""
    counts = Counter(word)
    found: dict[str, list[str]] = {}
    for letter in sorted(_LETTERS):
        found.setdefault(STRATA[min(counts[letter], 3)], []).append(letter)
    return {stratum: found[stratum] for stratum in STRATA if stratum in found}
