"""Run folders that this process works on. One that was renamed or removed meanwhile is not made anew by half."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graft.errors import RunError

_present: dict[Path, os.stat_result] = {}
"""The lock file of each folder, as it was when it was locked."""


@contextmanager
def guarded(lock: Path, facts: os.stat_result) -> Iterator[None]:
    """Within the block nothing is written below the folder of a lock file unless that very file is still there.

    Args:
        lock: the lock file.
        facts: what its open descriptor says.
    """
    _present[lock] = facts
    try:
        yield
    finally:
        _present.pop(lock, None)


def make_parents(path: Path) -> None:
    """Make the folders above a file that is about to be written.

    Raises:
        RunError: it lies below the folder of a run that this process works on and that is no longer in its place.
        OSError: they cannot be made.
    """
    for lock, facts in _present.items():
        if lock.parent in path.parents and not _is_there(lock, facts):
            raise RunError(
                f"{lock.parent} was renamed or removed while this process worked on it, so {path.name} is not written; "
                "what was written before is where the folder is now: put it back, or name it to --resume"
            )
    path.parent.mkdir(parents=True, exist_ok=True)


def _is_there(lock: Path, facts: os.stat_result) -> bool:
    try:
        return os.path.samestat(lock.stat(), facts)
    except OSError:
        return False
