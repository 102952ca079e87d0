"""Rows with their answers as a CSV, JSONL or Parquet file.

In CSV a text cell that a spreadsheet would run as a formula gets an apostrophe before it, which such programs hide.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graft.errors import ConfigError, MissingExtra
from graft.runs.files import replacing, write_text

Cells = Mapping[str, Any]

FORMS = (".csv", ".jsonl", ".parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with. Source: OWASP, "CSV Injection"."""


def require_writable(out: Path, *, force: bool) -> None:
    """Refuse a file that could not be written at the end.

    Raises:
        ConfigError: its ending is none of `FORMS`, its folder is not there, or it exists.
        MissingExtra: Parquet needs a package that is not installed.
    """
    if out.suffix not in FORMS:
        raise ConfigError(f"--out is {out}; its name must end in {', '.join(FORMS)}")
    if not out.parent.is_dir():
        raise ConfigError(f"--out is {out}, but there is no folder {out.parent}; make it first")
    if out.exists() and not force:
        raise ConfigError(f"--out is {out}, which exists; name another file, or replace it with --force")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise MissingExtra(f"--out {out.name}", "data")


def write_answers(out: Path, rows: Sequence[Cells], answers: Sequence[Cells]) -> None:
    """Write every row with its answer, in order.

    Args:
        out: its ending says the form.
        rows: the cells of the file.
        answers: the further cells of each row.

    Raises:
        StorageError: it cannot be written.
    """
    columns = list(dict.fromkeys(name for part in (rows, answers) for cells in part for name in cells))
    whole = [{**row, **answer} for row, answer in zip(rows, answers, strict=True)]
    if out.suffix == ".csv":
        write_text(out, _csv(columns, whole))
    elif out.suffix == ".jsonl":
        write_text(out, "".join(json.dumps(cells, ensure_ascii=False, default=str) + "\n" for cells in whole))
    else:
        _write_parquet(out, columns, whole)


def _csv(columns: Sequence[str], rows: Sequence[Cells]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_safe(name) for name in columns])
    writer.writerows([_safe(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _safe(value: Any) -> Any:
    """A cell as CSV holds it: lists and objects as JSON, and no text that would be run."""
    if isinstance(value, list | tuple | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and value.startswith(FORMULA) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _write_parquet(out: Path, columns: Sequence[str], rows: Sequence[Cells]) -> None:
    import pyarrow
    from pyarrow import parquet

    try:
        table = pyarrow.table({name: pyarrow.array([row.get(name) for row in rows]) for name in columns})
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        raise ConfigError(
            f"--out is {out}, but a column holds values of several kinds: {error}; write .jsonl"
        ) from error
    with replacing(out) as place:
        parquet.write_table(table, place)
