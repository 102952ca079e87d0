"""How the files of a task are read, as far as the recipe says; the rest is found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["auto", "file", "paragraph", "line"]


@dataclass(frozen=True, slots=True)
class FileForm:
    """How files are read.

    Attributes:
        encoding: of text; found out when ``None``.
        separator: one character between the columns of a line; found out when ``None``. Text files with one are tables.
        quote: the character around fields that hold separators, or ``none``; found out when ``None``.
        header: names of the columns where the first line is a row already.
        unit: what a row of a text file is.
        explode: lists in the rows whose entries are the rows that are meant, such as ``paragraphs[].questions[]``.
        by_folder: the folder of a text file is its label, so files beside the folders are left out.
    """

    encoding: str | None = None
    separator: str | None = None
    quote: str | None = None
    header: tuple[str, ...] = ()
    unit: Unit = "auto"
    explode: str | None = None
    by_folder: bool = False


FOUND_OUT = FileForm()
"""Nothing is said."""
