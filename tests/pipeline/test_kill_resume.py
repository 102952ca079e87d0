"""`graft train` killed, terminated or out of space, and continued by its own command line."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from graft.cli.lookup import run_to_resume
from graft.config.loading import Resolved
from graft.config.writing import to_yaml
from graft.errors import RunError
from graft.runs.directory import RunDirectory
from graft.runs.listing import list_runs
from graft.train.checkpoints import list_checkpoints, newest_sound, step_of

Build = Callable[..., Resolved]
STEPS = 60
pytestmark = pytest.mark.timeout(900)
SETTINGS: dict[str, Any] = {
    "study__arms": ["trained"],
    "study__resamples": None,  # has no effect here, so it may not stand in a file
    "adapter__dropout": 0.1,
    "train__max_steps": STEPS,
    "train__save_steps": 3,
    "train__keep_last": 2,
}


def graft(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "graft", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def write_recipe(folder: Path, resolved: Resolved) -> str:
    path = folder / "recipe.yaml"
    path.write_text(to_yaml(resolved))
    return str(path)


def weights(run: Path) -> dict[str, Any]:
    return load_file(run / "checkpoints" / "trained-seed0" / "final" / "adapter_model.safetensors")


def wait_for(process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def newest_step(runs: Path) -> int:
    found = [step_of(path) for folder in runs.glob("*/checkpoints/trained-seed0") for path in list_checkpoints(folder)]
    return max(found, default=0)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, small_recipe: Build) -> dict[str, Any]:
    """The final weights of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    code, _, err = finish(graft("train", "--recipe", write_recipe(folder, small_recipe(folder / "runs", **SETTINGS))))
    assert code == 0, err
    (listed,) = list_runs(folder / "runs")
    return weights(folder / "runs" / listed.name)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 2))])
