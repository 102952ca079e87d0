from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.data.table import ENDS, IDS, TableWriter, TokenTable
from graft.errors import RunError
from graft.types import TokenRow

ROWS = [TokenRow((1, 2, 3), (4, 5)), TokenRow((), (151_000,)), TokenRow((7,), (8, 9, 10))]


def write(folder: Path, rows: list[TokenRow]) -> TokenTable:
    folder.mkdir(exist_ok=True)
    with TableWriter(folder) as writer:
        for row in rows:
            writer.append((*row.prompt, *row.completion), len(row.prompt))
    return TokenTable(folder)


def test_a_table_reads_like_the_list_it_was_written_from(tmp_path: Path) -> None:
    table = write(tmp_path / "table", ROWS)
    assert list(table) == ROWS
    assert (len(table), table.tokens, table.lengths.tolist()) == (3, 10, [5, 1, 4])
    assert table[-1] == ROWS[-1] and table[1:] == ROWS[1:] and table[::-1] == ROWS[::-1]
    with pytest.raises(IndexError):
        table[3]


@given(st.lists(st.tuples(st.lists(st.integers(0, 2**31 - 1), max_size=5), st.lists(st.integers(0, 9), min_size=1))))
def test_any_rows_come_back_as_they_went_in(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    kept = [TokenRow(tuple(prompt), tuple(completion)) for prompt, completion in rows]
    assert list(write(tmp_path_factory.mktemp("table"), kept)) == kept


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    assert list(write(tmp_path / "table", [])) == []


def test_a_damaged_table_says_which_folder_to_delete(tmp_path: Path) -> None:
    write(tmp_path / "table", ROWS)
    (tmp_path / "table" / IDS).write_bytes(b"\0" * 8)
    with pytest.raises(RunError, match=r"table is damaged: its arrays do not fit; delete"):
        TokenTable(tmp_path / "table")
    (tmp_path / "table" / ENDS).unlink()
    with pytest.raises(RunError, match=r"is damaged: .*No such file"):
        TokenTable(tmp_path / "table")
