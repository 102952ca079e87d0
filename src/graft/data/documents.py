"""Text files as documents, read from front to back: a file of any size takes the memory of one document."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from graft.data.encodings import open_text
from graft.data.file_form import Unit
from graft.data.files import folder_files, named
from graft.data.readers import is_table
from graft.errors import DataError
from graft.tasks.custom import Paths
from graft.tasks.stream import LONGEST

LOOKED_AT = 10_000
"""Lines that are looked at to tell whether a document is a line or a paragraph."""


def text_files(paths: Paths) -> list[Path]:
    """The files that are named and those of the folders that are; hidden ones are left out.

    Raises:
        DataError: there is nothing of a name, or a folder holds no files.
    """
    return [file for place in named(paths) for file in (folder_files(place) if place.is_dir() else [place])]


def is_text(paths: Paths) -> bool:
    """Whether every file is plain text and no table."""
    return not any(is_table(file) for file in text_files(paths))


def text_documents(paths: Paths, *, encoding: str | None = None, unit: Unit = "auto") -> Iterator[str]:
    """Yield the documents of text files one by one, without white space around them.

    Args:
        paths: files and folders.
        encoding: their encoding; found out when ``None``.
        unit: what a document is. ``auto`` takes the file where there are several, and in a single file the paragraph
            or, where there are no blank lines at its beginning, the line. A document of more than `LONGEST` characters
            is cut at the next end of a line into documents of their own.

    Raises:
        DataError: a file is missing, empty or not in its encoding.
    """
    places = named(paths)
    if unit == "auto" and (len(places) > 1 or places[0].is_dir()):
        unit = "file"
    for file in text_files(paths):
        chosen = _unit(file, encoding) if unit == "auto" else unit
        yield from _documents(_lines(file, encoding), chosen)


def _lines(path: Path, encoding: str | None) -> Iterator[str]:
    """The lines of a file, those that never end in parts."""
    text = open_text(path, encoding)
    text.file.seek(text.start)
    number = 0
    with io.TextIOWrapper(text.file, encoding="utf-8", newline="\n") as lines:
        try:
            while line := lines.readline(LONGEST):
                number += 1
                yield line
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: byte 0x{error.object[error.start]:02x} after line {number:,} is not {text.encoding}; mend "
                "the file or set encoding"
            ) from None


def _unit(path: Path, encoding: str | None) -> Unit:
    """Paragraphs where blank lines stand between lines, as far as is looked at; else lines."""
    texts = [bool(line.strip()) for line in islice(_lines(path, encoding), LOOKED_AT)]
    if not any(texts):
        raise DataError(f"{path}: the file is empty or begins with {len(texts):,} blank lines; give one with text")
    last = len(texts) - 1 - texts[::-1].index(True)
    return "paragraph" if False in texts[texts.index(True) : last] else "line"


def _documents(lines: Iterable[str], unit: Unit) -> Iterator[str]:
    waiting: list[str] = []
    size = 0
    for line in lines:
        blank = line.isspace()
        if not blank or (unit == "file" and waiting):
            waiting.append(line)
            size += len(line)
        if waiting and (unit == "line" or (unit == "paragraph" and blank) or size >= LONGEST):
            yield "".join(waiting).strip()
            waiting, size = [], 0
    if document := "".join(waiting).strip():
        yield document