def test_killed_at_random_moments_it_ends_in_the_same_bits(
    tmp_path: Path, small_recipe: Build, uninterrupted: dict[str, Any], seed: int
) -> None:
    rng = random.Random(seed)
    runs = tmp_path / "runs"
    recipe = write_recipe(tmp_path, small_recipe(runs, **SETTINGS))
    arguments = ["train", "--recipe", recipe]
    for after in sorted(rng.sample(range(1, STEPS - 12), 3)):
        process = graft(*arguments)
        wait_for(process, lambda after=after: newest_step(runs) > after)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.2))  # in the middle of a step, of a save, of anything
        process.kill()
        process.communicate()
        if process.returncode == 0:
            break  # it was faster
        arguments = ["train", "--runs", str(runs), "--resume", "latest"]
    code, _, err = finish(graft(*arguments))
    assert code == 0 or "no run in" in err, err
    (listed,) = list_runs(runs)
    assert_same(weights(runs / listed.name), uninterrupted)


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(
    tmp_path: Path, small_recipe: Build, uninterrupted: dict[str, Any]
) -> None:
    runs = tmp_path / "runs"
    settings = SETTINGS | {"train__save_steps": 7}
    process = graft("train", "--recipe", write_recipe(tmp_path, small_recipe(runs, **settings)))
    wait_for(process, lambda: newest_step(runs) >= 7)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 143
    assert "Traceback" not in err
    (listed,) = list_runs(runs)
    assert listed.status == "interrupted"
    assert f"graft train --resume {listed.name} --runs {runs}" in err
    code, _, err = finish(graft("train", "--resume", listed.name, "--runs", str(runs)))
    assert code == 0, err
    assert_same(weights(runs / listed.name), uninterrupted)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs rights that this user does not have")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_with_one_message_and_can_be_continued(
    tmp_path: Path, disk: Path, small_recipe: Build, uninterrupted: dict[str, Any]
) -> None:
    process = graft("train", "--recipe", write_recipe(tmp_path, small_recipe(disk, **SETTINGS)))
    wait_for(process, lambda: newest_step(disk) >= 6)
    process.send_signal(signal.SIGSTOP)
    os.posix_fallocate(
        descriptor := os.open(disk / "filler", os.O_CREAT | os.O_WRONLY), 0, shutil.disk_usage(disk).free
    )
    os.close(descriptor)
    process.send_signal(signal.SIGCONT)
    code, _, err = finish(process)
    assert code == 2, err
    assert "Traceback" not in err and err.count("error:") == 1
    assert "disk is full" in err
    (listed,) = list_runs(disk)
    sound, passed_over = newest_sound(disk / listed.name / "checkpoints" / "trained-seed0")
    assert sound is not None and passed_over == []
    (disk / "filler").unlink()
    code, _, err = finish(graft("train", "--resume", "latest", "--runs", str(disk)))
    assert code == 0, err
    assert_same(weights(disk / listed.name), uninterrupted)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The folder of an arm with two checkpoints inside a run, as far as their names matter."""
    run = RunDirectory.create(tmp_path / "runs", "some-run")
    folder = run.checkpoints / "trained-seed0"
    for step in (4, 8):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        record = dict.fromkeys(("rows_read", "loss", "model", "stopping")) | {"schema": 1, "files": {}, "step": step}
        (folder / f"checkpoint-{step}" / "graft.json").write_text(json.dumps(record))
        (folder / f"checkpoint-{step}" / "COMPLETE").touch()
    return folder


def test_a_run_is_found_by_a_checkpoint_and_later_ones_are_set_aside(stopped: Path, tmp_path: Path) -> None:
    run = run_to_resume(str(stopped / "checkpoint-4"), tmp_path / "elsewhere")
    assert run.name == "some-run"
    assert sorted(path.name for path in stopped.iterdir()) == ["checkpoint-4", "set-aside-checkpoint-8"]
    assert run_to_resume(str(stopped.parents[1]), tmp_path).name == "some-run"


def test_a_damaged_checkpoint_that_was_named_is_refused(stopped: Path, tmp_path: Path) -> None:
    (stopped / "checkpoint-4" / "COMPLETE").unlink()
    with pytest.raises(RunError, match=r"checkpoint-4 was not written to its end.*--resume some-run"):
        run_to_resume(str(stopped / "checkpoint-4"), tmp_path)
    assert (stopped / "checkpoint-8").is_dir()


def test_a_checkpoint_of_a_run_that_is_in_use_is_left_alone(stopped: Path, tmp_path: Path) -> None:
    with RunDirectory.open(stopped.parents[1], tmp_path).hold(), pytest.raises(RunError, match="in use by process"):
        run_to_resume(str(stopped / "checkpoint-4"), tmp_path)
    assert (stopped / "checkpoint-8").is_dir()


@pytest.mark.slow
def test_twenty_ctrl_c_are_one_message_and_save_the_last_step(tmp_path: Path, small_recipe: Build) -> None:
    runs = tmp_path / "runs"
    process = graft("train", "--recipe", write_recipe(tmp_path, small_recipe(runs, **SETTINGS)))
    wait_for(process, lambda: newest_step(runs) >= 3)
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    code, _, err = finish(process)
    assert (code, err.count("Stopped."), "Traceback" in err) == (130, 1, False), err
    assert_saved(runs, "stopped by Ctrl-C")


@pytest.mark.slow
def test_a_closed_terminal_saves_the_last_step(tmp_path: Path, small_recipe: Build) -> None:
    runs = tmp_path / "runs"
    recipe = write_recipe(tmp_path, small_recipe(runs, **SETTINGS))
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-m", "graft", "train", "--recipe", recipe])
    deadline = time.monotonic() + 300
    while newest_step(runs) < 3:
        assert time.monotonic() < deadline
        if select.select([terminal], [], [], 0.02)[0]:
            os.read(terminal, 65_536)
    os.close(terminal)  # the kernel sends SIGHUP, and what is written from now on fails
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
    assert_saved(runs, "stopped by SIGHUP")


def assert_saved(runs: Path, message: str) -> None:
    """The run says why it stopped, and its newest checkpoint is of the last step it did."""
    (listed,) = list_runs(runs)
    assert (listed.status, listed.message.endswith(message)) == ("interrupted", True)
    sound, passed_over = newest_sound(runs / listed.name / "checkpoints" / "trained-seed0")
    assert sound is not None and passed_over == []
    logged = (runs / listed.name / "metrics.jsonl").read_text().splitlines()
    assert step_of(sound) >= max(json.loads(line)["step"] for line in logged)
