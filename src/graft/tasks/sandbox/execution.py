"""Running code that a model wrote, in a process of its own behind walls, and its judge in another.

The walls are the kernel's where it has them (`Walls.KERNEL`, Linux with user namespaces; see `graft.tasks.sandbox.
confine`), else Python's own and Landlock (`Walls.WEAK`; see `graft.tasks.sandbox.weak`), which stop ordinary code but
no attack. Which of the two held is part of every result.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import site
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
from pathlib import Path
from typing import IO, Any

from graft.tasks.sandbox.confine import HOME, NO_WALLS, PACKAGE
from graft.tasks.sandbox.screen import Given
from graft.tasks.sandbox.weak import landlock_version

_NOBODY = 65534
_RESULT_BYTES = 2**20


class Walls(Enum):
    """What a program is shut in by."""

    KERNEL = "namespaces, a root of its own and a filter of system calls"
    WEAK = "Python's audit events, and Landlock where the kernel has it"


class Verdict(Enum):
    """How a program and its tests ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    NO_RESULT = "ended before its tests did"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    Attributes:
        wall_seconds: time until it is killed with all that it started.
        cpu_seconds: computing time of each process, whole seconds.
        memory_bytes: address space of each process; behind the kernel's walls also what all hold together.
        disk_bytes: all files together, in memory; behind the kernel's walls only.
        file_bytes: size of each file that it writes, and of its output.
        processes: processes and threads at once; for root behind weak walls, processes started in all.
        output_characters: how much of its output is kept.
    """

    wall_seconds: float = 60.0
    cpu_seconds: int = 30
    memory_bytes: int = 4 * 2**30
    disk_bytes: int = 256 * 2**20
    file_bytes: int = 64 * 2**20
    processes: int = 64
    output_characters: int = 10_000


@dataclass(frozen=True, slots=True)
class Confinement:
    """What this machine offers.

    Attributes:
        walls: what a program is shut in by.
        user: id of the user that programs run as; ``None`` for the present one.
        landlock: weak walls have Landlock.
        why_weak: what the kernel refused; empty behind its walls.
    """

    walls: Walls
    user: int | None = None
    landlock: bool = False
    why_weak: str = ""


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
    limits: Limits = Limits(),
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
        limits: what the program may use, and its judge.
        given: what the makers of the tests give with them; nothing when ``None``.
        in_place: what the program changes in its arguments reaches the tests; it could so change what it is compared
            with, where that is made of them.
        inside: run the tests in one process with the program, as they must that look into it.
        confinement: how both are shut in; the best that this machine offers when ``None``.

    Returns:
        What became of it. It passed when at least one test ran and none failed.

    Raises:
        OSError: the walls could not be built this time.
    """
    held = confinement if confinement is not None else best_confinement()
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
        self.started: list[tuple[subprocess.Popen[bytes], Path]] = []
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
        if judge.returncode == NO_WALLS:
            raise OSError(f"the sandbox could not be built: {self.output.strip()[:200]}")
        return _report(result.text, self.nonce)

    def _start(self, order: Mapping[str, Any], ends: tuple[int, ...]) -> subprocess.Popen[bytes]:
        """Start a process behind walls; the ends of pipes that it gets are closed here."""
        home = Path(tempfile.mkdtemp(prefix="graft-run-"))
        read, write = os.pipe()  # each its own: what the judge prints is not for the program
        self.outputs.append(_Reader(read, self.limits.file_bytes))
        try:
            process = start(self.held, self.limits, home, order, write, ends)
        finally:
            for one in (*ends, write):
                os.close(one)
        self.started.append((process, home))
        return process

    def end(self) -> None:
        """Kill what is left, and clear it away."""
        for process, home in self.started:
            end(process, self.held, home)
        self.started.clear()

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


