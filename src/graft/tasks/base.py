"""What a task is: where its rows come from, what is right, and how a reply is scored.

A task knows nothing of tokenizers and models. Its scorer is the same function in evaluation and, later, as the
reward in reinforcement learning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from graft.types import Example, Score

Split = Literal["train", "eval", "seen"]
"""``train``: training words and phrasings; ``eval``: held-out ones; ``seen``: training words in held-out phrasings."""


Kind = Literal["words", "classification", "choice", "answer", "code", "corpus"]


@dataclass(frozen=True, slots=True)
class TaskCard:
    """What ``graft tasks`` shows of a task.

    Attributes:
        name: the name used in recipes.
        summary: one sentence.
        metric: the primary metric, a field of `Score` or a key of its details.
        licence: licence of the rows.
        source: where the rows come from.
        kind: ``words``, ``classification`` (one closed set of labels), ``choice`` (options of each row's own),
            ``answer``, ``code`` or ``corpus`` (plain text, no answers).
        size: number of rows by split, for people: ``25,000 train, 25,000 test``.
        label: what stands for it in the name of a run; its name with dashes for slashes when empty.
    """

    name: str
    summary: str
    metric: str
    licence: str
    source: str
    kind: Kind = "words"
    size: str = ""
    label: str = ""


class Task(ABC):
    """One way to turn rows into examples and replies into scores."""

    card: ClassVar[TaskCard]

    @abstractmethod
    def examples(self, split: Split, *, limit: int | None, seed: int) -> Iterator[Example]:
        """Yield the examples of a split in a seeded order.

        Args:
            split: which rows and phrasings to draw from.
            limit: at most this many examples; ``None`` for one pass over the rows.
            seed: seeds phrasing, position, letter … of every item; the same seed gives the same items.
        """

    @abstractmethod
    def score(self, example: Example, reply: str) -> Score:
        """Judge one reply against the example's gold answer."""

    def answers(self, example: Example) -> tuple[str, ...]:
        """The closed set of answers of which the gold answer is one; empty when any text may be right."""
        return example.options

    def letter_places(self, example: Example) -> tuple[int, ...]:
        """Where in the gold answer one of the 26 letters stands, when the answer is a row of letters with something
        between them; empty otherwise.
        """
        return ()

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """What could be answered without the skill, by the name of the rule: one answer for each example."""
        return {}

    def surface(self, example: Example) -> Mapping[str, str | float]:
        """What can be read off an item without the skill: texts are categories, numbers are quantities.

        A regression guesses the answer from it, and nothing counts as learned that does no better. Empty where
        everything that can be read is the skill itself.
        """
        return {}


def constant_answer(examples: Sequence[Example]) -> list[str]:
    """The most frequent right answer, for every example."""
    golds = Counter(example.gold for example in examples)
    return [golds.most_common(1)[0][0]] * len(examples) if golds else []
