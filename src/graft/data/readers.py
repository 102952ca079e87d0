"""Reading one file as rows: CSV, TSV, JSON, JSONL, Parquet and plain text.

Every line is looked at once before the first row is given, so that bad ones are reported together; after that the rows
of CSV, JSONL and text stay in their file.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from graft.data.encodings import BadLines, OpenText, open_text, undecodable
from graft.data.rows import FileRow, ListTable, OffsetTable, Table
from graft.errors import DataError, MissingExtra
from graft.tasks.dataset import Row

Unit = Literal["auto", "file", "paragraph", "line"]

MAX_FIELD = 1 << 24
"""Longest field of a CSV file in characters; a longer one means that a quote is not closed."""

csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))  # one setting per process; the default is 128 KiB

TEXT_COLUMNS = ("text", "label", "file")
"""The columns of text files: the text, the name of the folder and that of the file."""

_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_delimited(path: Path, encoding: str | None, header: Sequence[str]) -> Table:
    """Read a CSV or TSV file.

    A CSV file is comma-separated unless its first line has no comma but semicolons or tabs. A TSV file has quotes only
    where the rules of CSV for them hold in all of it. Blank lines hold no row.

    Args:
        path: the file.
        encoding: its encoding; found out when ``None``.
        header: names of the columns when the first line is a row already.

    Raises:
        DataError: the file is empty, its header is no header, or lines are bad.
    """
    text = open_text(path, encoding)
    first = next((line for line in text.lines() if line.strip()), b"").decode("utf-8", "replace")
    if not first:
        raise DataError(f"{path}: the file is empty; give one with a header and rows")
    style = _style(path, text, first)
    problems = BadLines(path)
    records = _records(text, style, problems)
    names = tuple(header) or _header(path, next(records, None), problems)
    starts, lines = array("q"), array("q")
    end = text.start
    for start, line, fields in records if not header else _records(text, style, problems):
        if len(fields) != len(names):
            problems.add(line, f"{len(fields)} columns where the header has {len(names)}")
        starts.append(start)
        lines.append(line)
    problems.require_none()
    if not lines:
        raise DataError(f"{path}: there is a header ({', '.join(names)}) but no row under it")
    end = text.file.seek(0, io.SEEK_END)
    starts.append(end)

    def parse(data: bytes) -> Row:
        return dict(zip(names, next(_reader([data.decode("utf-8")], style)), strict=True))

    return OffsetTable(text.file, starts, lines, parse, names, _told(path, _STYLES[style], text, len(lines)), path.name)


Style = tuple[str, bool]
"""Separator, and whether fields can be quoted."""

_STYLES: Mapping[Style, str] = {
    (",", True): "CSV",
    (";", True): "CSV separated by semicolons",
    ("\t", True): "TSV with quotes",
    ("\t", False): "TSV",
}


def _style(path: Path, text: OpenText, first: str) -> Style:
    if _suffix(path) == ".tsv":
        return "\t", _has_quotes(path, text)
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    return separator, True


def _has_quotes(path: Path, text: OpenText) -> bool:
    """Whether a TSV file has quotes, and the rules of CSV for them hold in all of it."""
    if not any(b'"' in raw for raw in text.lines()):
        return False
    problems, width = BadLines(path), 0
    for _, _, fields in _records(text, ("\t", True), problems):
        width = width or len(fields)
        if problems.count or len(fields) != width:
            return False
    return not problems.count


def _reader(lines: Any, style: Style) -> Any:
    separator, quoted = style
    if not quoted:
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    return csv.reader(_one_by_one(lines), delimiter=separator, strict=True)


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
        return f"a quote is opened and not closed within {more:,} more lines"
    return f"{said}; a quote inside a quoted field is written twice"


def _header(path: Path, record: tuple[int, int, list[str]] | None, problems: BadLines) -> tuple[str, ...]:
    if record is None:
        problems.require_none()
        raise DataError(f"{path}: the file is empty; give one with a header and rows")
    names = tuple(name.strip() or f"column {number}" for number, name in enumerate(record[2], 1))
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"{path}: the header names {', '.join(repeated)} more than once, so it is unclear which is meant; rename"
            " the columns, or name them in header if the first line is a row already"
        )
    return names


def read_json_lines(path: Path, encoding: str | None) -> Table:
    """Read a file with one JSON object per line; blank lines hold no row.

    Raises:
        DataError: the file is empty or lines are bad.
    """
    text = open_text(path, encoding)
    problems = BadLines(path)
    starts, lines = array("q"), array("q")
    columns: dict[str, None] = {}
    position = text.start
    for line, raw in enumerate(text.lines(), 1):
        if not raw.isspace():
            starts.append(position)
            lines.append(line)
            row = _object(raw, line, problems)
            if row.keys() != columns.keys():
                columns.update(dict.fromkeys(row))
        position += len(raw)
    problems.require_none()
    if not lines:
        raise DataError(f"{path}: the file is empty; give one with a JSON object on every line")
    starts.append(position)
    told = _told(path, "one JSON object per line", text, len(lines))
    return OffsetTable(text.file, starts, lines, json.loads, tuple(columns), told, path.name)


def _object(raw: bytes, line: int, problems: BadLines) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        row = json.loads(text)
        if "\\" in text and _LONE_SURROGATE.search(text):
            json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        problems.add(line, f"not JSON ({error.msg} at column {error.colno})")
    except UnicodeDecodeError:
        problems.add(line, undecodable(raw))
    except UnicodeEncodeError:
        problems.add(line, "half of a surrogate pair, which is no letter")
    except RecursionError:
        problems.add(line, "nested too deeply")
    else:
        if isinstance(row, dict):
            return row
        problems.add(line, f"expected an object, but got {_kind(row)}")
    return {}


def read_json(path: Path, encoding: str | None) -> Table:
    """Read a JSON file: a list of objects, such a list under one key, lists by column, or one object per line.

    Raises:
        DataError: it is empty, not JSON, or none of these.
    """
    text = open_text(path, encoding)
    try:
        body = b"".join(text.lines()).decode("utf-8")
        if not body.strip():
            raise DataError(f"{path}: the file is empty; give one with a list of objects")
        value = json.loads(body)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; mend it") from None
    except RecursionError:
        raise DataError(f"{path}: the JSON is nested too deeply; give a list of objects") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and body.lstrip().startswith("{"):
            return read_json_lines(path, encoding)
        raise DataError(
            f"{path}: line {error.lineno}: not JSON ({error.msg} at column {error.colno}); mend it"
        ) from None
    rows, form = _listed(path, value)
    if not rows:
        raise DataError(f"{path}: the list holds no rows; give at least one object")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number}: expected an object, but got {_kind(row)}; mend or delete it")
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return ListTable(rows, columns, _told(path, form, text, len(rows)), path.name)


def _listed(path: Path, value: Any) -> tuple[list[Any], str]:
    if isinstance(value, list):
        return value, "a JSON list of objects"
    if isinstance(value, dict) and value:
        lists = {key: entry for key, entry in value.items() if isinstance(entry, list)}
        if len(lists) == 1:
            [(key, rows)] = lists.items()
            if all(isinstance(row, dict) for row in rows):
                return rows, f"the list {key!r} of a JSON object"
        if len(lists) == len(value):
            lengths = {key: len(entry) for key, entry in lists.items()}
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{key} {length:,}" for key, length in lengths.items())
                raise DataError(f"{path}: the lists by column must be equally long, but their lengths are {told}")
            return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)], "JSON by column"
    raise DataError(
        f"{path}: expected a list of objects, or such a list under one key, but got {_kind(value)}; give rows"
    )


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(list(value)[:6]) or 'nothing'}"
    names = {list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


class ArrowTable(Table):
    """The rows of a Parquet file, unpacked to a temporary file that is mapped into memory.

    The file is Arrow's stream: unlike its file format that lets the values of a categorical column change on the way.
    """

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
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("reading Parquet files", "data") from error
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
    names = tuple(packed.schema_arrow.names)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: the columns {', '.join(repeated)} are there more than once; rename them")
    table = ArrowTable(batches, names, "", path.name)
    if not len(table):
        raise DataError(f"{path}: the file has columns ({', '.join(names)}) but no rows")
    table.words = f"{path.name}: Parquet, {_rows(len(table))}"
    return table


def read_text(path: Path, encoding: str | None, unit: Unit) -> Table:
    """Read a text file as rows of ``text``, ``label`` (the name of its folder) and ``file`` (its own name).

    Args:
        path: the file.
        encoding: its encoding; found out when ``None``.
        unit: what a row is; ``auto`` takes paragraphs where there are blank lines and lines elsewhere.

    Raises:
        DataError: the file is empty or lines are bad.
    """
    text = open_text(path, encoding)
    problems = BadLines(path)
    starts, lines, blank = array("q"), array("q"), array("q")
    position = text.start
    for line, raw in enumerate(text.lines(), 1):
        if raw.isspace():
            blank.append(line)
        else:
            if not raw.isascii() and (why := undecodable(raw)):
                problems.add(line, why)
            elif b"\0" in raw:
                problems.add(line, "holds a NUL byte; is it text? For UTF-16 set encoding")
            starts.append(position)
            lines.append(line)
        position += len(raw)
    problems.require_none()
    if not lines:
        raise DataError(f"{path}: the file is empty; give one with text")
    starts.append(position)
    chosen: Unit = ("paragraph" if blank and blank[0] < lines[-1] else "line") if unit == "auto" else unit
    if chosen != "line":
        starts, lines = _paragraphs(starts, lines) if chosen == "paragraph" else (starts[:1] + starts[-1:], lines[:1])
    row = {"label": path.absolute().parent.name, "file": path.name}

    def parse(data: bytes) -> Row:
        return {"text": data.decode("utf-8").strip(), **row}

    told = _told(path, f"text, one row per {chosen}", text, len(lines))
    return OffsetTable(text.file, starts, lines, parse, TEXT_COLUMNS, told, path.name)


def _paragraphs(starts: array[int], lines: array[int]) -> tuple[array[int], array[int]]:
    """Join the lines that follow each other without a blank one between them."""
    first = [place for place, line in enumerate(lines) if place == 0 or line != lines[place - 1] + 1]
    joined = array("q", (starts[place] for place in first))
    joined.append(starts[-1])
    return joined, array("q", (lines[place] for place in first))


def _suffix(path: Path) -> str:
    """The kind of file by its name, without ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_file(path: Path, *, encoding: str | None = None, header: Sequence[str] = (), unit: Unit = "auto") -> Table:
    """Read a file by the ending of its name; what no other reader knows is text.

    Raises:
        DataError: the file is empty or breaks a rule of its format.
        MissingExtra: its format needs a package that is not installed.
    """
    readers: Mapping[str, Callable[[], Table]] = {
        ".csv": lambda: read_delimited(path, encoding, header),
        ".tsv": lambda: read_delimited(path, encoding, header),
        ".json": lambda: read_json(path, encoding),
        ".jsonl": lambda: read_json_lines(path, encoding),
        ".ndjson": lambda: read_json_lines(path, encoding),
        ".parquet": lambda: read_parquet(path),
    }
    reader = readers.get(_suffix(path))
    return reader() if reader else read_text(path, encoding, unit)


def is_table(path: Path) -> bool:
    """Whether a file is read as a table and not as text."""
    return _suffix(path) in (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")


def _told(path: Path, form: str, text: OpenText, count: int) -> str:
    return f"{path.name}: {form}, {text.words}, {_rows(count)}"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
