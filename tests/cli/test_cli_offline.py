"""`GRAFT_OFFLINE=1` binds every library: no command leaves the machine, whatever is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.guarded import GUARDED, with_packages_that_fetch

ROOT = Path(__file__).parents[2]
VARIABLES = """
import json, sys
import graft
from huggingface_hub import constants
import datasets
from importlib.util import find_spec
print(json.dumps({
    "hub": constants.HF_HUB_OFFLINE, "telemetry": not constants.HF_HUB_DISABLE_TELEMETRY,
    "updates": not constants.HF_HUB_DISABLE_UPDATE_CHECK, "datasets": datasets.config.HF_HUB_OFFLINE,
    "counts": datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, "kernels": find_spec("kernels") is not None,
}))
"""
ALL = """
import io, json
from graft.cli.main import main
codes = []
for command in json.loads(sys.argv[1]):
    sys.stdin = io.StringIO("hello\\n")
    codes.append(main(command))
print("CODES", json.dumps(codes))
"""


def bare(**more: str) -> dict[str, str]:
    """The environment without what the tests set for themselves."""
    names = ("HF_", "GRAFT_", "DO_NOT_TRACK", "USE_HUB_KERNELS", "WANDB_")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)} | more


def told(packages: Path, **variables: str) -> dict[str, bool]:
    path = f"{with_packages_that_fetch(packages)}:{ROOT / 'src'}"
    done = subprocess.run(
        [sys.executable, "-c", VARIABLES],
        capture_output=True,
        text=True,
        timeout=60,
        env=bare(PYTHONPATH=path, **variables),
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, bool] = json.loads(done.stdout)
    return found


def test_libraries_are_told_before_they_are_imported(tmp_path: Path) -> None:
    offline = told(tmp_path / "a", GRAFT_OFFLINE="1", HF_HUB_OFFLINE="0")
    assert offline == {
        "hub": True, "telemetry": False, "updates": False, "datasets": True, "counts": False, "kernels": False
    }  # fmt: skip


def test_no_library_prints_that_it_is_offline_where_the_result_stands() -> None:
    """transformers prints a line on stdout, which holds JSON alone, when WANDB_MODE is ``offline``."""
    command = [sys.executable, "-c", "import os, graft; print(os.environ['WANDB_MODE'])"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=bare(GRAFT_OFFLINE="1", PYTHONPATH=f"{ROOT}/src")
    )
    assert done.stdout == "disabled\n"


def test_without_it_they_are_only_kept_quiet(tmp_path: Path) -> None:
    online = told(tmp_path / "b")
    assert (online["hub"], online["datasets"], online["kernels"]) == (False, False, True)
    assert not online["telemetry"] and not online["counts"] and not online["updates"]


@pytest.mark.slow
def test_no_command_leaves_the_machine_whatever_is_installed(tmp_path: Path) -> None:
    runs = f"runs={tmp_path / 'runs'}"
    short = ["train.max_steps=2", "eval.items=60", "eval.seen_items=0", "words.train=300"]
    short += ["study.seeds=[0]", "study.arms=[trained]"]
    commands = [
        ["doctor", "recipes/quickstart.yaml"],
        ["check", "recipes/quickstart.yaml", *short, runs],
        ["train", "--recipe", "recipes/quickstart.yaml", *short, runs],
        ["--runs", str(tmp_path / "runs"), "report", "latest"],
        ["--runs", str(tmp_path / "runs"), "runs"],
        ["chat", "sprout"],
        ["eval", "sprout", "eval.tasks=spelling", "eval.items=20", "words.train=200", runs],
        ["vocab", "english", "sprout", "--out", str(tmp_path / "vocabulary")],
        ["tasks"],
        ["version"],
        ["eval", "Qwen/Qwen3-0.6B", "eval.tasks=spelling", runs],
        ["tasks", "show", "imdb"],
    ]
    path = f"{with_packages_that_fetch(tmp_path / 'packages')}:{ROOT / 'src'}"
    own = {"GRAFT_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", GUARDED + ALL, json.dumps(commands)],
        cwd=ROOT,
        env=bare(GRAFT_OFFLINE="1", PYTHONPATH=path, **own),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert "BLOCKED" not in done.stderr, done.stderr[-2000:]
    codes = json.loads(done.stdout.rpartition("CODES ")[2])
    assert codes == [0] * (len(commands) - 2) + [2, 2], list(zip(codes, commands, strict=False))
    assert "offline" in done.stderr
