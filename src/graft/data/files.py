"""Rows of local files and folders, for training and for scoring."""

from __future__ import annotations

import difflib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from graft.data.encodings import SHOWN
from graft.data.readers import Unit, is_table, read_file
from graft.data.rows import JoinedTable, PartTable, Table
from graft.errors import DataError
from graft.tasks.dataset import Row, is_held_out


def whole_row(row: Row) -> str:
    """All of a row as text, by which it is held out or not."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)


class FileRows:
    """The rows of ``train`` and ``eval``; each file is read when its rows are first asked for.

    See `file_rows` for the arguments.
    """

    def __init__(
        self,
        train: Path | None,
        eval: Path | None,
        read: Callable[[Path], Table],
        held_out: float,
        key: Callable[[Row], str],
    ) -> None:
        self.paths = {"train": train, "eval": eval}
        self.read = read
        self.held_out = held_out
        self.key = key
        self.parts: dict[str, Table] = {}

    def __call__(self, part: str) -> Sequence[Row]:
        """The rows of a part; none where the recipe names no file for it.

        Raises:
            DataError: a file is missing, empty or holds bad lines.
            MissingExtra: a format needs a package that is not installed.
        """
        if part not in self.parts:
            path = self.paths[part]
            if path is not None and (part == "eval" or self.paths["eval"] is not None):
                self.parts[part] = self.read(path)
            elif self.paths["eval"] is not None or self.paths["train"] is None:
                return ()
            else:
                self._divide(self.paths["train"])
        return self.parts[part]

    def table(self) -> Table:
        """The rows that are trained, or those that are scored where there are no others."""
        self("train" if self.paths["train"] else "eval")
        return self.parts["train" if self.paths["train"] else "eval"]

    def given(self) -> Iterator[Row]:
        """The rows of the file that is trained on, the share that is held out of it too; else those that are scored."""
        parts = ("train", "eval") if self.paths["train"] and not self.paths["eval"] else ("train",)
        for part in parts if self.paths["train"] else ("eval",):
            yield from self(part)

    def _divide(self, path: Path) -> None:
        table = self.read(path)
        sides: dict[str, array[int]] = {"train": array("q"), "eval": array("q")}
        for index in range(len(table)):
            sides["eval" if is_held_out(self.key(table[index]), self.held_out) else "train"].append(index)
        for part, chosen in sides.items():
            if not chosen:
                raise DataError(
                    f"{path}: of {len(table):,} rows, held_out {self.held_out:g} leaves none to {part}; name an eval "
                    "file, or change held_out"
                )
            self.parts[part] = PartTable(table, chosen)


def file_rows(
    train: Path | None,
    eval: Path | None,
    *,
    held_out: float,
    encoding: str | None = None,
    header: Sequence[str] = (),
    unit: Unit = "auto",
    key: Callable[[Row], str] = whole_row,
) -> FileRows:
    """The rows of local files: CSV, TSV, JSON, JSONL (each also .gz), Parquet, text, and folders of them.

    Args:
        train: file or folder with the training rows; ``None`` for a task that is only scored.
        eval: file or folder with the held-out rows; without it a share of the training rows is held out.
        held_out: that share, in (0, 1).
        encoding: encoding of text; found out when ``None``.
        header: column names of CSV and TSV files whose first line is a row already.
        unit: what a row of a text file is.
        key: what identifies a row when rows are held out; equal keys are never on both sides.

    Returns:
        A function of ``train`` or ``eval`` that gives their rows.
    """
    return FileRows(
        train, eval, lambda path: read_rows(path, encoding=encoding, header=header, unit=unit), held_out, key
    )


def read_rows(path: Path, *, encoding: str | None = None, header: Sequence[str] = (), unit: Unit = "auto") -> Table:
    """Read a file, or all files of a folder and the folders inside it.

    A folder with tables gives their rows, which must have the same columns; any other folder gives one row per text
    file unless `unit` says otherwise, with the name of the folder that it lies in as its label.

    Raises:
        DataError: it is missing, empty, or a file breaks a rule.
        MissingExtra: a format needs a package that is not installed.
    """
    path = path.expanduser()
    if path.is_file():
        return read_file(path, encoding=encoding, header=header, unit=unit)
    if not path.is_dir():
        raise DataError(_missing(path))
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(name.startswith(".") for name in file.relative_to(path).parts)
    )
    if not files:
        raise DataError(f"{path}: the folder holds no files; put rows there or name another")
    tables = [file for file in files if is_table(file)]
    if not tables and unit == "auto":
        unit = "file"
    chosen = tables or files
    read = [read_file(file, encoding=encoding, header=header, unit=unit) for file in chosen]
    for file, table in zip(chosen, read, strict=True):
        if set(table.columns) != set(read[0].columns):
            raise DataError(
                f"{path}: the files of a folder must have the same columns, but {chosen[0].name} has "
                f"{', '.join(read[0].columns)} and {file.name} has {', '.join(table.columns)}"
            )
    return JoinedTable(read, _told(path, read, sorted(set(files) - set(chosen))))


def _missing(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"{path}: there is no such file, and no folder {parent}; check the path"
    names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    there = f"In that folder: {', '.join(names[:SHOWN])}{' …' if len(names) > SHOWN else ''}." if names else ""
    return f"{path}: there is no such file. {f'Did you mean {near[0]}? ' if near else ''}{there}".rstrip()


def _told(path: Path, read: Sequence[Table], left: Sequence[Path]) -> str:
    shown = "; ".join(table.words for table in read[:3])
    more = f"; and {len(read) - 3:,} more files" if len(read) > 3 else ""
    beside = f"; left out: {', '.join(file.name for file in left[:SHOWN])}{' …' if len(left) > SHOWN else ''}"
    return f"{path.name}: {sum(map(len, read)):,} rows ({shown}{more}{beside if left else ''})"
