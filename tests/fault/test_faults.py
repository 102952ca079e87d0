"""A run that is killed, refused a file operation or out of memory anywhere ends as one that nothing disturbed.

Every operation that changes a file below the folder of runs is a point. At a point the process is killed, gets a
signal, or the operation fails; then the run is continued as a person would, and its results must have the same bits.
Slow tests try points spread over a run; ``long`` ones every single one.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from graft.config.loading import Resolved
from graft.config.writing import to_yaml
from graft.runs.directory import RunDirectory
from graft.runs.listing import list_runs
from graft.runs.verify import verify_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
HERE = Path(__file__).parent
KEPT = ("samples/*.jsonl", "checkpoints/*/final/*.safetensors", "controls/*.jsonl", "results.json")
"""What must have the same bits, whatever happened."""

TINY: dict[str, Any] = {
    "model__precision": "float32",
    "words__train": 60,
    "words__eval": 20,
    "eval__items": 6,
    "eval__seen_items": 2,
    "sampling__max_new_tokens": 2,
    "train__max_steps": 4,
    "study__resamples": None,
    "engine__self_check": "off",
}
RECIPES: dict[str, dict[str, Any]] = {
    "a study": {"study__arms": ["base", "trained"], "eval__tasks": ["spelling", "position"]},
    "checkpoints of whole weights": {
        "adapter__kind": "none",
        "train__save_steps": 1,
        "train__keep_last": 2,
        "train__eval_steps": 2,
        "train__keep_best": True,
        "study__arms": ["trained"],
        "eval__tasks": ["spelling"],
    },
    "the base's own replies": {"study__arms": ["base", "self"], "eval__tasks": ["spelling"], "train__save_steps": 2},
}
FAILURES = {
    "disk full": (errno.ENOSPC, True, 1 | 8 | 16),
    "quota": (errno.EDQUOT, True, 1),
    "disk error": (errno.EIO, False, 1 | 2),
    "no rename": (errno.EIO, False, 4),
    "read only": (errno.EROFS, True, 4 | 8 | 16 | 32 | 64),
    "too many files": (errno.EMFILE, True, 8),
    "no memory": (errno.ENOMEM, False, 1 | 8),
}
"""Number of the error, whether it stays, and the operations: write 1, sync 2, rename 4, open 8, mkdir 16, cut 32,
unlink 64."""


STATES = {0: {"complete"}, 2: {"failed"}, -9: {"crashed", "created"}}
"""What `graft runs` may say after an exit code; of others, that the run was interrupted."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("failing file operations need a C compiler and Linux")
    place = tmp_path_factory.mktemp("library") / "fault.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(place), str(HERE / "fault.c"), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the C compiler cannot make the library: {done.stderr[:200]}")
    return place


