"""What a task is: where its rows come from, what is right, and how a reply is scored.

A task knows nothing of tokenizers and models. Its scorer is the same function in evaluation and, later, as the
reward in reinforcement learning.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from graft import errors
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
        notes: what of the data is not used or left out, and how many rows, each a sentence for people.
    """

    name: str
    summary: str
    metric: str
    licence: str
    source: str
    kind: Kind = "words"
    size: str = ""
    label: str = ""
    notes: tuple[str, ...] = ()


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
        """Judge one reply against the example's gold answer: a pure function, so a stored reply can be judged again."""

    def verdict(self, example: Example, reply: str) -> Score:
        """`score`, where an error of the scorer leaves this one reply undefined, with its reason, and stops nothing."""
        try:
            return self.score(example, reply)
        except errors.GraftError:
            raise  # what the user has to mend
        except Exception as error:
            return Score(False, False, False, undefined=f"the scorer failed: {type(error).__name__}: {error!s:.200}")

    @property
    def scorer(self) -> str:
        """What identifies the scorer: 12 hexadecimal digits of its code; replies judged by another are judged again."""
        return scorer_version(type(self))

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


_PLAIN = ("abc", "builtins", "typing")
"""Modules whose classes say nothing of how replies are judged."""


@cache
def scorer_version(task: type[Task]) -> str:
    """A digest of the code that judges the replies of a task: its classes' files and the readers of answers."""
    here = Path(__file__).parent
    files = {kind.__module__: Path(inspect.getfile(kind)) for kind in task.__mro__ if kind.__module__ not in _PLAIN}
    readers = [*sorted((here / "answers").glob("*.py")), here / "words" / "parsing.py", here / "words" / "scoring.py"]
    digest = hashlib.blake2b(digest_size=6)
    for file in (*(file for _, file in sorted(files.items())), *readers):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def constant_answer(examples: Sequence[Example]) -> list[str]:
    """The most frequent right answer, for every example."""
    golds = Counter(example.gold for example in examples)
    return [golds.most_common(1)[0][0]] * len(examples) if golds else []
