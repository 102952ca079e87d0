from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from graft.errors import ConfigError, RunError, StorageError, TrainError
from graft.runs import RunDirectory, RunState, Status
from graft.runs.files import append_line, read_jsonl, write_json

Start = Callable[..., "subprocess.Popen[str]"]

HOLD = """
    import sys, time
    from pathlib import Path
    from graft.runs import RunDirectory
    run = RunDirectory.open(sys.argv[2], Path(sys.argv[1]))
    with run.hold(), run.stage("train"):
        print("held")
        time.sleep(60)
"""


def create_at(root: str, barrier: object, names: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    names.put(RunDirectory.create(Path(root), "same").name)  # type: ignore[attr-defined]


def test_eight_processes_never_share_one_name(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, names = context.Barrier(8), context.Queue()
    processes = [context.Process(target=create_at, args=(str(tmp_path / "runs"), barrier, names)) for _ in range(8)]
    for process in processes:
        process.start()
    made = sorted(names.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    assert made == ["same", *(f"same_{number}" for number in range(2, 9))]
    assert all(RunDirectory.open(name, tmp_path / "runs").status is Status.CREATED for name in made)


def test_a_new_run_says_when_it_was_made_in_its_time_zone(tmp_path: Path) -> None:
    state = RunDirectory.create(tmp_path, "a").state
    made = datetime.fromisoformat(state.created)
    assert made.tzinfo is not None
    assert abs(made.timestamp() - time.time()) < 60
    assert state == RunState(created=state.created)


def test_a_file_or_foreign_folder_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "a_2").mkdir()
    assert RunDirectory.create(tmp_path, "a").name == "a_3"
    assert (tmp_path / "a").read_text() == "mine"
    assert not any((tmp_path / "a_2").iterdir())


@pytest.mark.parametrize(
    "name", ["", "  ", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "a\0b", "x" * 241, "é" * 130, "\udcff"]
)
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="Choose another name"):
        RunDirectory.create(tmp_path / "runs", name)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["größe", "实验一", "naïve run", "ру́сский", "🌱", "x" * 240, "lr=1e-3,bs=16"])
def test_a_run_may_have_any_name_of_any_script(tmp_path: Path, name: str) -> None:
    run = RunDirectory.create(tmp_path, name)
    with run.stage("data") as outputs:
        outputs["name"] = run.name
    assert RunDirectory.open(name, tmp_path).outputs("data") == {"name": run.name}
    assert RunDirectory.create(tmp_path, name).name == f"{run.name}_2"


def test_both_unicode_spellings_find_the_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "gro\u0308\u00dfe")
    assert run.name == "gr\u00f6\u00dfe"
    assert RunDirectory.open("gro\u0308\u00dfe", tmp_path).path == run.path


def test_a_run_is_opened_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(tmp_path / "runs", "a")
    monkeypatch.chdir(tmp_path)
    root = Path("runs")
    for way in ("a", run.path, str(run.path), "runs/a", "./runs/a/"):
        found = RunDirectory.open(way, root)
        assert (found.path, found.name) == (run.path, "a")
    assert RunDirectory.create(root, "b").path.is_absolute()


def test_an_unknown_run_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there are no runs"):
        RunDirectory.open("a", tmp_path / "runs")
    for name in ("2026_sprout_spelling", "2026_qwen_count"):
        RunDirectory.create(tmp_path, name)
    with pytest.raises(RunError, match="Did you mean '2026_sprout_spelling'"):
        RunDirectory.open("2026_sprout_speling", tmp_path)
    for odd in ("", "..", "a\0b", "x" * 5000):
        with pytest.raises(RunError):
            RunDirectory.open(odd, tmp_path)
    (tmp_path / "foreign").mkdir()
    with pytest.raises(RunError, match="is not a run directory"):
        RunDirectory.open(tmp_path / "foreign", tmp_path)


def test_an_unwritable_root_is_named(read_only: Path) -> None:
    with pytest.raises(StorageError, match="the file system is read-only"):
        RunDirectory.create(read_only / "runs", "a")


def test_a_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(StorageError, match="file is not a folder"):
            RunDirectory.create(root, "a")


def test_a_full_disk_leaves_no_half_made_run(small_disk: Path, fill: Callable[[Path], Path]) -> None:
    (small_disk / "runs").mkdir()
    filler = fill(small_disk)
    with pytest.raises(StorageError, match="the disk is full"):
        RunDirectory.create(small_disk / "runs", "a")
    assert not any((small_disk / "runs").iterdir())
    filler.unlink()
    assert RunDirectory.create(small_disk / "runs", "a").name == "a"


