from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from graft.errors import RunError, StorageError
from graft.runs.samples import read_samples, write_samples

ROWS = [
    {
        "id": "spelling/é/1",
        "prompt": "a\nb\u2028c",
        "reply": '<script>"quoted"</script>',
        "token_ids": (1, 2),
        "ok": True,
    },
    {"id": "2", "prompt": "", "reply": "\udcff\x00", "strata": {"count": 3}, "cer": 0.1},
]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "samples" / "eval.jsonl"
    assert write_samples(path, iter(ROWS)) == 2
    assert read_samples(path) == [{**ROWS[0], "token_ids": [1, 2]}, ROWS[1]]
    assert "é" in path.read_text(encoding="utf-8")


def test_nan_comes_back_as_none(tmp_path: Path) -> None:
    write_samples(tmp_path / "a.jsonl", [{"cer": math.nan, "details": {"x": [math.inf, 1.0]}}])
    assert read_samples(tmp_path / "a.jsonl") == [{"cer": None, "details": {"x": [None, 1.0]}}]


def test_no_rows_make_an_empty_file(tmp_path: Path) -> None:
    assert write_samples(tmp_path / "a.jsonl", []) == 0
    assert read_samples(tmp_path / "a.jsonl") == []


def test_all_rows_or_none_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_samples(path, ROWS[:1])

    def failing() -> Iterator[dict[str, object]]:
        yield ROWS[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_samples(path, failing())
    assert [row["id"] for row in read_samples(path)] == ["spelling/é/1"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_samples_that_do_not_fit_leave_the_old_ones(small_disk: Path) -> None:
    path = small_disk / "a.jsonl"
    write_samples(path, ROWS)
    with pytest.raises(StorageError, match=r"a\.jsonl cannot be written: the disk is full"):
        write_samples(path, ({"reply": "x" * 1000} for _ in range(200)))
    assert len(read_samples(path)) == 2


@pytest.mark.parametrize("content", ['{"id": 1}\n{"id"', '{"id": 1}\n[2]\n', '{"id": 1}\nx\n{"id": 3}\n'])
def test_damaged_samples_are_never_taken_for_all(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(RunError, match="line 2 is damaged"):
        read_samples(tmp_path / "a.jsonl")
