"""Starting a Python behind walls, and ending it with all that it started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any

from graft.tasks.sandbox.confine import HOME, PACKAGE


class Walls(Enum):
    """What a program is shut in by."""

    KERNEL = "namespaces, a root of its own and a filter of system calls"
    WEAK = "Python's audit events, and Landlock where the kernel has it"


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


class Launched:
    """A Python behind walls.

    Args:
        held: the walls.
        limits: what it may use.
        order: what it is to do; see `graft.tasks.sandbox.entry`.
        output: takes what it prints.
        ends: descriptors that it keeps.

    Raises:
        OSError: it cannot be started at all.
    """

    def __init__(
        self,
        held: Confinement,
        limits: Limits,
        order: Mapping[str, Any],
        output: IO[bytes] | int,
        ends: tuple[int, ...] = (),
    ) -> None:
        self._held = held
        self._home = Path(tempfile.mkdtemp(prefix="graft-run-"))
        leash, self._leash = os.pipe()
        try:
            self.process = self._start(limits, order, output, ends, leash)
        except OSError:
            os.close(self._leash)
            shutil.rmtree(self._home, ignore_errors=True)
            raise
        finally:
            os.close(leash)

    def _start(
        self, limits: Limits, order: Mapping[str, Any], output: IO[bytes] | int, ends: tuple[int, ...], leash: int
    ) -> subprocess.Popen[bytes]:
        here, python, user = str(Path(__file__).parent.parent), (sys.executable, "-I", "-B"), self._held.user
        command: tuple[str, ...] = (*python, "-c", _boot("entry", here))
        weak: dict[str, Any] | None = None
        if self._held.walls is Walls.KERNEL:
            plan = json.dumps(_plan(self._held, limits, self._home, leash))
            inner = _boot("entry", str(Path(PACKAGE).parent))
            command, ends = (*python, "-S", "-c", _boot("confine", here), plan, inner), (*ends, leash)
            user = None  # the walls are built first
        else:
            weak = _weak_plan(self._held, limits, self._home)
            if user is not None:
                os.chown(self._home, user, user)
        with tempfile.TemporaryFile() as told:
            told.write(json.dumps({**order, "weak": weak}).encode())
            told.seek(0)
            return subprocess.Popen(
                command,
                stdin=told,
                stdout=output,
                stderr=output,
                cwd=self._home,
                env=_environment(self._home),
                pass_fds=ends,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else (),
            )

    def end(self) -> None:
        """Kill it and all that it started, and remove its home.

        Behind the kernel's walls the leash is let go: the first process of the namespace ends, the kernel kills the
        others, and only then do the outer ones end. Behind weak walls what left its group is found by its environment.
        """
        os.close(self._leash)
        if self._held.walls is Walls.KERNEL:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self._held.walls is Walls.WEAK:
            _kill_all_of(self._home)
        shutil.rmtree(self._home, ignore_errors=True)


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


def _plan(held: Confinement, limits: Limits, home: Path, leash: int) -> dict[str, Any]:
    """What `graft.tasks.sandbox.confine` is told."""
    places = (sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages())
    return {
        "root": str(home),
        "leash": leash,
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
