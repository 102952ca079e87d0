"""Files with one row per line and columns between separators: CSV, TSV and their kin.

Quotes are a matter of the file: those of CSV (RFC 4180), or none at all, where a quotation mark is a letter like any
other. Where both readings fit, a file that would merge its lines or lose its marks is not read as quoted in silence.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.data.encodings import BadLines, OpenText, open_text, undecodable
from graft.data.file_form import FileForm
from graft.data.packed import inner_name
from graft.data.rows import OffsetTable, Table, repeated, told_table
from graft.errors import DataError
from graft.tasks.dataset import Row

MAX_FIELD = 1 << 24
"""Longest field in characters; a longer one means that a quote is not closed."""

csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))  # one setting per process; the default is 128 KiB

SEPARATORS = ",;\t"
"""Those that are found out, by the first line of a file."""

QUOTE = '"'


@dataclass(frozen=True, slots=True)
class Style:
    """How a line becomes fields.

    Attributes:
        separator: between two fields.
        quote: around fields; ``None`` for no quotes.
    """

    separator: str
    quote: str | None

    @property
    def words(self) -> str:
        """The style for people."""
        named = {",": "CSV", ";": "CSV separated by semicolons", "\t": "TSV"}
        known = named.get(self.separator, f"lines separated by {self.separator!r}")
        if self.separator in ",;":
            return known if self.quote else f"{known} without quotes"
        return f"{known} with quotes" if self.quote else known


def read_delimited(path: Path, form: FileForm) -> Table:
    """Read a file of lines with separators.

    A CSV file is comma-separated unless its first line has no comma but semicolons or tabs. Blank lines hold no row.

    Raises:
        DataError: the file is empty, its header is no header, lines are bad, or it is unclear whether it has quotes.
    """
    text = open_text(path, form.encoding)
    first = next((line for line in text.lines() if line.strip()), b"").decode("utf-8", "replace")
    if not first:
        raise DataError(f"{path}: the file is empty; give one with a header and rows")
    style = _style(path, text, first, form)
    problems = BadLines(path)
    records = _records(text, style, problems)
    names = form.header or _header(path, next(records, None), problems)
    starts, lines = array("q"), array("q")
    for start, line, fields in records if not form.header else _records(text, style, problems):
        if len(fields) != len(names):
            problems.add(line, f"{len(fields)} columns where the header has {len(names)}")
        starts.append(start)
        lines.append(line)
    problems.require_none()
    if not lines:
        raise DataError(f"{path}: there is a header ({', '.join(names)}) but no row under it")
    starts.append(text.file.seek(0, io.SEEK_END))

    def parse(rows: Sequence[bytes]) -> Iterator[Row]:
        records = filter(None, _reader([row.decode("utf-8") for row in rows], style))  # blank lines follow some rows
        return (dict(zip(names, fields, strict=True)) for fields in records)

    told = told_table(path, style.words, text.words, len(lines))
    return OffsetTable(text.file, starts, lines, parse, names, told, path.name)


def _style(path: Path, text: OpenText, first: str, form: FileForm) -> Style:
    usual = "\t" if inner_name(path).lower().endswith(".tsv") else ","
    found = usual if usual in first else next((mark for mark in SEPARATORS if mark in first), usual)
    separator = form.separator or found
    if form.quote is not None:
        return Style(separator, None if form.quote == "none" else form.quote)
    quoted, bare = Style(separator, QUOTE), Style(separator, None)
    if not any(QUOTE.encode() in raw for raw in text.lines()):
        return quoted if separator in ",;" else bare
    if not _is_even(path, text, bare):
        even = separator in ",;" or _is_even(path, text, quoted)
        return quoted if even else bare
    if separator not in ",;":
        return quoted if _is_even(path, text, quoted) and _needs_quotes(text, quoted) else bare
    if line := _first_merged(path, text, quoted):
        raise DataError(
            f"{path}: line {line}: a quoted field goes on over several lines, but every line has as many columns as "
            f"the header, so these may be rows of their own; set quote to '{QUOTE}' or to none"
        )
    return quoted


def _is_even(path: Path, text: OpenText, style: Style) -> bool:
    """Whether a style reads all of a file, every record with as many fields as the first."""
    problems, width = BadLines(path), 0
    for _, _, fields in _records(text, style, problems):
        width = width or len(fields)
        if problems.count or len(fields) != width:
            return False
    return not problems.count


def _needs_quotes(text: OpenText, quoted: Style) -> bool:
    """Whether the quotes of a file that reads evenly without them are quotes nevertheless.

    They are where a quoted field holds a doubled one, and where a column has them around every field below the header.
    """
    with_quotes: set[int] = set()
    without: set[int] = set()
    rows = (raw.decode("utf-8", "replace").rstrip("\r\n") for raw in text.lines() if not raw.isspace())
    next(rows)
    for row in rows:
        for number, field in enumerate(row.split(quoted.separator)):
            if len(field) > 1 and field[0] == field[-1] == QUOTE:
                if QUOTE * 2 in field[1:-1]:
                    return True
                with_quotes.add(number)
            elif field:
                without.add(number)
    return bool(with_quotes) and not with_quotes & without


def _first_merged(path: Path, text: OpenText, quoted: Style) -> int:
    """The first line of several that quotes make one record, of a file with more than one column; 0 for none."""
    for _, line, fields in _records(text, quoted, BadLines(path)):
        if len(fields) > 1 and any("\n" in field for field in fields):
            return line
    return 0


def _reader(lines: Any, style: Style) -> Any:
    if style.quote is None:
        return csv.reader(lines, delimiter=style.separator, quoting=csv.QUOTE_NONE)
    return csv.reader(_one_by_one(lines), delimiter=style.separator, quotechar=style.quote, strict=True)


def _one_by_one(lines: Any) -> Iterator[str]:
    """The reader wants lines, and a record may hold several."""
    for text in lines:
        yield from io.StringIO(text, newline="") if text.count("\n") > 1 else (text,)


def _records(text: OpenText, style: Style, problems: BadLines) -> Iterator[tuple[int, int, list[str]]]:
    """Every record with its first byte and line; what cannot be read is noted and passed over."""
    place = [text.start, 0]  # end of the last line that was read, and its number

    def lines() -> Iterator[str]:
        for raw in text.lines():
            place[0] += len(raw)
            place[1] += 1
            if b"\0" in raw:
                problems.add(place[1], "holds a NUL byte; is it text? For UTF-16 set encoding")
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError:
                problems.add(place[1], undecodable(raw))
                yield raw.decode("utf-8", "replace")

    reader = _reader(lines(), style)
    while True:
        start, line = place[0], place[1] + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(line, _csv_problem(error, place[1] - line))
            continue
        if fields:
            yield start, line, fields


def _csv_problem(error: csv.Error, more: int) -> str:
    said = str(error)
    if "unexpected end" in said or "field larger" in said:
        return f"a quote is opened and not closed within {more:,} more lines (set quote: none if quotes are letters)"
    return f"{said}; a quote inside a quoted field is written twice (or set quote: none)"


def _header(path: Path, record: tuple[int, int, list[str]] | None, problems: BadLines) -> tuple[str, ...]:
    if record is None:
        problems.require_none()
        raise DataError(f"{path}: the file is empty; give one with a header and rows")
    names = tuple(name.strip() or f"column {number}" for number, name in enumerate(record[2], 1))
    if twice := repeated(names):
        raise DataError(
            f"{path}: the header names {', '.join(twice)} more than once, so it is unclear which is meant; rename"
            " the columns, or name them in header if the first line is a row already"
        )
    return names
