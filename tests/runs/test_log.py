from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from graft.errors import StorageError
from graft.runs.log import open_log


def test_lines_carry_time_zone_level_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("graft"), "propagate", False)  # the report of a test must be valid UTF-8
    path = tmp_path / "logs" / "training.log"
    with open_log(path) as logger:
        logger.debug("left out")
        logging.getLogger("graft.train").info("größe %s", "\udcff")
    line = path.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} INFO    graft\.train: größe \\udcff\n", line)


def test_the_logger_is_left_as_it_was(tmp_path: Path) -> None:
    logger = logging.getLogger("graft")
    before = (logger.level, list(logger.handlers))
    with open_log(tmp_path / "a.log"):
        assert len(logger.handlers) == len(before[1]) + 1
    assert (logger.level, list(logger.handlers)) == before
    logger.error("after")
    assert (tmp_path / "a.log").read_text() == ""


def test_a_resumed_run_keeps_its_history_and_an_error_its_traceback(tmp_path: Path) -> None:
    with open_log(tmp_path / "a.log") as logger:
        logger.info("first")
    with pytest.raises(ZeroDivisionError), open_log(tmp_path / "a.log"):
        _ = 1 / 0
    text = (tmp_path / "a.log").read_text()
    assert "first" in text
    assert "stopped by ZeroDivisionError" in text
    assert "Traceback" in text


def test_a_full_disk_does_not_stop_the_work_nor_fill_the_screen(
    small_disk: Path, fill: Callable[[Path], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    with open_log(small_disk / "a.log") as logger:
        logger.info("first")
        fill(small_disk)
        for _ in range(100):
            logger.info("x" * 1000)
    assert (small_disk / "a.log").read_text().splitlines()[0].endswith("first")
    assert "Traceback" not in capfd.readouterr().err


def test_a_log_that_cannot_be_opened_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file is not a folder"), open_log(tmp_path / "file" / "a.log"):
        pass
