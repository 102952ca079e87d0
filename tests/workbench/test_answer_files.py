"""Answers beside the rows they belong to, in each form of file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from graft.pipeline.judge.labels import own_temperature
from graft.workbench.answer_files import write_answers


def test_answers_are_written_as_parquet_too(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_answers(tmp_path / "a.parquet", [{"x": 1}, {"x": 2}], [{"label": "a"}, {"error": "no"}])
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == [
        {"x": 1, "label": "a", "error": None},
        {"x": 2, "label": None, "error": "no"},
    ]


def test_what_a_spreadsheet_would_run_is_text_and_numbers_stay_numbers(tmp_path: Path) -> None:
    cells = ["=1+1", "@x", "+49 30", "-5", "\tx", "plain, quoted"]
    write_answers(tmp_path / "a.csv", [{"=id": cell} for cell in cells], [{"reply": "=HYPERLINK()"}] * len(cells))
    lines = (tmp_path / "a.csv").read_bytes().decode().split("\r\n")
    assert lines[0] == "'=id,reply"
    assert lines[1:5] == ["'=1+1,'=HYPERLINK()", "'@x,'=HYPERLINK()", "'+49 30,'=HYPERLINK()", "-5,'=HYPERLINK()"]
    assert lines[6] == '"plain, quoted",\'=HYPERLINK()'


def test_a_temperature_makes_the_confidence_the_share_that_is_right() -> None:
    def record(index: int) -> dict[str, object]:
        return {
            "id": str(index),
            "options": ["a", "b"],
            "option_scores": [2.0, 0.0],
            "gold": "b" if index == 0 else "a",
        }

    assert own_temperature([record(index) for index in range(4)]) == pytest.approx(2 / math.log(3), rel=1e-3)
    assert own_temperature([record(1), record(2)]) == 1.0  # all right: none is best
