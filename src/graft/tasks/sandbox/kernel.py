"""The calls of the Linux kernel that Python has no names for, and the filter of those that a program may make."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

NEW_MOUNTS, NEW_UTS, NEW_IPC, NEW_USER, NEW_PROCESSES, NEW_NETWORK = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 0x1000, 0x4000, 0x40000
_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_ANY_NAMESPACE = 0x7E020000
"""All flags of ``clone`` that make namespaces."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Numbers of the system calls of one processor.

    Attributes:
        audit: the processor, as the kernel's filter names it.
        clone: makes a process; its flags come first.
        clone3: makes one by a structure that a filter cannot read.
        socket: its first argument is the kind of network.
        refused: what no program needs that only computes.
    """

    audit: int
    clone: int
    clone3: int
    socket: int
    pivot_root: int
    refused: tuple[int, ...]


_NEW_REFUSED = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 443, 447, 448)
"""io_uring, the new mount calls, pidfd_getfd, mount_setattr, quotactl_fd, memfd_secret, process_mrelease: one number
on every processor."""

_CALLS = {
    # ptrace, shmget, msgget, pivot_root, chroot, mount, umount2, swapon, init_module, delete_module, quotactl, add_key,
    # request_key, keyctl, unshare, perf_event_open, setns, process_vm_readv, process_vm_writev, kcmp, finit_module,
    # memfd_create, kexec_load, kexec_file_load, bpf, userfaultfd, fanotify_init, open_by_handle_at
    "x86_64": Calls(
        0xC000003E, 56, 435, 41, 155,
        (101, 29, 68, 155, 161, 165, 166, 167, 175, 176, 179, 248, 249, 250, 272, 298, 308, 310, 311, 312, 313, 319,
         246, 320, 321, 323, 300, 304),
    ),
    "aarch64": Calls(
        0xC00000B7, 220, 435, 198, 41,
        (117, 194, 186, 41, 51, 40, 39, 224, 105, 106, 60, 217, 218, 219, 97, 241, 268, 270, 271, 272, 273, 279, 104,
         294, 280, 282, 262, 265),
    ),
}  # fmt: skip

_NETWORKS = (2, 10, 16)
"""IPv4, IPv6 and netlink, which a network namespace holds; Unix sockets and those of virtual machines are not."""


def calls() -> Calls:
    """The system calls of this processor.

    Raises:
        OSError: nobody has written their numbers down here.
    """
    found = _CALLS.get(platform.machine()) if struct.calcsize("P") == 8 else None
    if found is None:
        raise OSError(errno.ENOSYS, f"the system calls of a {platform.machine()} are not known")
    return found


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def system_call(name: str, number: int, *arguments: object) -> int:
    """Make a system call.

    Raises:
        OSError: the kernel refuses; the message names the call.
    """
    return _checked(int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)), name)


def unshare(flags: int) -> None:
    """Leave the namespaces of the parent."""
    _checked(ctypes.CDLL(None, use_errno=True).unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system, or with `BIND` what stands elsewhere."""
    done = ctypes.CDLL(None, use_errno=True).mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _checked(done, f"mount {target}")


def make_read_only(target: str, devices: bool = False) -> None:
    """Let nothing be changed below a mount, neither files nor their rights, times and attributes."""
    flags = READ_ONLY | NO_SUID | (0 if devices else NO_DEVICES)
    wanted = ctypes.create_string_buffer(struct.pack("QQQQ", flags, 0, 0, 0), 32)
    system_call("mount_setattr", 442, -100, target.encode(), 0x8000, wanted, ctypes.c_size_t(32))


def enter_root(folder: str) -> None:
    """Make a mounted folder the root, and let go of the old one."""
    os.chdir(folder)
    system_call("pivot_root", calls().pivot_root, b".", b".")
    _checked(ctypes.CDLL(None, use_errno=True).umount2(b".", _DETACH), "umount2")
    os.chdir("/")


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl")


def hide_memory() -> None:
    """Let no other process of this user read or trace this one."""
    _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def refuse_privileges() -> None:
    """Let no program that is started later be more than this one."""
    _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def filter_calls() -> None:
    """Refuse, for this process and all that it starts, calls that reach beyond the sandbox or hide memory from it."""
    program = b"".join(struct.pack("HBBI", *line) for line in _filter(calls()))
    lines = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(lines)), 16)
    _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_SECCOMP, 2, head, 0, 0), "seccomp")


def _filter(known: Calls) -> list[tuple[int, int, int, int]]:
    """The filter as the kernel's small machine runs it: (operation, lines to skip if true, if false, constant)."""
    load, equal, at_least, any_bit, end = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, allow = 0x80000000, 0x7FFF0000
    refuse, absent = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
    lines = [
        (load, 0, 0, 4), (equal, 1, 0, known.audit), (end, 0, 0, kill),  # another processor's calls
        (load, 0, 0, 0), (at_least, 0, 1, 0x40000000), (end, 0, 0, kill),  # those of x32
        (equal, 0, 1, known.clone3), (end, 0, 0, absent),  # the C library then takes clone
    ]  # fmt: skip
    for number in (*known.refused, *_NEW_REFUSED):
        lines += [(equal, 0, 1, number), (end, 0, 0, refuse)]
    return [
        *lines,
        (equal, 0, 4, known.clone), (load, 0, 0, 16), (any_bit, 0, 1, _ANY_NAMESPACE), (end, 0, 0, refuse),
        (end, 0, 0, allow),
        (equal, 0, 6, known.socket), (load, 0, 0, 16),
        *((equal, 3 - place, 0, kind) for place, kind in enumerate(_NETWORKS)), (end, 0, 0, refuse),
        (end, 0, 0, allow),
        (end, 0, 0, allow),
    ]  # fmt: skip
