"""Running code that a model wrote, in a process of its own behind walls, and its judge in another.

The walls are the kernel's where it has them (`Walls.KERNEL`, Linux with user namespaces; see `graft.tasks.sandbox.
confine`), else Python's own and Landlock (`Walls.WEAK`; see `graft.tasks.sandbox.weak`), which stop ordinary code but
no attack. Which of the two held is part of every result.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cache
from typing import Any

from graft.tasks.sandbox.confine import NO_WALLS
from graft.tasks.sandbox.launch import Confinement, Launched, Limits, Walls
from graft.tasks.sandbox.screen import Given
from graft.tasks.sandbox.weak import landlock_version

_NOBODY = 65534
_RESULT_BYTES = 2**20
_FAILED = 1
"""Exit status of a Python that an error ends: of a judge, which holds nothing of a program, never that one's doing."""


class Verdict(Enum):
    """How a program and its tests ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    NO_RESULT = "ended before its tests did"


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a program.

    Attributes:
        verdict: how it ended.
        tests: number of tests that ran.
        wrong: names of the tests that failed.
        error: the first error in one line; empty without any.
        missing: name of a module that is not installed here; empty when none was missed.
        broken: why it could not be judged by values from outside; empty when it was.
        output: the beginning of what it printed, errors included.
        seconds: how long it took.
        confinement: how it was shut in.
        inside: the tests ran in one process with the program.
    """

    verdict: Verdict
    tests: int
    wrong: tuple[str, ...]
    error: str
    missing: str
    broken: str
    output: str
    seconds: float
    confinement: Confinement
    inside: bool

    @property
    def could_cheat(self) -> bool:
        """Whether the program was where it could have made a verdict of its own."""
        return self.inside or self.confinement.walls is Walls.WEAK


def run_tests(
    code: str,
    tests: str,
    limits: Limits | None = None,
    *,
    given: Given | None = None,
    in_place: bool = False,
    inside: bool = False,
    confinement: Confinement | None = None,
) -> Execution:
    """Run a program and the tests that judge it.

    Args:
        code: the program.
        tests: source of the unittest class ``TestCases``, or of plain assertions.
        limits: what the program may use, and its judge; the default limits when ``None``.
        given: what the makers of the tests give with them; nothing when ``None``.
        in_place: what the program changes in its arguments reaches the tests; it could so change what it is compared
            with, where that is made of them.
        inside: run the tests in one process with the program, as they must that look into it.
        confinement: how both are shut in; the best that this machine offers when ``None``.

    Returns:
        What became of it. It passed when at least one test ran and none failed.

    Raises:
        OSError: the walls could not be built this time, or the judge failed; it says nothing of the program.
    """
    held, limits = confinement or best_confinement(), limits or Limits()
    with ExitStack() as stack:
        run = stack.enter_context(_run(held, limits))
        start = time.monotonic()
        result = run.inside(code, tests) if inside else run.outside(code, tests, given or Given(), in_place)
        seconds = time.monotonic() - start
    output = run.output[: limits.output_characters]
    late = seconds >= min(limits.wall_seconds, limits.cpu_seconds)
    return _execution(result, late, output, seconds, held, inside)


class _Reader(threading.Thread):
    """Reads a pipe to its end, or until too much has come: then it is closed, and whoever writes is told so."""

    def __init__(self, descriptor: int, most: int) -> None:
        super().__init__(daemon=True)
        self._descriptor = descriptor
        self._most = most
        self._parts: list[bytes] = []
        self.start()

    def run(self) -> None:
        with os.fdopen(self._descriptor, "rb", buffering=0) as file:
            while self._most > 0 and (part := file.read(2**16)):
                self._parts.append(part)
                self._most -= len(part)

    @property
    def text(self) -> str:
        """What was read, once all that could write are gone."""
        self.join(timeout=5.0)
        return b"".join(self._parts).decode(errors="replace")


