from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graft.cli.main import main
from graft.data.cache import cached_rows, row_key
from graft.data.table import TableWriter
from graft.runs.cache import clear_cache, list_cache

PARTS = {"source": "a", "code": "b", "tokenizer": "c", "template": "d", "policy": {"thinking": "off"}, "length": 512}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def three_rows(writer: TableWriter) -> dict[str, int]:
    for ids, prompt in (([1, 2, 3], 2), ([4, 5], 0), ([6, 7, 8, 9], 1)):
        writer.append(ids, prompt)
    return {"dropped": 4}


def no_rows(writer: TableWriter) -> dict[str, int]:
    raise AssertionError("made again")


def test_rows_are_made_once_and_found_again_with_their_facts() -> None:
    first, second = cached_rows("rows", PARTS, three_rows), cached_rows("rows", PARTS, no_rows)
    assert (first.fresh, second.fresh) == (True, False)
    assert list(first.table) == list(second.table) and len(second.table) == 3
    assert second.facts == {"dropped": 4}


@pytest.mark.parametrize("part", list(PARTS))
def test_a_change_in_any_part_is_another_entry(part: str) -> None:
    assert row_key(PARTS) != row_key({**PARTS, part: "changed"})


def test_a_writer_that_fails_leaves_nothing(own_cache: Path) -> None:
    with pytest.raises(AssertionError):
        cached_rows("rows", PARTS, no_rows)
    assert not [path for path in own_cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_processes_that_make_the_same_rows_at_once_all_get_them(own_cache: Path) -> None:
    code = (
        "from tests.data.test_row_cache import PARTS, three_rows\n"
        "from graft.data.cache import cached_rows\n"
        "for number in range(30):\n"
        "    assert len(cached_rows('rows', {**PARTS, 'number': number}, three_rows).table) == 3\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    assert len(list_cache()) == 30


def test_the_command_shows_and_clears_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    cached_rows("spelling for sprout", PARTS, three_rows)
    assert main(["cache"]) == 0
    assert "spelling for sprout" in capsys.readouterr().out
    assert main(["cache", "clear", "--older-than", "1"]) == 0
    assert len(list_cache()) == 1
    assert main(["cache", "clear"]) == 0
    assert "deleted 1 entries" in capsys.readouterr().out
    assert list_cache() == [] and clear_cache() == []
