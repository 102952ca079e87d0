"""`graft train` and `graft run` with two processes on the CPU, from the command line to the run directory."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from graft.cli.launch import processes_to_start
from graft.cli.main import main
from graft.config.loading import Resolved
from graft.config.schema import Recipe
from graft.config.writing import to_yaml
from graft.errors import ConfigError
from graft.pipeline.train.crew import check_processes
from graft.runs.directory import RunDirectory
from graft.runs.listing import list_runs
from graft.train.checkpoints import list_checkpoints

Build = Callable[..., Resolved]
pytestmark = pytest.mark.timeout(900)
STEPS = 6
SETTINGS: dict[str, Any] = {
    "study__arms": ["trained"],
    "train__max_steps": STEPS,
    "train__logging_steps": 1,
    "train__save_steps": 2,
    "train__eval_steps": 3,
    "train__eval_max_batches": 1,
    "study__resamples": Recipe().study.resamples,  # a file may not say what has no effect
}


def graft(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "graft", *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, out, err


def write_recipe(folder: Path, resolved: Resolved) -> str:
    path = folder / "recipe.yaml"
    path.write_text(to_yaml(resolved))
    return str(path)


def only_run(runs: Path) -> RunDirectory:
    (listed,) = list_runs(runs)
    return RunDirectory.open(listed.name, runs)


def losses(run: RunDirectory) -> dict[int, float]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def held_out(run: RunDirectory) -> list[float]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [line["held_out/loss"] for line in lines if "held_out/loss" in line]


def files(run: RunDirectory) -> list[str]:
    found = [str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()]
    return sorted(name for name in found if "tensorboard" not in name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, small_recipe: Build) -> RunDirectory:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    code, _, err = finish(graft("train", "--recipe", write_recipe(folder, small_recipe(folder / "runs", **SETTINGS))))
    assert code == 0, err
    return only_run(folder / "runs")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_leave_the_run_of_one(
    tmp_path: Path, small_recipe: Build, alone: RunDirectory, parallel: str
) -> None:
    recipe = write_recipe(tmp_path, small_recipe(tmp_path / "runs", **SETTINGS, engine__parallel=parallel))
    code, out, err = finish(graft("train", "--recipe", recipe, "--processes", "2"))
    assert code == 0, err
    run = only_run(tmp_path / "runs")
    assert losses(run) == pytest.approx(losses(alone), rel=1e-4)
    assert held_out(run) == pytest.approx(held_out(alone), rel=1e-4)
    assert len(held_out(run)) == 2
    assert files(run) == files(alone)
    assert out.count("trained trained-seed0") == 1 and "Traceback" not in err
    outputs = run.outputs("train-trained-seed0")
    assert (outputs["processes"], outputs["steps"]) == (2, STEPS)
    assert outputs["tokens"] == alone.outputs("train-trained-seed0")["tokens"]
    name = "checkpoints/trained-seed0/final/adapter_model.safetensors"
    ours, theirs = load_file(run.path / name), load_file(alone.path / name)
    assert ours.keys() == theirs.keys()
    assert all((ours[key] - theirs[key]).abs().max() < 1e-3 for key in theirs)


@pytest.mark.slow
@pytest.mark.long
def test_a_whole_run_started_by_torchrun_scores_once(tmp_path: Path, small_recipe: Build) -> None:
    settings = SETTINGS | {"train__eval_steps": None, "train__eval_max_batches": None, "adapter__kind": "none"}
    settings |= {"study__arms": ["base", "format", "trained"], "engine__parallel": "fsdp"}
    recipe = write_recipe(tmp_path, small_recipe(tmp_path / "runs", **settings))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    process = subprocess.Popen(
        [*command, "-m", "graft", "run", recipe],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
    )
    code, out, err = finish(process)
    assert code == 0, err
    run = only_run(tmp_path / "runs")
    assert run.status == "complete"
    assert run.report.is_file()
    assert out.count("report  ") == 1
    assert {path.name.split("__")[0] for path in run.samples.glob("*.jsonl")}


@pytest.mark.slow
@pytest.mark.long
def test_an_error_of_all_is_told_once(tmp_path: Path, small_recipe: Build) -> None:
    settings = SETTINGS | {"train__learning_rate": 1e30, "train__max_grad_norm": 1e30, "train__warmup_steps": 0}
    recipe = write_recipe(tmp_path, small_recipe(tmp_path / "runs", **settings))
    began = time.monotonic()
    code, _, err = finish(graft("train", "--recipe", recipe, "--processes", "2"))
    assert code == 2
    assert err.count("error:") == 1 and "the loss became nan" in err and "Traceback" not in err
    assert only_run(tmp_path / "runs").status == "failed"
    assert time.monotonic() - began < 200


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_the_run_goes_on_alone(tmp_path: Path, small_recipe: Build, rank: int) -> None:
    runs = tmp_path / "runs"
    recipe = write_recipe(tmp_path, small_recipe(runs, **SETTINGS | {"train__max_steps": 500}))
    process = graft("train", "--recipe", recipe, "--processes", "2")
    wait_for_step(process, runs)
    os.kill(children(process.pid)[rank], signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 2, err
    assert err.count("error:") == 1 and f"process {rank} of 2 was killed by signal 9" in err
    assert "Traceback" not in err
    assert only_run(runs).status in ("failed", "crashed")
    process = graft("train", "--runs", str(runs), "--resume", "latest")
    wait_for(lambda: only_run(runs).status == "running", process)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143


@pytest.mark.slow
@pytest.mark.long
def test_sigterm_reaches_all_and_saves_once(tmp_path: Path, small_recipe: Build) -> None:
    runs = tmp_path / "runs"
    recipe = write_recipe(tmp_path, small_recipe(runs, **SETTINGS | {"train__max_steps": 500}))
    process = graft("train", "--recipe", recipe, "--processes", "2")
    wait_for_step(process, runs)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 143, err
    assert err.count("Stopped.") == 1 and "Traceback" not in err
    assert only_run(runs).status == "interrupted"


class Payload:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_attacker_finds_no_port_from_outside_and_runs_nothing_from_inside(
    tmp_path: Path, small_recipe: Build
) -> None:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    runs, ran = tmp_path / "runs", tmp_path / "ran"
    recipe = write_recipe(tmp_path, small_recipe(runs, **SETTINGS))
    process = graft("train", "--recipe", recipe, "--processes", "2")
    seen: set[str] = set()
    attacker: Any = None
    while process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                listening = [c for c in child.net_connections("inet") if c.status == psutil.CONN_LISTEN]
                seen |= {connection.laddr.ip for connection in listening}
                if attacker is None and child.environ().get("RANK") == "0" and listening:
                    port = int(child.environ()["MASTER_PORT"])
                    attacker = TCPStore("127.0.0.1", port, wait_for_workers=False)
        if attacker is not None:
            with suppress(RuntimeError):  # the store went with the run
                for number in range(4):
                    attacker.set(f"graft/order/{number}", pickle.dumps(Payload(ran)))
                attacker.set("graft/failure", b"stop")
        time.sleep(0.02)
    code, _, err = finish(process)
    assert attacker is not None and seen == {"127.0.0.1"}
    assert not ran.exists()
    assert code == 2 and err.count("error:") == 1 and "none of the processes wrote" in err
    assert "Traceback" not in err


def wait_for_step(process: subprocess.Popen[str], runs: Path) -> None:
    wait_for(lambda: any(list_checkpoints(path) for path in runs.glob("*/checkpoints/trained-seed0")), process)


def wait_for(seen: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that one started, by their rank."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True)
    return sorted(map(int, found.stdout.split()))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_multi_gpu_without_gpus_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="no CUDA GPU on this machine; use --processes N"):
        processes_to_start(multi_gpu=True, processes=None, device="auto")
    with pytest.raises(ConfigError, match=r"model\.device is cpu; use --processes N"):
        processes_to_start(multi_gpu=True, processes=None, device="cpu")
    assert processes_to_start(multi_gpu=False, processes=3, device="auto") == 3


def test_one_process_starts_on_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert processes_to_start(multi_gpu=True, processes=None, device="auto") == 4
    assert processes_to_start(multi_gpu=True, processes=2, device="auto") == 2
    with pytest.raises(ConfigError, match="--processes is 5, but this machine has 4 GPUs"):
        processes_to_start(multi_gpu=False, processes=5, device="auto")
    monkeypatch.setenv("RANK", "0")  # it is one of those that were started
    assert processes_to_start(multi_gpu=True, processes=None, device="auto") == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"engine__name": "trl"}, r"engine\.name is trl.*2 processes"),
        ({"mode": "grpo"}, "mode is grpo, which trains in one process"),
        ({"engine__parallel": "fsdp", "model__quantize": "nf4"}, r"model\.quantize is nf4.*engine\.parallel: ddp"),
        ({"engine__parallel": "fsdp", "train__optimizer": "muon"}, r"train\.optimizer is muon.*use adamw"),
        ({"engine__parallel": "fsdp", "train__optimizer": "adamw_8bit"}, r"train\.optimizer is adamw_8bit.*use adamw"),
    ],
)
def test_what_one_process_alone_can_do_is_refused(
    tmp_path: Path, small_recipe: Build, overrides: dict[str, Any], message: str
) -> None:
    recipe = small_recipe(tmp_path, **overrides).recipe
    check_processes(recipe, 1)
    with pytest.raises(ConfigError, match=message):
        check_processes(recipe, 2)


def test_scoring_by_many_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["eval", "sprout"]) == 2
    assert "graft eval scores in one process, but 2 were started" in capsys.readouterr().err