class Worker:
    """The process that forks one child for each command line."""

    def __init__(self, library: Path, folder: Path) -> None:
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "OMP_NUM_THREADS": "1",
            "GRAFT_CACHE": str(folder / "c"),
        }
        command = [sys.executable, str(HERE / "worker.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )

    def graft(self, *arguments: str, output: Path, **fault: Any) -> dict[str, int]:
        """Exit code and number of counted operations of a command line."""
        assert self._process.stdin and self._process.stdout
        order = {"arguments": arguments, "output": str(output), "fault": fault}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def worker(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    started = Worker(library, tmp_path_factory.mktemp("worker"))
    yield started
    started.close()


class Case:
    """One recipe, its undisturbed results, and the number of its points."""

    def __init__(self, worker: Worker, folder: Path, resolve: Callable[..., Resolved], name: str) -> None:
        self.worker, self.folder = worker, folder
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(to_yaml(resolve(folder / "runs", **TINY, **RECIPES[name])))
        whole = self.run("whole", below="whole")
        assert whole["code"] == 0, (folder / "whole.txt").read_text()
        self.points = whole["operations"]
        self.wanted = self.results("whole")

    def run(self, name: str, *arguments: str, **fault: Any) -> dict[str, int]:
        """Begin a run in a folder of its own, or go on with other arguments."""
        given = arguments or ("run", str(self.recipe), f"runs={self.folder / name}")
        return self.worker.graft(*given, output=self.folder / f"{name}.txt", **fault)

    def results(self, name: str) -> dict[str, str]:
        """Hashes of what must not differ; what tells of time and speed is left out."""
        (run,) = (path for path in (self.folder / name).iterdir() if (path / "report.html").is_file())
        paths = sorted(path for pattern in KEPT for path in run.glob(pattern))
        return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    def disturbed(self, **fault: Any) -> str:
        """What is wrong after a fault and the next try; empty when nothing is."""
        name = "t"
        shutil.rmtree(self.folder / name, ignore_errors=True)
        first = self.run(name, below=f"/{name}/", **fault)
        told = (self.folder / f"{name}.txt").read_text(errors="replace")
        if "Traceback" in told or first["code"] not in (0, 2, 130, 143, -9):
            return f"exit code {first['code']}: {told[-1500:]}"
        runs = list_runs(self.folder / name)
        status = [str(run.status) for run in runs]
        wanted = STATES.get(first["code"], {"interrupted", "created"})
        if any(one not in wanted | ({"crashed"} if fault.get("errno") else set()) for one in status):
            return f"exit code {first['code']} but status {status}"
        if first["code"]:
            begun = any((run.path / "recipe.yaml").is_file() for run in runs)
            resumed = ("run", "--resume", "latest", "--runs", str(self.folder / name))
            again = self.run(name, *(resumed if begun else ()))
            if again["code"]:
                return f"not continued: {(self.folder / f'{name}.txt').read_text(errors='replace')[-1500:]}"
        left = [str(path) for path in (self.folder / name).rglob(".tmp-*")]
        (done,) = (run for run in list_runs(self.folder / name) if run.status == "complete")
        differing = self.results(name).items() ^ self.wanted.items()
        damage = verify_run(RunDirectory(done.path)).damage
        return f"differs {sorted(differing)}, left {left}, damage {damage}" if differing or left or damage else ""


@pytest.fixture(scope="module", params=RECIPES)
def case(
    request: pytest.FixtureRequest,
    worker: Worker,
    small_recipe: Callable[..., Resolved],
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    return Case(worker, tmp_path_factory.mktemp("case"), small_recipe, request.param)


def spread(points: int, count: int) -> Sequence[int]:
    """Points evenly over a run, first and last included."""
    return sorted({round(place * (points - 1) / (count - 1)) for place in range(count)})


def assert_sound(case: Case, faults: Iterator[dict[str, Any]]) -> None:
    wrong = {str(fault): found for fault in faults if (found := case.disturbed(**fault))}
    assert not wrong, "\n".join(f"{fault}: {found}" for fault, found in wrong.items())


def test_killed_at_points_all_over_a_run_it_ends_in_the_same_bits(case: Case) -> None:
    assert case.points > 50
    assert_sound(case, ({"at": at, "signal": signal.SIGKILL} for at in spread(case.points, 4)))


def test_failing_operations_end_in_one_message_and_the_same_bits(case: Case) -> None:
    faults = itertools.cycle(FAILURES.values())
    assert_sound(
        case,
        (
            {"at": at // 3, "errno": number, "onwards": onwards, "operations": which}
            for at, (number, onwards, which) in zip(spread(case.points, 4), faults, strict=False)
        ),
    )


@pytest.mark.long
def test_killed_at_every_point_it_ends_in_the_same_bits(case: Case) -> None:
    assert_sound(case, ({"at": at, "signal": signal.SIGKILL} for at in range(case.points)))


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_every_third_point_ends_in_the_same_bits(case: Case, number: signal.Signals) -> None:
    assert_sound(case, ({"at": at, "signal": number} for at in range(0, case.points, 3)))


@pytest.mark.long
@pytest.mark.parametrize("failure", FAILURES)
def test_every_operation_may_fail(case: Case, failure: str) -> None:
    number, onwards, which = FAILURES[failure]
    assert_sound(
        case,
        (
            {"at": at, "errno": number, "onwards": onwards, "operations": which}
            for at in range(0, case.points, 1 if not onwards else 5)
        ),
    )


@pytest.mark.long
@pytest.mark.parametrize("megabytes", [20, 60, 120, 200])
def test_memory_that_runs_out_is_one_message_and_the_same_bits(case: Case, megabytes: int) -> None:
    assert_sound(case, iter([{"memory": megabytes << 20}]))
