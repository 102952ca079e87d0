"""Running code that a model wrote: in a process of its own, with limits on time, memory, files and network.

The process is a fresh, isolated Python with an empty environment and a temporary folder as home and working directory.
Where the kernel lets us (Linux with user namespaces), it has no network device but its own and no view of other
processes, and all that it started dies with it; elsewhere Python's audit events refuse sockets and other programs,
which stops ordinary code but no attack. Which of the two held is part of every result. Run as root, the process becomes
the user *nobody* where that user can read Python; else the kernel limits no number of processes, and Python counts
instead. Files outside its folder can be changed only where the kernel has no Landlock (Linux before 5.13 and other
systems).

These are limits for the accidents of generated code. They are no prison: files that the user may read can be read, and
code that patches `unittest` can pretend to pass its tests.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import IO, Any

from graft.tasks.harness import landlock_version

_NOBODY = 65534
_NAMESPACES = ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")


class Network(Enum):
    """How the network is kept away."""

    NAMESPACE = "a network namespace without devices"
    HOOK = "sockets and other programs refused by Python's audit events"


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
        memory_bytes: address space of each process.
        file_bytes: size of each file that it writes, its output included.
        processes: processes and threads at once; for root, processes started in all.
        output_characters: how much of its output is kept.
    """

    wall_seconds: float = 60.0
    cpu_seconds: int = 30
    memory_bytes: int = 4 * 2**30
    file_bytes: int = 64 * 2**20
    processes: int = 64
    output_characters: int = 10_000


