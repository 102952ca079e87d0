"""The weak sandbox, where the kernel offers no namespaces: Landlock if there is one, and Python's audit events.

It stops the accidents of generated code. Native code can go past the audit events, and what the user may read can be
read.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .confine import limit
from .kernel import refuse_privileges, system_call

PROGRAM_EVENTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile")
_NETWORK_EVENTS = (
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
)  # fmt: skip
_RIGHTS_EVENTS = ("os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr", "os.chflags")
_WRITE_FILE, _REMOVE_FILE, _MAKE_FILE, _REFER, _TRUNCATE = (1 << bit for bit in (1, 5, 8, 13, 14))
_CHANGES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
"""Rights of Landlock by which files and folders are written, made and removed."""


def confine(plan: Mapping[str, Any]) -> None:
    """Put up what can be had: files, network and programs, number of processes, limits."""
    home = Path(plan["home"])
    if plan["landlock"]:
        confine_files(home)
    refuse_reaching_out(home)
    if plan["starts"] is not None:
        count_processes(plan["starts"])
    limit(plan["limits"])


def landlock_version() -> int:
    """The version of Landlock that the kernel offers; 0 for none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None).syscall(444, None, 0, 1)))


def confine_files(home: Path) -> None:
    """Let files be changed in one folder only, by Landlock; ``/dev/null`` and shared memory stay writable.

    Raises:
        OSError: the kernel refuses.
    """
    version = landlock_version()
    changes = _CHANGES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    few = _WRITE_FILE | (_TRUNCATE if version >= 3 else 0)
    ruleset = system_call("landlock_create_ruleset", 444, (ctypes.c_uint64 * 1)(changes), ctypes.c_size_t(8), 0)
    for path, rights in (
        (home, changes),
        ("/dev/null", few),
        ("/dev/shm", changes & (few | _REMOVE_FILE | _MAKE_FILE)),
    ):
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rule = rights.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
        system_call("landlock_add_rule", 445, ruleset, 1, ctypes.create_string_buffer(rule, len(rule)), 0)
        os.close(place)
    refuse_privileges()
    system_call("landlock_restrict_self", 446, ruleset, 0)
    os.close(ruleset)


def refuse_reaching_out(home: Path) -> None:
    """Refuse sockets, other programs, which could open them out of sight of this hook, and rights of files outside."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _NETWORK_EVENTS:
            raise PermissionError(f"{event}: there is no network in here")
        if event in PROGRAM_EVENTS:
            raise PermissionError(f"{event}: no other program may be started in here")
        if event in _RIGHTS_EVENTS and not _within(arguments[0], home):
            raise PermissionError(f"{event}: only in its own folder")

    sys.addaudithook(hook)


def _within(path: Any, home: Path) -> bool:
    real = os.path.realpath(os.fsdecode(f"/proc/self/fd/{path}" if isinstance(path, int) else path))
    return real == str(home) or real.startswith(f"{home}{os.sep}")


def count_processes(most: int) -> None:
    """Refuse to start more than so many processes in all: the kernel does not limit root's."""
    started = mmap.mmap(-1, 8)  # shared with every process that is forked

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.fork", "os.forkpty", *PROGRAM_EVENTS):
            count = int.from_bytes(started[:8], "little") + 1
            started[:8] = count.to_bytes(8, "little")
            if count > most:
                raise BlockingIOError(f"{event}: {most} processes were started already")

    sys.addaudithook(hook)
