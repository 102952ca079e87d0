"""Columnar files, Parquet and Arrow, as rows that stay mapped into memory.

A Parquet file is unpacked to a temporary file in Arrow's stream format: unlike its file format that lets the values of
a categorical column change on the way.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from graft.data.rows import FileRow, Table, repeated, told_table
from graft.errors import DataError, MissingExtra
from graft.tasks.dataset import Row


class ArrowTable(Table):
    """Rows in Arrow's batches, mapped into memory."""

    def __init__(self, batches: Sequence[Any], columns: tuple[str, ...], words: str, name: str) -> None:
        super().__init__(columns, words)
        self.batches = batches
        self.name = name
        self.ends = list(accumulate(batch.num_rows for batch in batches))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def row(self, index: int) -> Row:
        """Unpack one row."""
        number = bisect_right(self.ends, index)
        place = index - (self.ends[number - 1] if number else 0)
        batch = self.batches[number]
        values = {name: batch.column(k)[place].as_py() for k, name in enumerate(self.columns)}
        return FileRow(values, f"{self.name}, row {index + 1}")


def read_parquet(path: Path) -> Table:
    """Read a Parquet file.

    Raises:
        DataError: the file is damaged or has no rows.
        MissingExtra: pyarrow is not installed.
    """
    arrow = _library("reading Parquet files")
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as packed, tempfile.TemporaryDirectory() as folder:
            unpacked = str(Path(folder) / "rows.arrow")
            with arrow.ipc.new_stream(unpacked, packed.schema_arrow) as out:
                for group in range(packed.num_row_groups):
                    for batch in packed.iter_batches(batch_size=8192, row_groups=[group]):
                        out.write_batch(batch)
            batches = list(arrow.ipc.open_stream(arrow.memory_map(unpacked)))  # it outlives its name
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: this Parquet file cannot be read ({error}); write it again") from error
    return _table(path, "Parquet", batches, packed.schema_arrow.names)


def read_arrow(path: Path) -> Table:
    """Read a file of Arrow: its file format, which is Feather's too, or its stream, which `datasets` saves.

    Raises:
        DataError: the file is damaged or has no rows.
        MissingExtra: pyarrow is not installed.
    """
    arrow = _library("reading Arrow files")
    try:
        mapped = arrow.memory_map(str(path))
        if mapped.read(6) == b"ARROW1":
            opened = arrow.ipc.open_file(mapped)
            batches = [opened.get_batch(number) for number in range(opened.num_record_batches)]
        else:
            mapped.seek(0)
            opened = arrow.ipc.open_stream(mapped)
            batches = list(opened)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: this Arrow file cannot be read ({error}); write it again") from error
    return _table(path, "Arrow", batches, opened.schema.names)


def _library(what: str) -> Any:
    try:
        import pyarrow as arrow
    except ImportError as error:
        raise MissingExtra(what, "data") from error
    return arrow


def _table(path: Path, form: str, batches: Sequence[Any], columns: Sequence[str]) -> Table:
    names = tuple(columns)
    if twice := repeated(names):
        raise DataError(f"{path}: the columns {', '.join(twice)} are there more than once; rename them")
    table = ArrowTable(batches, names, "", path.name)
    if not len(table):
        raise DataError(f"{path}: the file has columns ({', '.join(names)}) but no rows")
    table.words = told_table(path, form, "", len(table))
    return table
