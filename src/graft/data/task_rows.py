"""The rows of a task of one's own, each looked at once: what is bad, what is left out, and what is not used."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from graft.data.encodings import SHOWN
from graft.data.formats import Shape, is_trained, odd_switches, turns, unused_fields
from graft.data.rows import FileRow
from graft.errors import DataError
from graft.tasks.custom import Conversations, TaskSpec, column, group_of, place_of
from graft.tasks.dataset import DatasetTask, Row


class BadRows:
    """Rows that cannot be used, for one error that shows the first ones and counts all."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, error: DataError) -> None:
        """Note a row."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(str(error))

    def require_none(self, rows: int) -> None:
        """Refuse the rows if one was bad.

        Raises:
            DataError: with the messages of the first ones.
        """
        if self.count:
            first, *further = self.first
            next_ones = "; ".join((f"{self.count:,} of {rows:,} rows cannot be used", *further))
            raise DataError(first if self.count == 1 else f"{first} ({next_ones})")


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in the rows of one part.

    Attributes:
        golds: examples by their right answer, where that is one of a closed set.
        left_out: rows that are no example, such as unlabelled ones.
    """

    golds: Counter[str]
    left_out: int


def look(task: DatasetTask, rows: Sequence[Row]) -> Looked:
    """Make every example once, so that all bad rows are told together and none stops a training later.

    Raises:
        DataError: rows cannot be used.
    """
    bad, golds, left_out = BadRows(), Counter[str](), 0
    for index, row in enumerate(rows):
        try:
            example = task.example(row, index)
        except DataError as error:
            bad.add(error)
            continue
        left_out += example is None
        if example is not None and example.options:
            golds[example.gold] += 1
    bad.require_none(len(rows))
    return Looked(golds, left_out)


def not_used(columns: Sequence[str], used: Sequence[str], what: str = "columns") -> Iterator[str]:
    """The one sentence about what is there and plays no part; none where everything does."""
    known = {name.partition(".")[0] for name in used}
    if left := [name for name in columns if name not in known and name not in used]:
        yield f"{what} that are not used: {', '.join(left)}"


def one_sided(looked: Mapping[str, Looked], labels: Sequence[str]) -> Iterator[str]:
    """Labels that no training row or no held-out row has; each is a label nevertheless."""
    names = {"train": "training", "eval": "held-out"}
    for part, found in looked.items():
        if len(looked) > 1 and (missing := [label for label in labels if not found.golds[label]]):
            yield f"labels that no {names[part]} row has: {', '.join(missing)}"


class RenamedRows(Sequence[Row]):  # type: ignore[type-arg, unused-ignore]
    """Rows with further names for some of their columns."""

    def __init__(self, rows: Sequence[Row], renamed: Mapping[str, str]) -> None:
        self.rows = rows
        self.renamed = renamed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        row = self.rows[index]
        named = {wanted: column(row, there) for wanted, there in self.renamed.items()}
        return FileRow({**row, **named}, place_of(row, index))


class TurnRows(Conversations):
    """The answers of rows, one after the other; each takes 16 bytes of memory.

    Args:
        rows: the rows.
        shape: what a row looks like.
        spec: what the recipe says.

    Attributes:
        unused: fields of turns that play no part.
        odd: columns that are called like a mark for rows that are not trained, and hold something else.
        left_out: rows that say of themselves that they are not to be trained.
        silent: answers that call tools, which the chat template does not write.

    Raises:
        DataError: rows break their shape.
    """

    def __init__(self, rows: Sequence[Row], shape: Shape, spec: TaskSpec) -> None:
        self.rows = rows
        self.shape = shape
        self.spec = spec
        self.places, self.numbers = array("q"), array("q")
        self.unused: dict[str, None] = {}
        self.odd: dict[str, None] = {}
        self.left_out = self.silent = 0
        bad = BadRows()
        for place, row in enumerate(rows):
            try:
                self._add(place, row)
            except DataError as error:
                bad.add(error)
        bad.require_none(len(rows))

    def _add(self, place: int, row: Row) -> None:
        found = turns(row, self.shape, self.spec.columns)
        self.unused.update(dict.fromkeys(unused_fields(row, self.shape, self.spec.columns)))
        self.odd.update(dict.fromkeys(odd_switches(row, self.shape, self.spec.columns)))
        if not is_trained(row, self.shape, self.spec.columns):
            self.left_out += 1
            return
        for number, turn in enumerate(found):
            if turn.calls and not self.spec.trains_calls:
                self.silent += 1
                continue
            self.places.append(place)
            self.numbers.append(number)

    def __len__(self) -> int:
        return len(self.places)

    def blocks(self) -> list[range]:
        """The rows of each conversation."""
        starts = [index for index in range(len(self)) if not index or self.places[index] != self.places[index - 1]]
        return [range(start, end) for start, end in pairwise([*starts, len(self)])]

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        place, number = self.places[index], self.numbers[index]
        row, name = self.rows[place], self.spec.group
        turn = turns(row, self.shape, self.spec.columns)[number]
        values = {
            "prompt": turn.prompt,
            "answer": turn.answer,
            "reasoning": turn.reasoning,
            "history": turn.history,
            "asker": turn.asker,
            "asked": turn.asked,
            "calls": turn.calls,
            "conversation": place,
            "turn": number,
            "group": None if name is None else group_of(row, self.spec.columns.get(name, name)),
        }
        return FileRow(values, place_of(row, place))
