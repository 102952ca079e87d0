"""The lock of a run: held by one process, freed by the system however that process ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graft.errors import RunError, StorageError
from graft.runs.files import read_json
from graft.runs.presence import guarded
from graft.runs.space import storage_errors

_TRIES = 20
_WAIT_SECONDS = 0.05

_held_descriptors: set[int] = set()


def _drop_inherited_locks() -> None:
    """In a forked child: close the copies of the locks, or a killed run would live on in its worker processes."""
    for descriptor in _held_descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _held_descriptors.clear()


os.register_at_fork(after_in_child=_drop_inherited_locks)


def is_locked(path: Path) -> bool:
    """Whether a living process, this one included, holds the lock file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file for the length of a block.

    Args:
        path: the lock file of a run; its folder must exist.

    Raises:
        RunError: another process holds it, named by id and machine, or the run was deleted.
        StorageError: the file cannot be written, or its file system has no locks.
    """
    descriptor = _acquire(path)
    _held_descriptors.add(descriptor)
    try:
        # For the message of others only: a disk too full to write it is no reason to stop.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        with guarded(path, os.fstat(descriptor)):
            yield
    finally:
        if descriptor in _held_descriptors:  # not in a forked child, which has closed its copy
            _held_descriptors.discard(descriptor)
            os.close(descriptor)


def _acquire(path: Path) -> int:
    """The descriptor that holds the lock. Readers test the lock for an instant, hence the few tries."""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_WAIT_SECONDS)
        if not path.parent.is_dir():
            raise RunError(f"{path.parent} does not exist any more: it was deleted or renamed.")
        with storage_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if _try_lock(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise RunError(f"{path.parent} is in use by {_holder(path)}. Wait until it ends, or stop it first.")


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StorageError(
            f"{path} cannot be locked: {error.strerror}. Choose a folder for runs on a file system that has locks."
        ) from error
    try:
        # A run that was deleted between opening and locking leaves a lock that nobody else can see.
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _holder(path: Path) -> str:
    try:
        holder = read_json(path)
        return f"process {int(holder['pid'])} on {holder['host']}"
    except (RunError, KeyError, TypeError, ValueError):
        return "another process"
