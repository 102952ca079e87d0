"""Token rows on disk: a million of them are read like a list and take no memory.

A table is a folder of three arrays: ``ids.bin`` (int32, all rows end to end), ``ends.bin`` (int64, where each row ends)
and ``prompts.bin`` (int32, how many ids of each row are prompt).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from graft.errors import RunError
from graft.types import TokenRow

IDS, ENDS, PROMPTS = "ids.bin", "ends.bin", "prompts.bin"

BUFFERED = 1 << 18
"""Ids held in memory before they are written."""


class TokenTable(Sequence[TokenRow]):
    """Rows of a folder that `TableWriter` wrote, mapped into memory and read one by one.

    Args:
        folder: holds the three arrays.

    Raises:
        RunError: an array is missing, or they do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._ids = _mapped(folder / IDS, np.int32)
            self._ends = _mapped(folder / ENDS, np.int64)
            self._prompts = _mapped(folder / PROMPTS, np.int32)
        except (OSError, ValueError) as error:
            raise RunError(
                f"the token table {folder} is damaged: {error}; delete that folder, it is made again"
            ) from error
        if len(self._ends) != len(self._prompts) or (len(self._ends) and self._ends[-1] != len(self._ids)):
            raise RunError(f"the token table {folder} is damaged: its arrays do not fit; delete that folder")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> TokenRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[TokenRow]: ...

    def __getitem__(self, index: int | slice) -> TokenRow | list[TokenRow]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = int(self._ends[place - 1]) if place else 0
        ids = self._ids[start : int(self._ends[place])].tolist()
        cut = int(self._prompts[place])
        return TokenRow(tuple(ids[:cut]), tuple(ids[cut:]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, shape (rows,)."""
        return np.diff(self._ends, prepend=0)

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return len(self._ids)


class TableWriter:
    """Writes a table row by row into a folder that exists; use it as a context.

    Args:
        folder: an empty folder. The table can be read once the context has ended.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = 0
        self.tokens = 0
        self._files: list[BinaryIO] = []
        self._waiting = (array("i"), array("q"), array("i"))

    def __enter__(self) -> TableWriter:
        self._files = [(self.folder / name).open("wb") for name in (IDS, ENDS, PROMPTS)]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._flush()
        for file in self._files:
            file.close()

    def append(self, row: Sequence[int], prompt: int) -> None:
        """Add a row: all its ids, and the number of them that are prompt."""
        ids, ends, prompts = self._waiting
        ids.extend(row)
        self.tokens += len(row)
        self.rows += 1
        ends.append(self.tokens)
        prompts.append(prompt)
        if len(ids) >= BUFFERED:
            self._flush()

    def _flush(self) -> None:
        for file, values in zip(self._files, self._waiting, strict=True):
            values.tofile(file)
            del values[:]


def _mapped(path: Path, kind: type[np.generic]) -> NDArray[np.generic]:
    if path.stat().st_size == 0:  # nothing can be mapped
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r")
