"""The base of all word tasks: words and phrasings in, examples out.

The word stands bare in the prompt, after a space (``Spell the word strawberry.``), in every phrasing of every task:
quotes or a place at the very start would change its tokens.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import ClassVar

from graft import errors
from graft.tasks.base import Split, Task
from graft.tasks.words.pool import Word, WordSets
from graft.types import Example, Score, Stratum

LICENCE = "SCOWL (permissive, see NOTICE)"
SOURCE = "generated from a word list"

SEPARATORS = {"hyphen": "-", "space": " ", "comma": ", "}
"""What stands between the letters, by the form that a phrasing of spelling asks for."""


@dataclass(frozen=True, slots=True)
class Phrasing:
    """One way to ask.

    Attributes:
        name: ``train-01`` or ``heldout-1``.
        text: format string of the prompt.
        form: the answer form it asks for, where a task has several.
    """

    name: str
    text: str
    form: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """What a task adds to a word to make an example.

    Attributes:
        gold: the answer.
        key: the part of the example id that tells items of one word apart.
        fill: values of the phrasing's placeholders other than ``word``.
        strata: the task's own strata.
    """

    gold: str
    key: str = ""
    fill: Mapping[str, str] = field(default_factory=dict)
    strata: Mapping[str, Stratum] = field(default_factory=dict)


def numbered(prefix: str, texts: Iterable[str], form: str = "", start: int = 1) -> tuple[Phrasing, ...]:
    """Name format strings ``train-01``, ``train-02`` … or ``heldout-1`` …, counting from `start`."""
    digits = 1 if prefix.startswith("heldout") else 2
    return tuple(Phrasing(f"{prefix}-{number:0{digits}}", text, form) for number, text in enumerate(texts, start))


ALPHABET = "abcdefghijklmnopqrstuvwxyz"
"""The letters that words are made of, and the closed set of answers of a task that asks for a letter."""


def numbers_up_to(largest: int) -> tuple[str, ...]:
    """The closed set of answers of a task that counts: 0 to `largest`, in digits."""
    return tuple(str(number) for number in range(largest + 1))


class WordTask(Task):
    """A task whose every item asks about one word.

    Args:
        words: the training and held-out words.
    """

    train_phrasings: ClassVar[tuple[Phrasing, ...]]
    heldout_phrasings: ClassVar[tuple[Phrasing, ...]]

    def __init__(self, words: WordSets) -> None:
        self.words = words

    def examples(self, split: Split, *, limit: int | None, seed: int) -> Iterator[Example]:
        """Yield the examples of a split in a seeded order.

        Training examples go through the words again, in a fresh order and fresh phrasings, when `limit` exceeds their
        number; the other splits hold each word at most once.

        Raises:
            DataError: the split has no words.
        """
        words = self.words.eval if split == "eval" else self.words.train
        if not words:
            raise errors.DataError(f"task {self.card.name}: the {split} split has no words; check the word source")
        if split == "train":
            passes = count() if limit is not None else range(1)
            endless = (example for number in passes for example in self._pass(words, split, seed, number))
            return islice(endless, limit)
        return self._pass(words, split, seed, 0, limit)

    def _pass(
        self, words: Sequence[Word], split: Split, seed: int, number: int, limit: int | None = None
    ) -> Iterator[Example]:
        stem = f"{self.card.name}/{split}/{seed}/{number}"
        order = random.Random(stem).sample(words, len(words))
        chosen = [(word, "") for word in order] if split == "train" else self.select(order, limit)
        for word, wanted in chosen:
            rng = random.Random(f"{stem}/{word.text}")
            phrasing = self.choose(split, rng)
            yield self._example(word, phrasing, self.compose(word, phrasing, wanted, rng), number)

    def _example(self, word: Word, phrasing: Phrasing, item: Item, number: int) -> Example:
        parts = [self.card.name, word.text, item.key, phrasing.name, f"pass-{number + 1}" if number else ""]
        return Example(
            id="/".join(part for part in parts if part),
            task=self.card.name,
            prompt=phrasing.text.format(word=word.text, **item.fill),
            gold=item.gold,
            cluster=word.text,
            phrasing=phrasing.name,
            strata={
                "length": len(word.text),
                "log_frequency": word.frequency,
                "repeated_letter": len(set(word.text)) < len(word.text),
                "pseudo": word.pseudo,
                **item.strata,
            },
        )

    def select(self, order: Sequence[Word], limit: int | None) -> list[tuple[Word, str]]:
        """The words of an evaluation split, each with the kind of item it is wanted for ("" for any)."""
        return [(word, "") for word in order[:limit]]

    def choose(self, split: Split, rng: random.Random) -> Phrasing:
        """Draw the phrasing of one example."""
        return rng.choice(self.phrasings(split))

    def phrasings(self, split: Split) -> tuple[Phrasing, ...]:
        """All phrasings that a split draws from."""
        return self.train_phrasings if split == "train" else self.heldout_phrasings

    @abstractmethod
    def compose(self, word: Word, phrasing: Phrasing, wanted: str, rng: random.Random) -> Item:
        """Make the item of one word in one phrasing."""

    @abstractmethod
    def parse(self, example: Example, reply: str) -> str | None:
        """Find the answer in a reply, in normal form; None when there is none or it is ambiguous."""

    def target(self, example: Example) -> str:
        """The gold answer in the normal form of `parse`."""
        return example.gold

    def details(self, example: Example, answer: str | None) -> dict[str, float]:
        """Further numbers about an answer, NaN where undefined."""
        return {}

    def score(self, example: Example, reply: str) -> Score:
        """Judge one reply; strict forgives nothing but surrounding white space."""
        strict = reply.strip() == example.gold
        answer = self.target(example) if strict else self.parse(example, reply)
        return Score(
            strict=strict,
            lenient=answer is not None and answer == self.target(example),
            parsed=answer is not None,
            answer=answer,
            details=self.details(example, answer),
        )
