"""Name the n-th letter of a word, counted from the start or from the end.

One row: ``What is the 3rd letter of strawberry?`` → ``r``. Licence: the word list's. Metric: exact match.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence

from graft.tasks.base import Split, TaskCard, constant_answer
from graft.tasks.words.parsing import parse_letter
from graft.tasks.words.pool import Word
from graft.tasks.words.scoring import commonest_letter
from graft.tasks.words.task import ALPHABET, LICENCE, SOURCE, Item, Phrasing, WordTask, numbered
from graft.types import Example

FROM_END_SHARE = 0.3
"""Share of the items that count from the end."""

_ORDINAL_WORDS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)

_TRAIN = (
    "What is the {nth} letter of {word}?",
    "What is letter number {number} of {word}?",
    "Which letter is the {nth} letter in the word {word}?",
    "Give me the {nth} letter of the word {word}.",
    "In the word {word}, what is the {nth} letter?",
    "Tell me the {nth} letter of {word}.",
    "Write only the {nth} letter of {word}.",
    "Find the {nth} letter in {word}.",
    "Which letter is at position {number} in {word}?",
    "Look at the word {word} and give its {nth} letter.",
    "What is the {nth_word} letter of the word {word}?",
    "Name the {nth_word} letter in {word}.",
    "Count from the start: which letter of {word} is the {nth} one?",
)
_TRAIN_END = (
    "What is the {nth} letter from the end of {word}?",
    "Counting from the end, what is the {nth} letter of {word}?",
    "Which letter of {word} is {place}?",
    "Give me the {nth} letter from the end of the word {word}.",
    "In the word {word}, which letter is {place}?",
    "Tell me the {nth} letter of {word}, counting from the end.",
)
_HELDOUT = (
    "Which letter of {word} is the {nth} one?",
    "Look at {word} and tell me its {nth} letter.",
    "In {word}, what is the letter at position {number}?",
)
_HELDOUT_END = (
    "Counting from the end of {word}, which letter is the {nth} one?",
    "Find the {nth} letter from the end in the word {word}.",
    "Tell me which letter of {word} is {place}.",
)


class PositionTask(WordTask):
    """Name the n-th letter of a word."""

    card = TaskCard(
        "position", "Name the n-th letter of a word, from the start or from the end.", "strict", LICENCE, SOURCE
    )
    train_phrasings = (*numbered("train", _TRAIN, "start"), *numbered("train-end", _TRAIN_END, "end"))
    heldout_phrasings = (*numbered("heldout", _HELDOUT, "start"), *numbered("heldout-end", _HELDOUT_END, "end"))

    def choose(self, split: Split, rng: random.Random) -> Phrasing:
        """Draw the direction first, then one of its phrasings."""
        form = "end" if rng.random() < FROM_END_SHARE else "start"
        return rng.choice([phrasing for phrasing in self.phrasings(split) if phrasing.form == form])

    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Draw the index uniformly over the word's letters."""
        size = len(word.text)
        n = rng.randint(1, size)
        from_end = phrasing.form == "end"
        index = size + 1 - n if from_end else n
        nth_word = _ORDINAL_WORDS[n - 1] if n <= len(_ORDINAL_WORDS) else ordinal(n)
        place = {1: "last", 2: "last but one"}.get(n, f"{ordinal(n)} from the end")
        return Item(
            gold=word.text[index - 1],
            key=f"{phrasing.form}-{n}",
            fill={"nth": ordinal(n), "number": str(n), "nth_word": nth_word, "place": place},
            strata={"index": index, "index_from_end": size + 1 - index, "from_end": from_end},
        )

    def answers(self, example: Example) -> tuple[str, ...]:
        """The letters of the alphabet."""
        return tuple(ALPHABET)

    def parse(self, example: Example, reply: str) -> str | None:
        """The letter; a sentence about the asked place outranks others."""
        from_end = bool(example.strata["from_end"])
        return parse_letter(
            reply, place_names(int(example.strata["index_from_end" if from_end else "index"]), from_end)
        )

    def details(self, example: Example, answer: str | None) -> dict[str, float]:
        """``same_letter_in_word``: 1 when the answer is some letter of the word, NaN without an answer."""
        return {"same_letter_in_word": math.nan if answer is None else float(answer in example.cluster)}

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The best constant letter, letters of the word that need no counting, and the usual letter at the place."""
        found = {
            "constant letter": constant_answer(examples),
            "first letter": [example.cluster[0] for example in examples],
            "commonest letter of the word": [commonest_letter(example.cluster) for example in examples],
        }
        if not self.words.train:
            return found
        usual = {place: Counter(letters).most_common(1)[0][0] for place, letters in self._letters_by_place().items()}
        return found | {"usual letter at the place": [usual.get(_place(example), "e") for example in examples]}

    def surface(self, example: Example) -> Mapping[str, str | float]:
        """The place and the length of the word: some letters like to open words, some to close them."""
        direction, n = _place(example)
        return {"place": f"{direction} {n}", "length": str(len(example.cluster))}

    def _letters_by_place(self) -> dict[tuple[str, int], str]:
        """All letters of the training words at each place, counted from both ends."""
        found: dict[tuple[str, int], list[str]] = {}
        for word in self.words.train:
            for n, (first, last) in enumerate(zip(word.text, reversed(word.text), strict=True), start=1):
                found.setdefault(("start", n), []).append(first)
                found.setdefault(("end", n), []).append(last)
        return {place: "".join(letters) for place, letters in found.items()}


def _place(example: Example) -> tuple[str, int]:
    """The end that is counted from, and the number that is asked for."""
    if example.strata["from_end"]:
        return "end", int(example.strata["index_from_end"])
    return "start", int(example.strata["index"])


def place_names(n: int, from_end: bool) -> tuple[str, ...]:
    """What the n-th place is called: ``3rd``, ``third``, ``position 3``; from the end also ``3rd from the end``."""
    names = (ordinal(n), *_ORDINAL_WORDS[n - 1 : n])
    if not from_end:
        return (*names, f"position {n}", f"letter {n}", f"letter number {n}", f"index {n}", f"#{n}")
    far = tuple(
        f"{name} {end}" for name in names for end in ("from the end", "letter from the end", "to last", "to the last")
    )
    special = {
        1: ("last", "final"),
        2: ("last but one", "second-to-last", "second last", "next to last", "penultimate"),
    }
    return (*far, *special.get(n, ()), *(names if n > 1 else ()))


def ordinal(n: int) -> str:
    """The number as an ordinal: ``1st``, ``2nd``, ``3rd``, ``4th``, ``11th``, ``21st``."""
    if n % 100 in (11, 12, 13):
        return f"{n}th"
    return f"{n}{({1: 'st', 2: 'nd', 3: 'rd'}).get(n % 10, 'th')}"
