"""The quick start, offline: any attempt to leave this machine fails the run and is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.guarded import GUARDED, MAIN, with_packages_that_fetch

ROOT = Path(__file__).parents[2]


def quickstart(runs: Path, *overrides: str, packages: str = "") -> tuple[subprocess.CompletedProcess[str], float]:
    command = ["--json", "run", "recipes/quickstart.yaml", f"runs={runs}", *overrides]
    environment = {**os.environ, "GRAFT_OFFLINE": "1", "PYTHONPATH": f"{packages}:{os.environ.get('PYTHONPATH', '')}"}
    environment.pop("OMP_NUM_THREADS", None)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", GUARDED + MAIN, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    return done, time.monotonic() - started


def test_the_guard_really_blocks() -> None:
    code = GUARDED + "socket.create_connection(('192.0.2.1', 80), timeout=2)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "BLOCKED" in done.stderr


@pytest.mark.timeout(900)
def test_a_short_quick_start_never_leaves_the_machine_whatever_is_installed(tmp_path: Path) -> None:
    short = ("train.max_steps=3", "eval.items=90", "eval.seen_items=0", "words.train=400", "study.seeds=[0]")
    done, _ = quickstart(tmp_path / "runs", *short, packages=with_packages_that_fetch(tmp_path / "packages"))
    assert done.returncode == 0, done.stderr
    assert "BLOCKED" not in done.stderr
    outcome = json.loads(done.stdout)
    assert Path(outcome["report"]).is_file()
    assert [row["Task"] for row in outcome["table"]] == ["spelling", "position", "count"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_whole_quick_start_teaches_spelling_and_ends_in_a_verdict(tmp_path: Path) -> None:
    done, seconds = quickstart(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "BLOCKED" not in done.stderr
    (folder,) = tmp_path.iterdir()
    study = json.loads((folder / "verdict.json").read_text())["study"]
    rows = json.loads((folder / "results.json").read_text())["rows"]
    spelled = {row["arm"]: row["strict"] for row in rows if row["task"] == "spelling" and row["split"] == "eval"}
    taught = [share for arm, share in spelled.items() if arm.startswith("trained")]
    assert len(taught) == 3 and min(taught) > spelled["base"] + 0.03, "spelling was not taught"
    assert study["trained"]["contrasts"][0]["change"]["estimate"] > 0  # the share of letters, where form cannot help
    assert study["exploratory"]
    assert {target["task"]: target["verdict"] for target in study["targets"]}.keys() == {"position", "count"}
    assert seconds < 800, f"the quick start took {seconds:.0f} s"
