"""Reading one file as rows: JSON, JSONL and plain text here, the other formats in modules of their own.

Every line is looked at once before the first row is given, so that bad ones are reported together; after that the rows
of CSV, JSONL and text stay in their file.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from graft.data.columnar import read_arrow, read_parquet
from graft.data.delimited import read_delimited
from graft.data.encodings import BadLines, open_text, undecodable
from graft.data.file_form import FOUND_OUT, FileForm, Unit
from graft.data.packed import inner_name, require_file
from graft.data.rows import ListTable, OffsetTable, Table, told_table
from graft.errors import DataError
from graft.tasks.dataset import Row

_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


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
    told = told_table(path, "one JSON object per line", text.words, len(lines))
    return OffsetTable(text.file, starts, lines, partial(map, json.loads), tuple(columns), told, path.name)


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
    except ValueError:
        problems.add(line, "a number of more digits than are read")
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
    content = b"".join(text.lines())
    if not content.strip():
        raise DataError(f"{path}: the file is empty; give one with a list of objects")
    try:
        body = content.decode("utf-8")
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
    except ValueError:
        raise DataError(f"{path}: a number has more digits than are read; write it as text") from None
    rows, form = _listed(path, value)
    if not rows:
        raise DataError(f"{path}: the list holds no rows; give at least one object")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number}: expected an object, but got {_kind(row)}; mend or delete it")
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return ListTable(rows, columns, told_table(path, form, text.words, len(rows)), path.name)


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
        if all(isinstance(entry, dict) for entry in value.values()):
            return _named_rows(path, value)
    raise DataError(
        f"{path}: expected a list of objects, or such a list under one key, but got {_kind(value)}; give rows"
    )


def _named_rows(path: Path, value: Mapping[str, Mapping[str, Any]]) -> tuple[list[Any], str]:
    """The objects of an object: rows under their ids, or columns whose cells stand under the numbers of their rows.

    Raises:
        DataError: rows have a field `id` that is not their id, or columns differ in their rows.
    """
    if all(key.isdecimal() for entry in value.values() for key in entry):  # as pandas writes a table
        numbers = list(next(iter(value.values())))
        if any(list(entry) != numbers for entry in value.values()):
            raise DataError(f"{path}: the columns {', '.join(value)} must have the same rows; mend the file")
        return [{name: value[name][number] for name in value} for number in numbers], "JSON by column and row"
    rows = [{"id": key, **entry} for key, entry in value.items()]
    if other := next((row for row, key in zip(rows, value, strict=True) if str(row["id"]) != key), None):
        raise DataError(f"{path}: the object has a row whose field id is {other['id']!r} under another id; rename it")
    return rows, "JSON objects by id"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(list(value)[:6]) or 'nothing'}"
    names = {list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def read_text(path: Path, encoding: str | None, unit: Unit, label: str | None = None) -> Table:
    """Read a text file as rows of ``text``, ``label`` where there is one, and ``file`` (its own name).

    White space around a text is no part of it.

    Args:
        path: the file.
        encoding: its encoding; found out when ``None``.
        unit: what a row is; ``auto`` takes paragraphs where there are blank lines and lines elsewhere.
        label: name of the folder that labels the file; ``None`` where no folder does.

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
    beside = {"file": path.name} if label is None else {"label": label, "file": path.name}

    def parse(rows: Sequence[bytes]) -> Iterator[Row]:
        return ({"text": data.decode("utf-8").strip(), **beside} for data in rows)

    told = told_table(path, f"text, one row per {chosen}", text.words, len(lines))
    return OffsetTable(text.file, starts, lines, parse, ("text", *beside), told, path.name)


def _paragraphs(starts: array[int], lines: array[int]) -> tuple[array[int], array[int]]:
    """Join the lines that follow each other without a blank one between them."""
    first = [place for place, line in enumerate(lines) if place == 0 or line != lines[place - 1] + 1]
    joined = array("q", (starts[place] for place in first))
    joined.append(starts[-1])
    return joined, array("q", (lines[place] for place in first))


_READERS: Mapping[str, Callable[[Path, FileForm], Table]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".json": lambda path, form: read_json(path, form.encoding),
    ".jsonl": lambda path, form: read_json_lines(path, form.encoding),
    ".ndjson": lambda path, form: read_json_lines(path, form.encoding),
    ".parquet": lambda path, form: read_parquet(path),
    ".arrow": lambda path, form: read_arrow(path),
    ".feather": lambda path, form: read_arrow(path),
}


def read_file(path: Path, form: FileForm = FOUND_OUT, label: str | None = None) -> Table:
    """Read a file by the ending of its name; what no other reader knows is text, unless it has a separator.

    Args:
        path: the file.
        form: how it is read.
        label: name of the folder that labels a text file; ``None`` where no folder does.

    Raises:
        DataError: the file is empty or breaks a rule of its format.
        MissingExtra: its format needs a package that is not installed.
    """
    reader = _reader(path, form)
    return reader(path, form) if reader else read_text(path, form.encoding, form.unit, label)


def is_table(path: Path, form: FileForm = FOUND_OUT) -> bool:
    """Whether a file is read as a table and not as text."""
    return _reader(path, form) is not None


FOREIGN = {
    ".xlsx": "an Excel workbook", ".xlsm": "an Excel workbook", ".xls": "an Excel workbook",
    ".ods": "an OpenDocument spreadsheet", ".numbers": "a Numbers spreadsheet", ".docx": "a Word document",
    ".pdf": "a PDF document", ".sav": "an SPSS file", ".dta": "a Stata file", ".pkl": "a Python pickle",
}  # fmt: skip
"""Files that hold rows in a way that is not read."""


def _reader(path: Path, form: FileForm) -> Callable[[Path, FileForm], Table] | None:
    require_file(path)
    if (kind := FOREIGN.get(path.suffix.lower())) is not None:
        raise DataError(f"{path} is {kind}, which is not read; save its table as CSV (UTF-8) or Parquet")
    usual = read_delimited if form.separator is not None else None
    return _READERS.get(Path(inner_name(path).lower()).suffix, usual)