def start(
    held: Confinement,
    limits: Limits,
    home: Path,
    order: Mapping[str, Any],
    output: IO[bytes] | int,
    ends: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a Python behind walls that does what `order` says.

    Args:
        held: the walls.
        limits: what it may use.
        home: an empty folder: its home behind weak walls, else the place of its root.
        order: see `graft.tasks.sandbox.entry`.
        output: takes what it prints.
        ends: descriptors that it keeps.
    """
    strong = held.walls is Walls.KERNEL
    if not strong and held.user is not None:
        os.chown(home, held.user, held.user)
    python = (sys.executable, "-I", "-B")
    boot = _boot("entry", str(Path(PACKAGE).parent) if strong else str(Path(__file__).parent.parent))
    command = (
        (
            *python,
            "-S",
            "-c",
            _boot("confine", str(Path(__file__).parent.parent)),
            json.dumps(_plan(held, limits, home)),
            boot,
        )
        if strong
        else (*python, "-c", boot)
    )
    with tempfile.TemporaryFile() as told:
        told.write(json.dumps({**order, "weak": None if strong else _weak_plan(held, limits, home)}).encode())
        told.seek(0)
        return subprocess.Popen(
            command,
            stdin=told,
            stdout=output,
            stderr=output,
            cwd=home,
            env=_environment(home),
            pass_fds=ends,
            start_new_session=True,
            user=None if strong else held.user,
            group=None if strong else held.user,
            extra_groups=None if strong or held.user is None else (),
        )


def _boot(module: str, place: str) -> str:
    """A program that runs a module of this package, which stands in `place`, and nothing else from there."""
    return f"import sys; sys.path.insert(0, {place!r}); from sandbox.{module} import main; del sys.path[0]; main()"


def _environment(home: Path) -> dict[str, str]:
    """All of the environment that a program has: nothing of the caller's."""
    return {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(home),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "GRAFT_RUN": str(home),
    }


def _plan(held: Confinement, limits: Limits, home: Path) -> dict[str, Any]:
    """What `graft.tasks.sandbox.confine` is told."""
    places = (sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages())
    return {
        "root": str(home),
        "user": held.user,
        "disk_bytes": limits.disk_bytes,
        "memory_bytes": limits.memory_bytes,
        "python": list(dict.fromkeys(map(os.path.abspath, places))),
        "limits": _resources(limits, 0),
        "environment": _environment(Path(HOME)) | {"TMPDIR": "/tmp"},
    }


def _weak_plan(held: Confinement, limits: Limits, home: Path) -> dict[str, Any]:
    """What `graft.tasks.sandbox.weak` is told."""
    user = getattr(os, "getuid", lambda: -1)() if held.user is None else held.user
    return {
        "home": str(home.resolve()),
        "landlock": held.landlock,
        "starts": limits.processes if user == 0 else None,
        "limits": _resources(limits, _threads_of(user)),
    }


def _resources(limits: Limits, others: int) -> dict[str, int]:
    return {
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NPROC": limits.processes + others,
        "RLIMIT_CORE": 0,
    }


def _threads_of(user: int) -> int:
    """Threads that a user has already: the system counts them all against the limit."""
    import psutil

    count = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            count += process.num_threads() if process.uids().real == user else 0
    return count


def end(process: subprocess.Popen[bytes], held: Confinement, home: Path) -> None:
    """Kill a process and all that it started, and remove its home.

    Behind the kernel's walls each process is killed with its parent, and the last with its namespace. Behind weak walls
    what left its group is found by its environment.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if held.walls is Walls.WEAK:
        _kill_all_of(home)
    shutil.rmtree(home, ignore_errors=True)


def _kill_all_of(home: Path) -> None:
    """Kill what has this home in its environment; twice, for what was just born."""
    import psutil

    for _ in range(2):
        killed = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get("GRAFT_RUN") == str(home):
                    process.kill()
                    killed.append(process)
        psutil.wait_procs(killed, timeout=2.0)


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
    home = Path(tempfile.mkdtemp(prefix="graft-run-"))
    with tempfile.TemporaryFile() as output:
        try:
            process = start(held, Limits(), home, {"role": "nothing"}, output)
        except OSError as error:
            shutil.rmtree(home, ignore_errors=True)
            return str(error)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        ended = process.poll()
        end(process, held, home)
        output.seek(0)
        told = output.read(2000).decode(errors="replace").strip().rpartition("\n")[2]
    return "" if ended == 0 else told or f"a Python within them ended with {ended}"
