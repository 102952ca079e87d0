"""What all benchmarks in the field's style share: they are asked as plain text and trained as Graft asks them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from graft.errors import DataError
from graft.tasks.base import Split, TaskCard
from graft.tasks.dataset import DatasetTask, Row
from graft.types import Example


class FieldTask(DatasetTask):
    """A benchmark whose held-out rows are asked and scored as lm-evaluation-harness does.

    A prompt is the text itself, without chat template and system turn, and a space goes before the answer.

    Args:
        standard: the benchmark's name.
        task: the benchmark as Graft asks it.
        worked: gives the rows of which the worked examples are taken.
    """

    written: ClassVar[int] = 0
    """Longest reply in tokens; 0 where the likelihoods of the answers are compared and nothing is written."""

    until: ClassVar[tuple[str, ...]] = ()
    """Texts before which a reply is cut."""

    def __init__(self, standard: str, task: DatasetTask, worked: Callable[[], Sequence[Row]]) -> None:
        super().__init__(task.rows)
        self.standard = standard
        self.task = task
        self.worked = worked

    @classmethod
    def field_card(cls, name: str, card: TaskCard) -> TaskCard:
        """The card of the benchmark with the metric that the field reports."""
        return replace(card, metric="accuracy")

    @abstractmethod
    def example(self, row: Row, index: int) -> Example | None:
        """One row as the field asks it; ``None`` for a row without a published label."""

    def examples(self, split: Split, *, limit: int | None, seed: int) -> Iterator[Example]:
        """Held-out rows as the field asks them, training rows as Graft does; training rows are never scored."""
        if split == "seen":
            return iter(())
        if split == "train":
            return self.task.examples(split, limit=limit, seed=seed)
        return super().examples(split, limit=limit, seed=seed)

    def sources(self, split: Split) -> Iterator[tuple[str, str]]:
        """What the rows say, whichever way they are asked."""
        return self.task.sources(split)


def first_of(rows: Sequence[Row], count: int, where: str) -> Sequence[Row]:
    """The first rows, as worked examples.

    Raises:
        DataError: there are too few.
    """
    if len(rows) < count:
        raise DataError(
            f"{where}: the field shows {count} worked examples before each question, but the rows for them hold "
            f"{len(rows)}; give more training rows, or set data.prompt_style: instruct"
        )
    return rows[:count]
