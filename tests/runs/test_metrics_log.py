from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graft.errors import RunError, StorageError
from graft.runs.metrics import MetricsLog, read_metrics


def test_lines_hold_step_time_labels_and_numbers(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        log.log(step=0, arm="spelling", seed=1, split="train", loss=1.5)
        log.labelled(arm="base", seed=2, note="é").log(step=1, loss=np.float32(0.25), tokens=np.int64(7), done=True)
        log.log(step=2, seed=None, loss=1)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    times = [line.pop("time") for line in lines]
    assert times == sorted(times)
    assert lines == [
        {"step": 0, "arm": "spelling", "seed": 1, "split": "train", "loss": 1.5},
        {"step": 1, "arm": "base", "seed": 2, "note": "é", "loss": 0.25, "tokens": 7, "done": 1},
        {"step": 2, "loss": 1},
    ]


def test_an_undefined_number_is_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).log(step=0, loss=math.nan, other=math.inf)
    stored = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert stored["loss"] is None
    (line,) = read_metrics(path)
    assert math.isnan(line["loss"])
    assert math.isnan(line["other"])


def test_time_goes_on_where_an_earlier_process_stopped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "time": 100.5, "loss": 1}\n{"step": 2, "ti')
    MetricsLog(path).log(step=2, loss=0.5)
    lines = read_metrics(path)
    assert [line["step"] for line in lines] == [1, 2]
    assert 100.5 <= lines[1]["time"] < 110


def test_what_is_neither_text_nor_number_is_refused(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="metric 'loss' must be a number"):
        log.log(step=0, loss=[1, 2])
    with pytest.raises(ValueError, match="must not be called 'time'"):
        log.log(step=0, time=3.0)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_missing_log_is_a_run_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_tensorboard_reads_the_curves_and_texts_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "tensorboard") as log:
        assert not (tmp_path / "tensorboard").exists()
        for step in range(3):
            log.log(step=step, arm="spelling", seed=0, split="eval", accuracy=step / 4, loss=math.nan)
        log.labelled(arm="../odd/name").log(step=5, loss=2.0)
        log.log(step=1, loss=3.0)
        for _ in range(2):
            log.text("recipe", "# größe")
    curves = sorted(path.name for path in (tmp_path / "tensorboard").iterdir())
    assert curves == ["__odd_name", "main", "spelling_seed0"]
    events = EventAccumulator(str(tmp_path / "tensorboard" / "spelling_seed0"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("eval/accuracy")] == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert math.isnan(events.Scalars("eval/loss")[0].value)
    main = EventAccumulator(str(tmp_path / "tensorboard" / "main"))
    main.Reload()
    assert [event.tensor_proto.string_val[0].decode() for event in main.Tensors("recipe")] == ["# größe"]


def test_events_survive_a_kill_and_need_no_torch(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from graft.runs.metrics import MetricsLog\n"
        "root = pathlib.Path(sys.argv[1]); log = MetricsLog(root / 'metrics.jsonl', root / 'tensorboard')\n"
        "log.log(step=3, loss=1.5)\n"
        "assert not {'torch', 'tensorflow'} & set(sys.modules)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == -9
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard" / "main"))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == [1.5]
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["loss"] == 1.5


def test_a_full_disk_stops_the_log_with_one_clear_error(small_disk: Path, fill: Callable[[Path], Path]) -> None:
    path = small_disk / "metrics.jsonl"
    with (
        pytest.raises(StorageError, match="the disk is full"),
        MetricsLog(path, small_disk / "tensorboard") as log,
    ):
        log.log(step=0, loss=1.0)
        fill(small_disk)
        for step in range(1, 1000):
            log.log(step=step, loss=1.0)
    lines = read_metrics(path)
    assert [line["step"] for line in lines] == list(range(len(lines)))