class _Run:
    """One program with its judge.

    Args:
        held: how both are shut in.
        limits: what both may use.
    """

    def __init__(self, held: Confinement, limits: Limits) -> None:
        self.held = held
        self.limits = limits
        self.nonce = secrets.token_hex(16)
        self.started: list[Launched] = []
        self.outputs: list[_Reader] = []

    def inside(self, code: str, tests: str) -> dict[str, Any]:
        """Both in one process; the report, or nothing without the word that the program was not told."""
        read, write = os.pipe()
        order = {"role": "inside", "code": _plain(code), "tests": tests, "result": write, "nonce": self.nonce}
        return self._judged(read, order, (write,))

    def outside(self, code: str, tests: str, given: Given, in_place: bool) -> dict[str, Any]:
        """Each in a process of its own that sees nothing of the other; the judge's report."""
        read, write = os.pipe()
        program, judge = os.pipe(), os.pipe()
        self._start(
            {"role": "candidate", "code": _plain(code), "channel": (program[0], judge[1])}, (program[0], judge[1])
        )
        order = {"role": "judge", "tests": tests, "given": asdict(given), "in_place": in_place}
        ends = (judge[0], program[1], write)
        order |= {"channel": ends[:2], "result": write, "nonce": self.nonce}
        return self._judged(read, order, ends)

    def _judged(self, read: int, order: Mapping[str, Any], ends: tuple[int, ...]) -> dict[str, Any]:
        """Wait for who judges; nothing that was started is left afterwards."""
        result = _Reader(read, _RESULT_BYTES)
        judge = self._start(order, ends)
        with suppress(subprocess.TimeoutExpired):
            judge.wait(timeout=self.limits.wall_seconds)
        self.end()
        if judge.returncode == NO_WALLS or (order["role"] == "judge" and judge.returncode == _FAILED):
            raise OSError(f"the sandbox failed by itself: {self.output.strip().rpartition(chr(10))[2][:200]}")
        return _report(result.text, self.nonce)

    def _start(self, order: Mapping[str, Any], ends: tuple[int, ...]) -> subprocess.Popen[bytes]:
        """Start a process behind walls; the ends of pipes that it gets are closed here."""
        read, write = os.pipe()  # each its own: what the judge prints is not for the program
        self.outputs.append(_Reader(read, self.limits.file_bytes))
        try:
            self.started.append(Launched(self.held, self.limits, order, write, ends))
        finally:
            for one in (*ends, write):
                os.close(one)
        return self.started[-1].process

    def end(self) -> None:
        """Kill what is left, and clear it away."""
        while self.started:
            self.started.pop().end()

    @property
    def output(self) -> str:
        """What was printed, the program's first."""
        return "".join(reader.text for reader in self.outputs)


@contextmanager
def _run(held: Confinement, limits: Limits) -> Iterator[_Run]:
    run = _Run(held, limits)
    try:
        yield run
    finally:
        run.end()


def _plain(code: str) -> str:
    """Code as a file would hold it."""
    return code.encode("utf-8", errors="replace").decode()


def _execution(
    report: Mapping[str, Any], late: bool, output: str, seconds: float, held: Confinement, inside: bool
) -> Execution:
    """Put a result together; without a report the program ran out of time or ended by itself."""
    if not report:
        verdict = Verdict.TIMEOUT if late else Verdict.NO_RESULT
        return Execution(verdict, 0, (), "", "", "", output, seconds, held, inside)
    tests, wrong, error, broken = report["ran"], tuple(report["wrong"]), report["error"], report.get("broken", "")
    verdict = Verdict.PASSED if tests and not wrong and not error and not broken else Verdict.FAILED
    return Execution(verdict, tests, wrong, error or broken, report["missing"], broken, output, seconds, held, inside)


def _report(text: str, nonce: str) -> dict[str, Any]:
    """The judge's report, or nothing when its random word is not in it."""
    try:
        report = json.loads(text)
    except ValueError:
        return {}
    return report if isinstance(report, dict) and report.get("nonce") == nonce else {}


@cache
def best_confinement() -> Confinement:
    """The strictest confinement in which this machine starts a Python at all; found out once."""
    refused = kernel_refusal()
    if not refused:
        return Confinement(Walls.KERNEL, _NOBODY if os.geteuid() == 0 else None)
    users = (_NOBODY, None) if hasattr(os, "geteuid") and os.geteuid() == 0 else (None,)
    offered = (Confinement(Walls.WEAK, user, landlock_version() > 0, refused) for user in users)
    return next((held for held in offered if not _refusal(held)), Confinement(Walls.WEAK, None, False, refused))


def kernel_refusal() -> str:
    """What this machine's kernel refuses of its walls; empty when it builds them."""
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces"
    return _refusal(Confinement(Walls.KERNEL, _NOBODY if os.geteuid() == 0 else None))


def _refusal(held: Confinement) -> str:
    """Why a confinement starts no Python; empty when it does."""
    with tempfile.TemporaryFile() as output:
        try:
            tried = Launched(held, Limits(), {"role": "nothing"}, output)
        except OSError as error:
            return str(error)
        with suppress(subprocess.TimeoutExpired):
            tried.process.wait(timeout=30)
        ended = tried.process.poll()
        tried.end()
        output.seek(0)
        told = output.read(2000).decode(errors="replace").strip().rpartition("\n")[2]
    return "" if ended == 0 else told or f"a Python within them ended with {ended}"
