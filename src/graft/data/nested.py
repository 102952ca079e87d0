"""Rows inside rows: the questions of paragraphs of articles, each made a row with the fields of what it lies in."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import Any

from graft.data.rows import FileRow, Table
from graft.errors import DataError, choices
from graft.tasks.custom import place_of
from graft.tasks.dataset import Row


class ExplodedTable(Table):
    """The entries of lists inside the rows of a table; each takes 8 bytes and 8 more for every list it lies in.

    A row has the fields of its entry and of all that it lies in: where a name is there more than once, the innermost
    counts. Under the name of a list stands the entry, so that ``{paragraphs.text}`` is always there too.

    Args:
        table: the rows that hold the lists.
        path: their names from the outside to the inside: ``paragraphs[].questions[]``.

    Raises:
        DataError: a row has no such list, or all of them are empty.
    """

    def __init__(self, table: Table, path: str) -> None:
        self.table = table
        self.path = tuple(path.removesuffix("[]").split("[]."))
        self.places = array("q")
        columns: dict[str, None] = {}
        empty = 0
        for place in range(len(table)):
            before = len(self.places)
            for numbers, row in self._entries(table[place]):
                self.places.extend((place, *numbers))
                if row.keys() != columns.keys():
                    columns.update(dict.fromkeys(row))
            empty += len(self.places) == before
        left = f", {empty:,} rows without any are left out" if empty else ""
        super().__init__(tuple(columns), f"{table.words}, as {len(self):,} {self.path[-1]}{left}")
        if not len(self):
            raise DataError(f"{table.words}: explode is {path}, but every such list is empty; name another")

    def __len__(self) -> int:
        return len(self.places) // (1 + len(self.path))

    def row(self, index: int) -> Row:
        """The entry with the fields of what it lies in."""
        width = 1 + len(self.path)
        place, *numbers = self.places[index * width : (index + 1) * width]
        outer = self.table[place]
        where = ", ".join(f"{name} {number + 1}" for name, number in zip(self.path, numbers, strict=True))
        entry = next(row for at, row in self._entries(outer) if at == tuple(numbers))
        return FileRow(entry, f"{place_of(outer)}, {where}")

    def _entries(self, row: Row) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
        """Every entry of the innermost lists of a row, with its place in each list."""
        yield from self._inside(row, dict(row), self.path, place_of(row))

    def _inside(
        self, holder: Mapping[str, Any], flat: dict[str, Any], path: tuple[str, ...], where: str
    ) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
        if not path:
            yield (), flat
            return
        name, rest = path[0], path[1:]
        if name not in holder:
            raise DataError(f"{where}: explode names {name}, but there is no such list. {choices(name, holder)}")
        entries = [] if holder[name] is None else holder[name]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{where}: explode names {name}, but that must be a list of objects; got {entries!r:.60}")
        for number, entry in enumerate(entries):
            inner = f"{where}, {name} {number + 1}"
            for numbers, row in self._inside(entry, {**flat, name: entry, **entry}, rest, inner):
                yield (number, *numbers), row