def test_a_full_disk_in_a_stage_keeps_the_run_readable(small_disk: Path, fill: Callable[[Path], Path]) -> None:
    run = RunDirectory.create(small_disk, "a")
    append_line(run.metrics, '{"step": 1}')
    with pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written: the disk is full"), run.stage("train"):
        fill(small_disk)
        append_line(run.metrics, json.dumps({"a": "x" * 9000}))
    assert run.status in (Status.FAILED, Status.CRASHED)
    assert run.state.stage == "train"
    assert not run.is_done("train")
    assert read_jsonl(run.metrics) == [{"step": 1}]
    (small_disk / "filler").unlink()
    with run.stage("train"):
        pass
    assert run.status is Status.COMPLETE


def test_stages_leave_markers_and_the_run_ends_complete(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    with run.hold():
        assert run.status is Status.RUNNING
        assert (run.state.pid, run.state.finished) == (os.getpid(), "")
        with run.stage("data") as outputs:
            outputs["rows"] = 3
            assert run.state.stage == "data"
            assert not run.is_done("data")
        assert run.is_done("data")
        with run.stage("train") as outputs:
            outputs["loss"] = float("nan")
        assert run.status is Status.RUNNING
    again = RunDirectory.open("a", tmp_path)
    assert again.status is Status.COMPLETE
    assert again.state.stage == "train"
    assert again.outputs("data") == {"rows": 3}
    assert again.outputs("train") == {"loss": None}
    assert datetime.fromisoformat(again.state.finished) >= datetime.fromisoformat(again.state.started)
    with pytest.raises(RunError, match="does not exist"):
        again.outputs("report")


def test_a_failed_stage_says_why_and_loses_its_old_marker(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    with run.stage("train"):
        pass
    with pytest.raises(TrainError), run.hold(), run.stage("train"):
        raise TrainError("the loss is NaN at step 7")
    assert not run.is_done("train")
    assert (run.status, run.state.message) == (Status.FAILED, "stage train: TrainError: the loss is NaN at step 7")
    with run.stage("train"):
        assert run.state.message == ""
    assert (run.status, run.state.message) == (Status.COMPLETE, "")


def test_a_failure_between_stages_is_not_put_on_the_last_stage(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    with pytest.raises(ZeroDivisionError), run.hold():
        with run.stage("data"):
            pass
        raise ZeroDivisionError("in between")
    assert (run.status, run.state.message) == (Status.FAILED, "ZeroDivisionError: in between")
    assert run.is_done("data")


def test_a_caught_stage_failure_still_counts_unless_a_later_stage_ends_well(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    with run.hold(), pytest.raises(ValueError), run.stage("arm-1"):
        raise ValueError("no")
    assert (run.status, run.state.message) == (Status.FAILED, "stage arm-1: ValueError: no")
    with run.hold():
        with pytest.raises(ValueError), run.stage("arm-1"):
            raise ValueError("no")
        with run.stage("arm-2"):
            pass
    assert (run.status, run.state.message) == (Status.COMPLETE, "")


def test_ctrl_c_in_a_stage_is_an_interruption(tmp_path: Path, python: Start) -> None:
    RunDirectory.create(tmp_path, "a")
    process = python(HOLD, tmp_path, "a")
    run = RunDirectory.open("a", tmp_path)
    assert (run.status, run.state.pid) == (Status.RUNNING, process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    assert (run.status, run.state.message) == (Status.INTERRUPTED, "stage train: stopped by Ctrl-C")
    assert run.state.seconds > 0
    assert not run.is_done("train")


def test_a_killed_process_leaves_a_crashed_run_that_can_go_on(tmp_path: Path, python: Start) -> None:
    RunDirectory.create(tmp_path, "a")
    process = python(HOLD, tmp_path, "a")
    run = RunDirectory.open("a", tmp_path)
    with pytest.raises(RunError, match=rf"is in use by process {process.pid} on "), run.hold():
        raise AssertionError("two processes hold one run")
    assert run.status is Status.RUNNING
    process.kill()
    process.wait()
    assert run.status is Status.CRASHED
    assert run.state.stage == "train"
    with run.stage("train"):
        pass
    assert run.status is Status.COMPLETE


def test_a_killed_run_does_not_live_on_in_its_forked_workers(tmp_path: Path, python: Start) -> None:
    RunDirectory.create(tmp_path, "a")
    program = """
        import os, sys, time
        from pathlib import Path
        from graft.runs import RunDirectory
        with RunDirectory.open("a", Path(sys.argv[1])).hold():
            worker = os.fork()
            if worker == 0:
                time.sleep(60)
                os._exit(0)
            time.sleep(0.2)
            Path(sys.argv[1], "worker").write_text(str(worker))
            print("held")
            time.sleep(60)
    """
    process = python(program, tmp_path)
    run = RunDirectory.open("a", tmp_path)
    assert run.status is Status.RUNNING, "the worker must not free its parent's lock either"
    process.kill()
    process.wait()
    try:
        assert run.status is Status.CRASHED
    finally:
        os.kill(int((tmp_path / "worker").read_text()), signal.SIGKILL)


def test_one_object_may_hold_twice_but_two_may_not(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    with run.hold():
        with run.hold(), run.stage("data"):
            pass
        assert run.status is Status.RUNNING
        with pytest.raises(RunError, match=f"in use by process {os.getpid()}"), RunDirectory(run.path).hold():
            pass
    assert not run.is_held()


def test_watching_a_run_does_not_keep_others_from_holding_it(tmp_path: Path, python: Start) -> None:
    run = RunDirectory.create(tmp_path, "a")
    watcher = """
        import sys
        from pathlib import Path
        from graft.runs import RunDirectory
        run = RunDirectory.open("a", Path(sys.argv[1]))
        print("watching")
        while True:
            assert run.status != "crashed"
    """
    process = python(watcher, tmp_path)
    for _ in range(20):
        with run.hold():
            pass
    assert process.poll() is None, "a run that starts and ends in order was seen as crashed"


def test_a_damaged_state_is_named_and_does_not_stop_new_work(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    for content in ("", "[]", '{"status": "odd"}', '{"stage": "x"}', '{"status": "created", "pid": "many"}'):
        run.state_file.write_text(content)
        with pytest.raises(RunError, match=r"run\.json is damaged"):
            _ = run.status
    with run.stage("data"):
        pass
    assert run.status is Status.COMPLETE


def test_a_deleted_run_cannot_be_held(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    run.path.rename(tmp_path / "b")
    with pytest.raises(RunError, match="does not exist any more"), run.hold():
        pass
    assert not run.path.exists()


def test_working_time_adds_up_over_processes(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a")
    for _ in range(2):
        with run.hold():
            time.sleep(0.05)
    assert 0.1 <= run.state.seconds < 5


def test_the_room_loads_no_heavy_library() -> None:
    program = (
        "import sys\nfrom graft.runs import listing, log, metrics, provenance, samples\n"
        "print(sorted({'torch', 'tensorflow', 'tensorboard', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("gone", ["renamed", "removed", "replaced"])
def test_a_folder_that_is_renamed_or_removed_stops_its_run_and_is_not_made_anew(tmp_path: Path, gone: str) -> None:
    run = RunDirectory.create(tmp_path, "run")
    with pytest.raises(RunError, match=r"run was renamed or removed .* metrics\.jsonl"), run.hold():
        run.path.rename(tmp_path / "elsewhere")
        if gone == "removed":
            shutil.rmtree(tmp_path / "elsewhere")
        if gone == "replaced":
            run.path.mkdir()
            run.lock_file.touch()
        append_line(run.metrics, "{}")
    assert run.path.exists() == (gone == "replaced")
    assert not run.metrics.exists()
    write_json(run.path / "later.json", {})  # it is no longer worked on


def test_memory_that_runs_out_in_a_stage_is_one_message(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "run")
    told = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to get 8 bytes"
    for error in (MemoryError(), RuntimeError(told), OSError(12, "Cannot allocate memory"),
                  RuntimeError("could not create a primitive descriptor"), RuntimeError("std::bad_alloc")):  # fmt: skip
        with pytest.raises(RunError, match=r"memory ran out .* go on with --resume"), run.stage("train-x"):
            raise error
        assert (run.status, run.is_done("train-x")) == ("failed", False)
        assert "memory ran out" in run.state.message
    with pytest.raises(RuntimeError, match="a bug"), run.stage("train-x"):
        raise RuntimeError("a bug")


def test_the_beginning_of_a_name_is_enough_where_no_other_begins_so(tmp_path: Path) -> None:
    for name in ("2026-11-28_one", "2026-11-28_two", "other"):
        RunDirectory.create(tmp_path, name)
    assert RunDirectory.open("2026-11-28_t", tmp_path).name == "2026-11-28_two"
    with pytest.raises(RunError, match="but 2 begin so"):
        RunDirectory.open("2026", tmp_path)
