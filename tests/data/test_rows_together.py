"""Rows of a file read together are those read one by one, with a few looks at the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from graft.data import rows as reading
from graft.data.file_form import FOUND_OUT, FileForm
from graft.data.files import file_rows, read_rows
from graft.data.rows import OffsetTable, Table

CSV = 'text,label\n"a, ""b""\nstill a",1\n\nplain,0\r\n  ,1\n\n\n"é猫",0\n'
TEXT = "One.\nStill one.\n\n\nTwo é.\n\nThree.\n"


def json_lines() -> str:
    return "".join(f"{json.dumps({'text': f'row {place} é' * (place % 5), 'n': place})}\n\n" for place in range(40))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", CSV), ("b.jsonl", json_lines()), ("c.txt", TEXT), ("d.tsv", "t\tl\nit's \"x\t1\n\ny\t2")],
)
@pytest.mark.parametrize("together", [1, 3, 256])
def test_rows_read_together_are_those_read_one_by_one(
    name: str, text: str, together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TOGETHER", together)
    path = tmp_path / name
    path.write_text(text, newline="")
    table = read_rows(path, FileForm(quote='"') if name == "a.csv" else FOUND_OUT)
    assert isinstance(table, OffsetTable) and len(table) > 1
    alone = [table.row(index) for index in range(len(table))]
    assert list(table) == alone
    assert [row.place for row in table] == [row.place for row in alone]  # type: ignore[attr-defined]
    backwards = list(range(len(table)))[::-2]
    assert list(table.each(backwards)) == [alone[place] for place in backwards]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each look at a file gave."""
    found: list[int] = []
    pread: Callable[[int, int, int], bytes] = os.pread

    def counted(number: int, size: int, start: int) -> bytes:
        found.append(size)
        return pread(number, size, start)

    monkeypatch.setattr(os, "pread", counted)
    return found


def numbered(path: Path, count: int) -> Table:
    path.write_text("n,text\n" + "".join(f"{place},{'x' * 30}\n" for place in range(count)))
    return read_rows(path)


def test_neighbours_are_read_with_one_look(tmp_path: Path, looks: list[int]) -> None:
    table = numbered(tmp_path / "a.csv", 2000)
    looks.clear()
    assert [row["n"] for row in table] == [str(place) for place in range(2000)]
    assert len(looks) == 8


def test_rows_that_lie_far_apart_are_read_alone(tmp_path: Path, looks: list[int]) -> None:
    table = numbered(tmp_path / "a.csv", 2000)
    looks.clear()
    assert [row["n"] for row in table.each(range(0, 2000, 100))] == [str(place) for place in range(0, 2000, 100)]
    assert len(looks) == 20 and max(looks) < 40


def test_large_rows_are_not_held_together(tmp_path: Path, looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BYTES_TOGETHER", 400)
    table = numbered(tmp_path / "a.csv", 200)
    looks.clear()
    assert len(list(table)) == 200
    assert max(looks) < 500


def test_both_sides_of_a_divided_file_are_read_together(tmp_path: Path, looks: list[int]) -> None:
    numbered(tmp_path / "a.csv", 2000)
    rows = file_rows(tmp_path / "a.csv", None, held_out=0.2)
    train, held_out = rows("train"), rows("eval")
    looks.clear()
    found = [int(row["n"]) for part in (train, held_out) for row in part]
    assert sorted(found) == list(range(2000)) and found[: len(train)] == sorted(found[: len(train)])
    assert len(looks) < len(held_out) + 10
