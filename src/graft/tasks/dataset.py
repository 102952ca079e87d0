"""The base of tasks whose rows come from a dataset: rows in, examples out.

A dataset task says where its rows lie and how one row becomes an example. It never reads them itself: whoever loads the
task hands it the rows, from the hub or from local files of the same columns.
"""

from __future__ import annotations

import hashlib
import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, ClassVar
from unicodedata import normalize

from graft import errors
from graft.tasks.answers.reading import TERMINAL, before_next_question, plain, settle
from graft.tasks.base import Split, Task, constant_answer
from graft.types import Example, Message, Score

Row = Mapping[str, Any]
"""One row of a dataset by column name."""

Rows = Callable[[str], Sequence[Row]]
"""Gives the rows of a part, ``train`` or ``eval``; reads them when first asked."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a dataset lies on a hub.

    Attributes:
        repo: ``owner/name``.
        config: name of the configuration; ``None`` for the only one.
        train: hub split that is trained on.
        eval: hub split that is scored; ``None`` when there is none, and a share of `train` is held out instead.
        columns: columns that the task reads, first the one by whose content rows are held out.
        converted: read from the hub's own Parquet conversion, because the dataset is a script.
        gated: the owner has to be asked for access first.
        worked: hub split of the worked examples that the field shows; `train` when ``None``.
        worked_columns: columns that only worked examples need.
        revision: branch, tag or commit.
    """

    repo: str
    config: str | None = None
    train: str = "train"
    eval: str | None = None
    columns: tuple[str, ...] = ()
    converted: bool = False
    gated: bool = False
    revision: str | None = None
    worked: str | None = None
    worked_columns: tuple[str, ...] = ()


LEAST_LETTERS = 12
"""Letters from which a cell says something by itself: shorter ones may stand in a prompt by chance."""

HELD_OUT_SHARE = 0.1
"""Share of the rows that is held out where a dataset has no split of its own for it."""


class DatasetTask(Task):
    """A task whose every item is one row of a dataset.

    Args:
        rows: gives the rows of ``train`` and ``eval``.
    """

    source: ClassVar[HubSource]
    labels: ClassVar[tuple[str, ...]] = ()
    """The closed set of answers of a classification, in the field's order."""

    original: ClassVar[tuple[str, ...]] = ()
    """Columns of the makers' own release, where the task reads its rows too and they are not those of the hub."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    @abstractmethod
    def example(self, row: Row, index: int) -> Example | None:
        """Make the example of one row; ``None`` leaves the row out (an unlabelled one).

        Args:
            row: the row.
            index: its place in its part, for the example's id.

        Raises:
            DataError: the row breaks the dataset's rules, such as a label that is not in the set.
        """

    def examples(self, split: Split, *, limit: int | None, seed: int) -> Iterator[Example]:
        """Yield the examples of a split in a seeded order; training goes round again when `limit` exceeds the rows.

        A task that is only scored has no rows that were seen.

        Raises:
            DataError: the split has no rows.
        """
        rows = self.rows("eval" if split == "eval" else "train")
        if not len(rows) and split == "seen":
            return iter(())
        if not len(rows):
            raise errors.DataError(f"task {self.card.name}: the {split} split has no rows; check its source")
        rounds = count() if split == "train" and limit is not None else range(1)
        return islice((example for number in rounds for example in self._round(rows, split, seed, number)), limit)

    def _round(self, rows: Sequence[Row], split: Split, seed: int, number: int) -> Iterator[Example]:
        order = random.Random(f"{self.card.name}/{split}/{seed}/{number}").sample(range(len(rows)), len(rows))
        return (example for index in order if (example := self.example(rows[index], index)) is not None)

    def sources(self, split: Split) -> Iterator[tuple[str, str]]:
        """The id of each example of a split and what its row says, in the order of the rows."""
        for index, row in enumerate(self.rows("eval" if split == "eval" else "train")):
            if (example := self.example(row, index)) is not None:
                yield example.id, source_text(row, example)

    def score(self, example: Example, reply: str) -> Score:
        """Exact match; lenient forgives case, white space, punctuation at the ends and what follows the answer.

        That is a next question, as base models go on to write; thinking before the answer is left out.
        """
        strict = same_text(reply, example.gold)
        answer = _bare(before_next_question(settle(reply) or ""))
        return Score(strict, strict or answer == _bare(plain(example.gold)), parsed=bool(answer), answer=answer or None)

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The most frequent right answer, and the prompt itself: a copied passage shares words with any answer."""
        echoed = [example.prompt or "" for example in examples]
        return {"most frequent answer": constant_answer(examples), "echo the prompt": echoed}


def source_text(row: Row, example: Example) -> str:
    """What a row says, without how it is asked: its cells that stand in the prompt, but for the answer.

    Where no cell stands there word for word, the prompt itself with the turns before it, or the text of a corpus.
    """
    asked = asked_text(example)
    if example.prompt is None:
        return asked
    cells = [cell for value in row.values() for cell in _cells(value) if cell != example.gold.strip() and cell in asked]
    said = [cell for cell in dict.fromkeys(cells) if len(cell) >= LEAST_LETTERS] or list(dict.fromkeys(cells))
    return "\n".join(said) or asked


def asked_text(example: Example) -> str:
    """All that is said before the answer, instructions of the system aside; the text itself of a corpus."""
    if example.prompt is None:
        return example.gold
    return "\n".join(
        (*(turn.content for turn in example.history if turn.role not in ("system", "tools")), example.prompt)
    )


def _cells(value: object) -> Iterator[str]:
    """All texts in a cell, white space around them left off."""
    if isinstance(value, str):
        if cell := value.strip():
            yield cell
    elif isinstance(value, Message):
        yield from _cells(value.content)
    elif isinstance(value, Mapping):
        yield from (cell for part in value.values() for cell in _cells(part))
    elif isinstance(value, list | tuple):
        yield from (cell for part in value for cell in _cells(part))


def same_text(reply: str, gold: str) -> bool:
    """Whether a reply is the right answer and nothing more, whatever its outer white space and Unicode form (NFC)."""
    return normalize("NFC", reply.strip()) == normalize("NFC", gold.strip())


def _bare(text: str) -> str:
    return " ".join(text.strip(TERMINAL).casefold().split())


def is_held_out(text: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a row is held out, decided by its text alone, so that equal rows are never on both sides.

    Args:
        text: what identifies the row.
        share: probability of being held out, in (0, 1).
    """
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
