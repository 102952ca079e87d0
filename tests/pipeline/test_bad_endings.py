"""Runs that end badly, through the real command line: the message, the exit code, and a folder that stays readable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from graft.config.loading import Resolved
from graft.config.writing import to_yaml
from graft.runs.listing import list_runs

Build = Callable[..., Resolved]


def graft(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "graft", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs rights that this user does not have")
    yield folder
    subprocess.run(["umount", folder], check=True)


def write_recipe(tmp_path: Path, resolved: Resolved) -> str:
    path = tmp_path / "recipe.yaml"
    usual = resolved.recipe.study.model_copy(update={"resamples": 10_000})  # a file may not say what has no effect
    path.write_text(to_yaml(replace(resolved, recipe=resolved.recipe.model_copy(update={"study": usual}))))
    return str(path)


def test_a_disk_without_room_is_refused_before_training(tmp_path: Path, small_disk: Path, small_recipe: Build) -> None:
    code, _, err = finish(graft("run", write_recipe(tmp_path, small_recipe(small_disk))))
    assert code == 2
    assert "checkpoints and samples" in err
    assert "Traceback" not in err
    assert list_runs(small_disk) == []


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_with_one_message(
    tmp_path: Path, small_disk: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import graft.pipeline.prepare.validate as v; v.CHECKPOINT_ALLOWANCE = 1  # so that the disk fills up later\n"
    )
    code, _, err = finish(graft("run", write_recipe(tmp_path, small_recipe(small_disk))))
    assert code == 2, err
    assert "Traceback" not in err
    assert "error:" in err and "space" in err
    (listed,) = list_runs(small_disk)
    assert listed.status == "failed"


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path: Path, small_recipe: Build) -> None:
    runs = tmp_path / "runs"
    recipe = write_recipe(tmp_path, small_recipe(runs, train__max_steps=5000, train__save_steps=5))
    process = graft("run", recipe)
    deadline = time.monotonic() + 240
    while not list(runs.glob("*/checkpoints/trained-seed0/checkpoint-*/COMPLETE")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "Traceback" not in err
    assert "graft run --resume" in err
    (listed,) = list_runs(runs)
    assert listed.status == "interrupted"


def test_a_run_folder_that_cannot_be_written_is_named(tmp_path: Path, small_recipe: Build) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = finish(graft("run", write_recipe(tmp_path, small_recipe(tmp_path / "file" / "runs"))))
    assert code == 2
    assert "file/runs" in err and "Traceback" not in err


@pytest.mark.slow
def test_a_second_process_cannot_work_on_the_same_run(tmp_path: Path, small_recipe: Build) -> None:
    runs = tmp_path / "runs"
    recipe = write_recipe(tmp_path, small_recipe(runs, train__max_steps=5000, train__save_steps=5))
    first = graft("run", recipe)
    deadline = time.monotonic() + 240
    while not list(runs.glob("*/checkpoints/trained-seed0/checkpoint-*")):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.1)
    (folder,) = runs.iterdir()
    code, _, err = finish(graft("run", recipe, "--resume", str(folder)))
    first.kill()
    first.communicate()
    assert code == 2
    assert f"pid {first.pid}" in err or str(first.pid) in err
