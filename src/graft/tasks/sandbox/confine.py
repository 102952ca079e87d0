"""The walls of the sandbox: namespaces, a root of its own, limits; then a Python program within them.

Three processes stand between the caller and the program. The first holds on to nothing but the second; the second
leaves the caller's namespaces and builds the root; the third is the first process of the new ones: it starts the
program, watches the memory of all that this one starts, and when it ends the kernel kills whatever is left. Each is
killed with its parent, so killing the first one ends everything.

The root is a file system in memory of limited size, gone with the run. In it stand, read-only, the system's programs
and libraries and the Python that runs here; nothing else of this machine has a name in it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import kernel

HOME = "/home/program"
PACKAGE = "/graft/sandbox"
"""Where this package stands in the new root."""

NO_WALLS = 78
"""Exit status when the kernel refuses a part of the walls; the program was not started."""

OVER_MEMORY = 79
"""Exit status when the program and what it started held too much memory together."""

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/fonts", "/etc/group", "/etc/hosts",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
    "/etc/nsswitch.conf", "/etc/passwd", "/etc/protocols", "/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
    "/etc/timezone", "/nix/store",
)  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ALL = kernel.NEW_USER | kernel.NEW_MOUNTS | kernel.NEW_PROCESSES | kernel.NEW_NETWORK | kernel.NEW_IPC | kernel.NEW_UTS


def main() -> None:
    """Build the walls that the first argument describes, and run the Python program of the second within them."""
    plan = json.loads(sys.argv[1])
    try:
        _outermost(plan, sys.argv[2])
    except OSError as error:
        os.write(2, f"{error.strerror or error}\n".encode())
        os._exit(NO_WALLS)


def _outermost(plan: Mapping[str, Any], program: str) -> None:
    """Hold the second process, and write down who its users are: only its parent may."""
    kernel.calls()
    kernel.die_with_parent()
    left, mapped = os.pipe(), os.pipe()
    second = os.fork()
    if second == 0:
        os.close(left[0])
        os.close(mapped[1])
        _guarded(lambda: _second(plan, program, left[1], mapped[0]))
    os.close(left[1])
    os.close(mapped[0])
    if os.read(left[0], 1):
        _map_users(second, plan["user"])
        os.write(mapped[1], b"x")
    os._exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) & 0xFF)


def _guarded(build: Callable[[], None]) -> None:
    """Run a part of a forked process, whose failure must not come back to the code that forked it."""
    try:
        build()
    except OSError as error:
        os.write(2, f"{error.strerror or error}\n".encode())
    finally:
        os._exit(NO_WALLS)


def _map_users(process: int, user: int | None) -> None:
    """Let a process be its own user, and where the caller is root also the user that the program becomes."""
    for name, own in (("uid_map", os.getuid()), ("gid_map", os.getgid())):
        if user is None and name == "gid_map":
            Path(f"/proc/{process}/setgroups").write_text("deny")
        users = [own] if user is None else [own, user]
        Path(f"/proc/{process}/{name}").write_text("".join(f"{one} {one} 1\n" for one in users))


def _second(plan: Mapping[str, Any], program: str, left: int, mapped: int) -> None:
    """Leave the namespaces, build the root, start their first process."""
    kernel.unshare(_ALL)
    kernel.die_with_parent()
    os.write(left, b"x")
    if not os.read(mapped, 1):
        raise OSError(0, "users could not be mapped")
    os.close(left)
    os.close(mapped)
    _build_root(plan)
    first = os.fork()
    if first == 0:
        _guarded(lambda: _first(plan, program))
    os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)


def _build_root(plan: Mapping[str, Any]) -> None:
    """Put the new root together below a folder of the caller's, which nobody else sees change."""
    root = plan["root"]
    kernel.mount("none", "/", flags=kernel.RECURSIVE | kernel.PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", kernel.NO_SUID | kernel.NO_DEVICES, f"size={plan['disk_bytes']},mode=755")
    for source in dict.fromkeys((*_SYSTEM, *plan["python"])):
        _show(source, f"{root}{source}")
    _show(str(Path(__file__).parent), f"{root}{PACKAGE}")
    Path(root, "dev").mkdir(exist_ok=True)
    for device in _DEVICES:
        Path(root, "dev", device).touch()
        kernel.mount(f"/dev/{device}", f"{root}/dev/{device}", flags=kernel.BIND)
        kernel.make_read_only(f"{root}/dev/{device}", devices=True)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path(root, "dev", name).symlink_to(f"/proc/self/{target}")
    for place in ("tmp", "var/tmp", "dev/shm", HOME[1:]):
        Path(root, place).mkdir(parents=True, exist_ok=True)  # Python may stand below one
        Path(root, place).chmod(0o1777)


def _show(source: str, target: str) -> None:
    """Let a file or folder of this machine be seen, read-only; a link stays one, and what is not there is left out."""
    place, shown = Path(source), Path(target)
    if shown.exists() or shown.is_symlink() or not place.exists():
        return
    shown.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() and source in _SYSTEM and place.is_dir():  # /lib -> usr/lib
        shown.symlink_to(place.readlink())
        return
    if place.is_dir():
        shown.mkdir()
    else:
        shown.touch()
    kernel.mount(source, target, flags=kernel.BIND | kernel.RECURSIVE)
    kernel.make_read_only(target)


def _first(plan: Mapping[str, Any], program: str) -> None:
    """The first process of the new namespaces: starts the program and watches it until it ends."""
    kernel.die_with_parent()
    os.setsid()
    proc = Path(plan["root"], "proc")
    proc.mkdir()
    kernel.mount("proc", str(proc), "proc", kernel.NO_SUID | kernel.NO_DEVICES | kernel.NO_PROGRAMS)
    kernel.enter_root(plan["root"])
    child = os.fork()
    if child == 0:
        _guarded(lambda: _become(plan, program))
    _watch(child, plan["memory_bytes"], plan["leash"])


def _watch(child: int, most: int, leash: int) -> None:
    """Wait for the program and bury what it leaves behind; end it when all together hold too much memory, and when
    Graft lets go of the leash or is no more.
    """
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.closerange(3, leash)
    os.closerange(leash + 1, 1024)
    while True:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    status = os.waitstatus_to_exitcode(ended[1]) & 0xFF
                    os._exit(1 if status == NO_WALLS else status)  # that is not the program's to say
        if memory_held(_resident) > most and memory_held(_proportional) > most:
            os._exit(OVER_MEMORY)
        if select.select([leash], [], [], 0.02)[0]:
            os._exit(0)


def memory_held(measure: Callable[[Path], int]) -> int:
    """Bytes that all processes but the first hold together."""
    held = 0
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit() and name != "1":
            with suppress(OSError, ValueError, IndexError):
                held += measure(Path("/proc", name))
    return held


def _resident(process: Path) -> int:
    """Bytes that a process holds; quickly read, but what several share counts for each."""
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _proportional(process: Path) -> int:
    """Bytes that a process holds, and its part of what several share."""
    lines = (process / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _become(plan: Mapping[str, Any], program: str) -> None:
    """Give up every right and become the program."""
    os.setsid()
    os.close(plan["leash"])
    if plan["user"] is not None:
        os.setgroups([])
        os.setresgid(plan["user"], plan["user"], plan["user"])
        os.setresuid(plan["user"], plan["user"], plan["user"])
    os.chdir(HOME)
    limit(plan["limits"])
    kernel.refuse_privileges()
    kernel.filter_calls()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(sys.executable, [sys.executable, "-I", "-B", "-c", program], {**plan["environment"], "HOME": HOME})


def limit(limits: Mapping[str, int]) -> None:
    """Limit time, memory, file size and number of processes; nothing raises them again."""
    import resource  # not on every system

    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            os.write(2, f"this system does not take {name}\n".encode())
