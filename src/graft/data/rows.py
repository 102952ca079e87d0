"""Rows of files as sequences: parsed when they are asked for, so that a million of them take a few megabytes."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, overload

from graft.errors import DataError
from graft.tasks.dataset import Row

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
        parse: makes a row of its bytes.
        columns: names of the columns.
        words: what was read and how.
        name: the file's name.
    """

    def __init__(
        self,
        file: IO[bytes],
        starts: array[int],
        lines: array[int],
        parse: Callable[[bytes], Row],
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
        start = self.starts[index]
        data = os.pread(self.file.fileno(), self.starts[index + 1] - start, start)
        return FileRow(self.parse(data), f"{self.name}, line {self.lines[index]}")


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
