"""Rows of files as sequences: parsed when they are asked for, so that a million of them take a few megabytes."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, overload

from graft.errors import DataError
from graft.tasks.dataset import Row

TOGETHER = 256
"""Most rows of a file that are read and parsed together."""

BYTES_TOGETHER = 1 << 20
"""Bytes after which no further row is."""

MOST_COLUMNS = 10_000
"""Columns of a table; more are a table that lies on its side, and slow down all that looks names up."""


def repeated(names: Sequence[str]) -> list[str]:
    """The names that stand there more than once, in alphabetical order."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


class FileRow(dict[str, Any]):
    """A row that knows where it stands: ``place`` is for people, such as ``reviews.csv, line 18``."""

    __slots__ = ("place",)

    def __init__(self, values: Row, place: str) -> None:
        super().__init__(values)
        self.place = place


class Table(Sequence[Row]):
    """Rows by index.

    Args:
        columns: names of the columns, of all rows together.
        words: what was read and how, for people.

    Raises:
        DataError: there are more than `MOST_COLUMNS`.
    """

    def __init__(self, columns: tuple[str, ...], words: str) -> None:
        if len(columns) > MOST_COLUMNS:
            raise DataError(
                f"{words}: {len(columns):,} columns, but at most {MOST_COLUMNS:,} are read; if rows and columns are "
                "swapped, turn the table"
            )
        self.columns = columns
        self.words = words

    def row(self, index: int) -> Row:
        """The row at an index in [0, len)."""
        raise NotImplementedError

    def each(self, places: Sequence[int]) -> Iterator[Row]:
        """The rows at these indices, in this order."""
        return map(self.row, places)

    def __iter__(self) -> Iterator[Row]:
        return self.each(range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self.row(place) for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.row(place)


def told_table(path: Path, form: str, encoding: str, count: int) -> str:
    """What was read, for people: ``a.csv: CSV, UTF-8, 3 rows``."""
    return f"{path.name}: {form}, {f'{encoding}, ' if encoding else ''}{count:,} row{'' if count == 1 else 's'}"


class ListTable(Table):
    """Rows that are in memory."""

    def __init__(self, rows: Sequence[Row], columns: tuple[str, ...], words: str, name: str) -> None:
        super().__init__(columns, words)
        self.rows = rows
        self.name = name

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> Row:
        """The row with its place."""
        return FileRow(self.rows[index], f"{self.name}, row {index + 1}")


class OffsetTable(Table):
    """Rows that stay in their file; each takes 16 bytes of memory.

    Args:
        file: a file in UTF-8; it stays open.
        starts: the first byte of every row, and at the end that after the last one.
        lines: the line on which every row begins, counted from 1.
        parse: makes rows of the bytes of each.
        columns: names of the columns.
        words: what was read and how.
        name: the file's name.
    """

    def __init__(
        self,
        file: IO[bytes],
        starts: array[int],
        lines: array[int],
        parse: Callable[[Sequence[bytes]], Iterable[Row]],
        columns: tuple[str, ...],
        words: str,
        name: str,
    ) -> None:
        super().__init__(columns, words)
        self.file = file
        self.starts = starts
        self.lines = lines
        self.parse = parse
        self.name = name

    def __len__(self) -> int:
        return len(self.lines)

    def row(self, index: int) -> Row:
        """Read and parse one row; several threads or processes may do so at once."""
        (row,) = self.parse([self._read(index, index)])
        return self._placed(row, index)

    def each(self, places: Sequence[int]) -> Iterator[Row]:
        """Read and parse neighbours together, which takes half of the time that they take one by one."""
        for chosen in self._blocks(places):
            yield from map(self._placed, self.parse(self._bytes(chosen)), chosen)

    def _placed(self, row: Row, index: int) -> Row:
        return FileRow(row, f"{self.name}, line {self.lines[index]}")

    def _blocks(self, places: Sequence[int]) -> Iterator[list[int]]:
        chosen: list[int] = []
        size = 0
        for place in places:
            chosen.append(place)
            size += self.starts[place + 1] - self.starts[place]
            if len(chosen) == TOGETHER or size > BYTES_TOGETHER:
                yield chosen
                chosen, size = [], 0
        if chosen:
            yield chosen

    def _bytes(self, places: Sequence[int]) -> list[bytes]:
        """The bytes of each row; of neighbours by one look at the file."""
        starts, first, last = self.starts, min(places), max(places)
        if last - first >= 2 * len(places) or starts[last + 1] - starts[first] > 2 * BYTES_TOGETHER:
            return [self._read(place, place) for place in places]
        data, begin = self._read(first, last), starts[first]
        return [data[starts[place] - begin : starts[place + 1] - begin] for place in places]

    def _read(self, first: int, last: int) -> bytes:
        start = self.starts[first]
        return os.pread(self.file.fileno(), self.starts[last + 1] - start, start)


class JoinedTable(Table):
    """The rows of several files, one after the other."""

    def __init__(self, tables: Sequence[Table], words: str) -> None:
        super().__init__(tables[0].columns, words)
        self.tables = tables
        self.ends = list(accumulate(len(table) for table in tables))

    def __len__(self) -> int:
        return self.ends[-1]

    def row(self, index: int) -> Row:
        """The row in its own table."""
        table = bisect_right(self.ends, index)
        return self.tables[table].row(index - (self.ends[table - 1] if table else 0))


class PartTable(Table):
    """Some rows of a table."""

    def __init__(self, table: Table, chosen: array[int]) -> None:
        super().__init__(table.columns, table.words)
        self.table = table
        self.chosen = chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def row(self, index: int) -> Row:
        """The chosen row."""
        return self.table.row(self.chosen[index])

    def each(self, places: Sequence[int]) -> Iterator[Row]:
        """The chosen rows at these indices."""
        return self.table.each([self.chosen[place] for place in places])
