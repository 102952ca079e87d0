"""Rows of local files and folders, for training and for scoring."""

from __future__ import annotations

import glob
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from graft.data.encodings import SHOWN
from graft.data.file_form import FOUND_OUT, FileForm
from graft.data.nested import ExplodedTable
from graft.data.readers import is_table, read_file
from graft.data.rows import JoinedTable, PartTable, Table
from graft.errors import DataError, close_match
from graft.tasks.custom import Paths
from graft.tasks.dataset import Row, is_held_out


def told_paths(paths: Paths) -> str:
    """Paths for people."""
    return ", ".join(map(str, paths)) if isinstance(paths, tuple) else str(paths)


def whole_row(row: Row) -> str:
    """All of a row as text, by which it is held out or not."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)


class FileRows:
    """The rows of ``train`` and ``eval``; each file is read when its rows are first asked for.

    See `file_rows` for the arguments.
    """

    def __init__(
        self,
        train: Paths | None,
        eval: Paths | None,
        read: Callable[[Paths], Table],
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
            paths = self.paths[part]
            if paths is not None and (part == "eval" or self.paths["eval"] is not None):
                self.parts[part] = self.read(paths)
            elif self.paths["eval"] is not None or self.paths["train"] is None:
                return ()
            else:
                self._divide(self.paths["train"])
        return self.parts[part]

    def table(self) -> Table:
        """The rows that are trained, or those that are scored where there are no others."""
        self("train" if self.paths["train"] else "eval")
        return self.parts["train" if self.paths["train"] else "eval"]

    def given(self) -> Iterator[Iterable[Row]]:
        """The rows of each file that is named, those that are held out of it included."""
        divided = self.paths["train"] is not None and self.paths["eval"] is None
        for part in ("train", "eval"):
            if self.paths[part] is not None:
                yield chain(self("train"), self("eval")) if divided else self(part)

    def _divide(self, paths: Paths) -> None:
        table = self.read(paths)
        sides: dict[str, array[int]] = {"train": array("q"), "eval": array("q")}
        for index, row in enumerate(table):
            try:
                key = self.key(row)
            except DataError:
                key = whole_row(row)  # bad rows are told together, once all are divided
            sides["eval" if is_held_out(key, self.held_out) else "train"].append(index)
        for part, chosen in sides.items():
            if not chosen:
                raise DataError(
                    f"{told_paths(paths)}: of {len(table):,} rows, held_out {self.held_out:g} leaves none to {part}; "
                    "name an eval file, or change held_out"
                )
            self.parts[part] = PartTable(table, chosen)


def file_rows(
    train: Paths | None,
    eval: Paths | None,
    *,
    held_out: float,
    form: FileForm = FOUND_OUT,
    key: Callable[[Row], str] = whole_row,
) -> FileRows:
    """The rows of local files and of folders of them.

    Args:
        train: files or folders with the training rows; ``None`` for a task that is only scored.
        eval: files or folders with the held-out rows; without any a share of the training rows is held out.
        held_out: that share, in (0, 1).
        form: how the files are read.
        key: what identifies a row when rows are held out; equal keys are never on both sides.

    Returns:
        A function of ``train`` or ``eval`` that gives their rows.
    """
    return FileRows(train, eval, lambda paths: read_rows(paths, form), held_out, key)


def named(paths: Paths) -> list[Path]:
    """The files and folders that a setting names, patterns such as ``rows/*.csv`` spelled out.

    Raises:
        DataError: one is missing, or nothing fits a pattern.
    """
    found: list[Path] = []
    for path in paths if isinstance(paths, tuple) else (paths,):
        path = path.expanduser()
        if path.exists():
            found.append(path)
        elif glob.has_magic(str(path)):
            fitting = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  (Path.glob takes no absolute one)
            if not fitting:
                raise DataError(f"{path}: no file fits this pattern; check the path")
            found += map(Path, fitting)
        else:
            raise DataError(_missing(path))
    return found


def read_rows(paths: Paths, form: FileForm = FOUND_OUT) -> Table:
    """Read files, and all files of folders and the folders inside them.

    Several files with tables among them give the rows of these, which must have the same columns. Several text files
    are one row each unless the form says otherwise, and where they lie in folders these are their labels.

    Raises:
        DataError: one is missing, empty, or breaks a rule.
        MissingExtra: a format needs a package that is not installed.
    """
    places = named(paths)
    files = [file for place in places for file in (folder_files(place) if place.is_dir() else [place])]
    alone = len(places) == 1 and not places[0].is_dir()
    table = read_file(files[0], form) if alone else _joined(places, files, form)
    return ExplodedTable(table, form.explode) if form.explode is not None else table


def folder_files(folder: Path) -> list[Path]:
    """The files of a folder and of the folders inside it, by name; hidden ones are left out.

    Raises:
        DataError: there are none.
    """
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(name.startswith(".") for name in file.relative_to(folder).parts)
    )
    if not files:
        raise DataError(f"{folder}: the folder holds no files; put rows there or name another")
    return files


def _joined(places: Sequence[Path], files: Sequence[Path], form: FileForm) -> Table:
    """The rows of several files; tables alone where there are any, and no files beside the folders that are labels."""
    tables = [file for file in files if is_table(file, form)]
    chosen = [file for file in tables if not _is_about(file, tables)] or list(files)
    folders = {file.parent for file in files}
    deeper = {folder for folder in folders if any(place in folder.parents for place in places)}
    labelled = not tables and (len(folders) > 1 or bool(deeper))
    if labelled and form.by_folder and deeper:
        chosen = [file for file in chosen if file.parent in deeper]
    if not tables and form.unit == "auto":
        form = replace(form, unit="file")
    read = [read_file(file, form, file.absolute().parent.name if labelled else None) for file in chosen]
    for file, table in zip(chosen, read, strict=True):
        if set(table.columns) != set(read[0].columns):
            raise DataError(
                f"{places[0]}: files that are read together must have the same columns, but {chosen[0].name} has "
                f"{', '.join(read[0].columns)} and {file.name} has {', '.join(table.columns)}"
            )
    name = places[0].name if len(places) == 1 else f"{len(places):,} paths"
    return JoinedTable(read, _told(name, read, sorted(set(files) - set(chosen))))


def _is_about(file: Path, tables: Sequence[Path]) -> bool:
    """Whether a file only says what lies beside it, in a folder that `datasets` saved."""
    return file.name in ("dataset_info.json", "state.json") and any(other.suffix == ".arrow" for other in tables)


def _missing(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"{path}: there is no such file, and no folder {parent}; check the path"
    names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    near = close_match(path.name, names)
    there = f"In that folder: {', '.join(names[:SHOWN])}{' …' if len(names) > SHOWN else ''}." if names else ""
    return f"{path}: there is no such file. {f'Did you mean {near}? ' if near else ''}{there}".rstrip()


def _told(name: str, read: Sequence[Table], left: Sequence[Path]) -> str:
    shown = "; ".join(table.words for table in read[:3])
    more = f"; and {len(read) - 3:,} more files" if len(read) > 3 else ""
    beside = f"; left out: {', '.join(file.name for file in left[:SHOWN])}{' …' if len(left) > SHOWN else ''}"
    return f"{name}: {sum(map(len, read)):,} rows ({shown}{more}{beside if left else ''})"
