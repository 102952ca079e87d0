"""The cache: what can be made or fetched again, kept because that takes long. Deleting any of it is safe.

GRAFT_CACHE
├── rows/KEY       tokenised training rows; the key is a hash of everything they depend on
├── remote/NAME    copies of models from object storage
├── unpacked/NAME  model folders whose JSON files came gzipped
└── secret         by which processes of one training on many machines know each other; the user alone can read it
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from graft.runs.files import is_committed, read_json
from graft.runs.space import storage_errors

ROWS = "rows"
KINDS = (ROWS, "remote", "unpacked")
ENTRY = "entry.json"
"""What an entry of rows says about itself: ``parts`` of its key and ``facts``."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One thing in the cache.

    Attributes:
        kind: ``rows``, ``remote`` or ``unpacked``.
        path: its folder.
        what: what it is, for people.
        size: bytes.
        used: seconds since it was used last.
    """

    kind: str
    path: Path
    what: str
    size: int
    used: float


def cache_folder() -> Path:
    """Where the cache is: `GRAFT_CACHE`, or `graft` in the platform's cache folder."""
    if given := os.environ.get("GRAFT_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "graft"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft"


@contextmanager
def cache_lock(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting as long as another process holds it; the system frees it however that one ends."""
    with storage_errors(path), path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def list_cache() -> list[CacheEntry]:
    """Everything in the cache, the largest first; entries that are being written are left out."""
    found = []
    for kind in KINDS:
        for folder in (cache_folder() / kind).glob("*"):
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            files = [path.stat() for path in folder.rglob("*") if path.is_file()]
            used = max((max(stat.st_atime, stat.st_mtime) for stat in files), default=time.time())
            size = sum(stat.st_size for stat in files)
            found.append(CacheEntry(kind, folder, _what(folder), size, max(0.0, time.time() - used)))
    return sorted(found, key=lambda entry: (-entry.size, entry.path.name))


def clear_cache(*, older_than_days: float = 0.0, kind: str | None = None) -> list[CacheEntry]:
    """Delete what was not used lately.

    Args:
        older_than_days: only what was last used at least this many days ago, at least 0.
        kind: only this kind; all when ``None``.

    Returns:
        What was deleted.

    Raises:
        StorageError: something cannot be deleted.
    """
    old = [entry for entry in list_cache() if entry.used >= 86_400 * older_than_days and kind in (None, entry.kind)]
    for entry in old:
        with storage_errors(entry.path):
            shutil.rmtree(entry.path)
    return old


def _what(folder: Path) -> str:
    entry = folder / ENTRY
    if not entry.is_file() or not is_committed(folder):
        return folder.name
    return str(read_json(entry).get("what", folder.name))