@dataclass(frozen=True, slots=True)
class Confinement:
    """What this machine offers.

    Attributes:
        prefix: command that starts another one in namespaces of its own; empty where that cannot be.
        user: id of the user that programs run as; ``None`` for the present one.
        landlock: the kernel lets a program change files in its own folder only.
    """

    prefix: tuple[str, ...]
    user: int | None
    landlock: bool

    @property
    def network(self) -> Network:
        """How the network is kept away."""
        return Network.NAMESPACE if self.prefix else Network.HOOK


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a program.

    Attributes:
        verdict: how it ended.
        tests: number of tests that ran.
        wrong: names of the tests that failed.
        error: the first error in one line; empty without any.
        missing: name of a module that is not installed here; empty when none was missed.
        output: the beginning of what it printed, errors included.
        seconds: how long it took.
        confinement: how it was shut in.
    """

    verdict: Verdict
    tests: int
    wrong: tuple[str, ...]
    error: str
    missing: str
    output: str
    seconds: float
    confinement: Confinement


def run_tests(
    code: str,
    tests: str,
    limits: Limits = Limits(),
    *,
    confinement: Confinement | None = None,
) -> Execution:
    """Run a program and the unittest class ``TestCases`` that judges it.

    Args:
        code: the program.
        tests: source of the class ``TestCases``; it stands in the same module, after the program.
        limits: what the program may use.
        confinement: how it is shut in; the best that this machine offers when ``None``.

    Returns:
        What became of it. It passed when at least one test ran and none failed, which is told with a random word that
        the program does not know, so that ending early is never a pass.
    """
    held = confinement if confinement is not None else best_confinement()
    with (
        tempfile.TemporaryDirectory(prefix="graft-run-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as order,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as result,
    ):
        home, nonce = Path(folder), secrets.token_hex(16)
        home.joinpath("program.py").write_text(f"{code}\n\n{tests}\n", encoding="utf-8", errors="replace")
        shutil.copyfile(Path(__file__).with_name("harness.py"), home / "harness.py")
        if held.user is not None:
            for path in (home, *home.iterdir()):
                os.chown(path, held.user, held.user)
        order.write(json.dumps(_order(home, nonce, result.fileno(), limits, held)).encode())
        order.seek(0)
        start = time.monotonic()
        ended = _run(home, limits, held, order, output, result.fileno())
        seconds = time.monotonic() - start
        late = not ended or seconds >= limits.cpu_seconds
        report = _report(_head(result, 2**20), nonce)
        return _execution(report, late, _head(output, limits.output_characters), seconds, held)


def _order(home: Path, nonce: str, result: int, limits: Limits, held: Confinement) -> dict[str, Any]:
    """What the harness is told."""
    others = 0 if held.prefix else _threads_of(os.getuid() if held.user is None else held.user)
    return {
        "file": str(home / "program.py"),
        "nonce": nonce,
        "result": result,
        "landlock": held.landlock,
        "hook": held.network is Network.HOOK,
        "starts": limits.processes if held.user is None and os.getuid() == 0 else None,
        "limits": {
            "RLIMIT_CPU": limits.cpu_seconds,
            "RLIMIT_AS": limits.memory_bytes,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_NPROC": limits.processes + others,
            "RLIMIT_CORE": 0,
        },
    }


def _threads_of(user: int) -> int:
    """Threads that a user has already: the system counts them all against the limit."""
    import psutil

    count = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            count += process.num_threads() if process.uids().real == user else 0
    return count


def _run(home: Path, limits: Limits, held: Confinement, order: IO[bytes], output: IO[bytes], result: int) -> bool:
    """Run the harness until it ends or its time is over; whether it ended. Nothing that it started is left."""
    command = (sys.executable, "-I", "-B", str(home / "harness.py"))
    process = _start(command, home, held, order, output, (result,))
    try:
        process.wait(timeout=limits.wall_seconds)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        _end(process, held, home)


def _start(
    command: tuple[str, ...],
    home: Path,
    held: Confinement,
    order: IO[bytes] | int,
    output: IO[bytes] | int,
    keep: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a confined process with an empty environment, in a session of its own."""
    environment = {
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
    return subprocess.Popen(
        [*held.prefix, *command],
        stdin=order,
        stdout=output,
        stderr=output,
        cwd=home,
        env=environment,
        pass_fds=keep,
        start_new_session=True,
        user=held.user,
        group=held.user,
        extra_groups=None if held.user is None else (),
    )


def _end(process: subprocess.Popen[bytes], held: Confinement, home: Path) -> None:
    """Kill a process and all that it started, also what left its group but has its environment, and wait for it."""
    import psutil

    if held.prefix and process.poll() is None:
        with suppress(psutil.Error):  # the first process of the namespace takes all others along
            for child in psutil.Process(process.pid).children():
                child.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if not held.prefix:
        _kill_all_of(home)


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


def _head(file: IO[bytes], size: int) -> str:
    file.seek(0)
    return file.read(size).decode(errors="replace")


def _execution(report: Mapping[str, Any], late: bool, output: str, seconds: float, held: Confinement) -> Execution:
    """Put a result together; without a report the program ran out of time or ended by itself."""
    if not report:
        verdict = Verdict.TIMEOUT if late else Verdict.NO_RESULT
        return Execution(verdict, 0, (), "", "", output, seconds, held)
    tests, wrong, error = report["ran"], tuple(report["wrong"]), report["error"]
    verdict = Verdict.PASSED if tests and not wrong and not error else Verdict.FAILED
    return Execution(verdict, tests, wrong, error, report["missing"], output, seconds, held)


def _report(text: str, nonce: str) -> dict[str, Any]:
    """The harness's report, or nothing when its random word is not in it."""
    try:
        report = json.loads(text)
    except ValueError:
        return {}
    return report if isinstance(report, dict) and report.get("nonce") == nonce else {}


@cache
def best_confinement() -> Confinement:
    """The strictest confinement in which this machine starts a Python at all; found out once."""
    unshare = shutil.which("unshare") if sys.platform == "linux" else None
    prefixes = [(unshare, *_NAMESPACES, "--mount-proc"), (unshare, *_NAMESPACES)] if unshare else []
    users = (_NOBODY, None) if os.geteuid() == 0 else (None,)
    landlock = landlock_version() > 0
    offered = (Confinement(prefix, user, landlock) for prefix in [*prefixes, ()] for user in users)
    return next((held for held in offered if _works(held)), Confinement((), None, landlock))


def _works(held: Confinement) -> bool:
    with tempfile.TemporaryDirectory(prefix="graft-run-") as folder:
        home = Path(folder)
        if held.user is not None:
            os.chown(home, held.user, held.user)
        try:
            process = _start(
                (sys.executable, "-I", "-c", "import json"), home, held, subprocess.DEVNULL, subprocess.DEVNULL
            )
        except OSError:
            return False
        try:
            return process.wait(timeout=30) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(process, held, home)
