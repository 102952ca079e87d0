"""The inside of the sandbox: limits this process, then runs code and its tests. It is run as a script of its own.

What to do comes as JSON on standard input, so that the code under test cannot read it again; the result goes to a file
descriptor, together with a random word that the code does not know. Only the standard library is used.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
import types
import unittest
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

NETWORK_EVENTS = (
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
)
_WRITE_FILE, _REMOVE_FILE, _MAKE_FILE, _REFER, _TRUNCATE = (1 << bit for bit in (1, 5, 8, 13, 14))
_CHANGES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))
"""Rights of Landlock by which files and folders are written, made and removed."""

PROGRAM_EVENTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile")


def limit(settings: Mapping[str, Any]) -> None:
    """Limit time, memory, file size and number of processes, as far as the system can; nothing raises them again."""
    import resource

    for name, value in settings["limits"].items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            print(f"this system does not take {name}", file=sys.stderr)


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
    ruleset = _system_call(444, (ctypes.c_uint64 * 1)(changes), 8, 0)
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
        _system_call(445, ruleset, 1, ctypes.create_string_buffer(rule, len(rule)), 0)
        os.close(place)
    if ctypes.CDLL(None, use_errno=True).prctl(38, 1, 0, 0, 0) != 0:  # no new privileges
        raise OSError(ctypes.get_errno(), "prctl")
    _system_call(446, ruleset, 0)
    os.close(ruleset)


def _system_call(number: int, *arguments: Any) -> int:
    found = int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))
    if found < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return found


def refuse_network() -> None:
    """Refuse network sockets, and programs that could open them out of sight of this hook."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        local = event in ("socket.connect", "socket.bind") and isinstance(arguments[1], str | bytes)  # a Unix socket
        if event in NETWORK_EVENTS and not local:
            raise PermissionError(f"{event}: there is no network in here")
        if event in PROGRAM_EVENTS:
            raise PermissionError(f"{event}: no other program may be started in here")

    sys.addaudithook(hook)


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


def run_tests(path: Path) -> dict[str, Any]:
    """Run a file with code and the unittest class ``TestCases``.

    Returns:
        ``ran``, ``wrong`` (names of failed tests), ``error`` and ``missing`` (a module that is not installed).
    """
    module = types.ModuleType("__test__")
    module.__dict__.update({"__file__": str(path), "sys": sys, "os": os})
    sys.modules[module.__name__] = module
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.__dict__["TestCases"])
    except ModuleNotFoundError as error:
        return {"ran": 0, "wrong": [], "error": str(error), "missing": (error.name or "").partition(".")[0]}
    except Exception as error:
        return {"ran": 0, "wrong": [], "error": f"{type(error).__name__}: {error}", "missing": ""}
    result = unittest.TestResult()
    suite.run(result)
    wrong = [*result.failures, *result.errors, *((test, "") for test in result.unexpectedSuccesses)]
    names = [str(test).partition(" ")[0] for test, _ in wrong]
    first = wrong[0][1].strip().rpartition("\n")[2] if wrong else ""
    return {"ran": result.testsRun - len(result.skipped), "wrong": names, "error": first, "missing": ""}


def main() -> None:
    """Read the settings, shut the door, run, report, end."""
    settings = json.loads(sys.stdin.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    write, dump, leave = os.write, json.dumps, os._exit
    if settings["landlock"]:
        confine_files(Path(settings["file"]).parent)
    if settings["hook"]:
        refuse_network()
    if settings["starts"] is not None:
        count_processes(settings["starts"])
    limit(settings)
    result = run_tests(Path(settings["file"]))
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    write(settings["result"], dump({**result, "nonce": settings["nonce"]}).encode())
    leave(0)  # threads that were left behind keep nothing alive


if __name__ == "__main__":
    main()
