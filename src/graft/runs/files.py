"""Files that are never half-written, and lines that survive a crash.

A whole file is written beside its place, synced, then renamed; a line is appended in one write. A reader therefore
meets either the old content or the new one, and at most the last line of a log can be torn.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from graft.errors import RunError
from graft.runs.encoding import to_json
from graft.runs.manifest import FILES, MARKER, Hashing
from graft.runs.presence import make_parents
from graft.runs.redaction import redacted
from graft.runs.space import storage_errors

MOST_JSON = 1 << 30
"""Bytes of a JSON file that is read."""

_TEMPORARY = ".tmp-"
_WRITER = re.compile(rf"{re.escape(_TEMPORARY)}(?P<host>[A-Za-z0-9_.]+)-(?P<pid>\d+)-(?P<began>\d+)-[0-9a-f]{{12}}")
_CLOCK_SECONDS = 1
"""What the begin of one process may differ by when the clock is set meanwhile."""

_TAIL_BYTES = 65_536


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8 without secrets, whole or not at all; folders are made as needed.

    Raises:
        StorageError: no rights or no space; an older file of that name is untouched.
    """
    write_bytes(path, redacted(text).encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; folders are made as needed.

    Raises:
        StorageError: no rights or no space; an older file of that name is untouched.
    """
    with replacing(path, needed=len(data)) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON in the given order; see `graft.runs.encoding.to_json`.

    Raises:
        StorageError: no rights or no space; an older file of that name is untouched.
    """
    write_text(path, to_json(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: it is missing, unreadable or not JSON.
    """
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > MOST_JSON):
            raise RunError(f"{path} is damaged: it must be a file of at most {MOST_JSON:,} bytes.")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} does not exist: the stage that writes it has not finished.") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged: it must hold JSON, but {error}. Restore it or run the stage again."
        ) from error


@contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside the real one; on a clean exit it takes the real one's place.

    The temporary path keeps the suffix, since many writers choose the format by it. On any exception, Ctrl-C included,
    it is removed and an older file stays as it was.

    Args:
        path: the file to write or replace.
        needed: bytes that will be written, for the message when they do not fit.

    Raises:
        StorageError: no rights or no space.
    """
    temporary = _beside(path)
    with storage_errors(path, needed, temporary):
        try:
            make_parents(path)
            temporary.touch(exist_ok=False)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside the real one; on a clean exit it is committed in its place.

    Raises:
        StorageError: no rights or no space; nothing is left behind.
    """
    temporary = _beside(path)
    with storage_errors(path, temporary=temporary):
        try:
            make_parents(path)
            temporary.mkdir()
            yield temporary
            commit_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def commit_folder(source: Path, path: Path) -> Path:
    """Sync a finished folder, mark it complete with its manifest and rename it into place.

    Args:
        source: the finished folder, on the same file system as `path`.
        path: where it belongs; a folder that is there already is replaced.

    Returns:
        `path`.

    Raises:
        StorageError: no rights or no space; a folder that was at `path` is still there.
    """
    retired = _beside(path)
    with storage_errors(path, temporary=source):
        make_parents(path)
        with Hashing() as hashing:
            _sync_all(source, hashing)
            (source / MARKER).write_text(to_json({FILES: hashing.manifest()}, indent=2) + "\n", encoding="utf-8")
        _sync(source / MARKER)
        _sync(source)
        replaces = os.path.lexists(path)
        if replaces:
            path.rename(retired)
        try:
            source.rename(path)
        except BaseException:
            if replaces:
                retired.rename(path)
            raise
        _sync(path.parent)
        shutil.rmtree(retired, ignore_errors=True)
    return path


def _sync_all(source: Path, hashing: Hashing) -> None:
    """Sync every file of a folder; they are hashed while the disk is waited for."""
    for folder, _, names in os.walk(source):
        found = (Path(folder) / name for name in names if name != MARKER)
        paths = [path for path in found if not path.is_symlink()]  # what a link leads to is not ours
        for path in paths:
            hashing.add(path.relative_to(source).as_posix(), path)
        for path in [*paths, Path(folder)]:
            _sync(path)


def is_committed(folder: Path) -> bool:
    """Whether a folder was written completely."""
    return (folder / MARKER).is_file()


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left below a folder: temporary files of processes of this machine that are gone.

    A process is told by its id and the second it began in, since in a container every one has the id 1. What another
    machine writes, on a disk that both share, is its own affair.
    """
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            found = _WRITER.match(name)
            if found and found["host"] == _host() and not _lives(int(found["pid"]), int(found["began"])):
                shutil.rmtree(Path(place) / name, ignore_errors=True)
                with suppress(OSError):
                    (Path(place) / name).unlink()
        folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]


def append_line(path: Path, text: str) -> None:
    """Append one line of JSON Lines in one write; several processes may append to one file.

    A torn last line, left by a killed process or a full disk, is cut off first, so that it can never end up in the
    middle. When the line does not fit on the disk, nothing of it stays.

    Args:
        path: the file; it and its folders are made as needed.
        text: the line without its line break.

    Raises:
        StorageError: no rights or no space.
        ValueError: the text holds a line break.
    """
    if "\n" in text:
        raise ValueError("a line must not hold a line break")
    data = text.encode("utf-8", errors="backslashreplace") + b"\n"
    with storage_errors(path, len(data)):
        descriptor = _open_for_append(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            end = _healed_end(descriptor)
            try:
                written = os.write(descriptor, data)
                if written < len(data):  # the disk filled up within the line: the rest says so
                    os.write(descriptor, data[written:])
            except BaseException:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)


def _open_for_append(path: Path) -> int:
    make_parents(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def _healed_end(descriptor: int) -> int:
    """Size of the file in bytes once its last line is whole: a torn one is cut, a complete one gets its line break."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    tail, start = b"", size
    while start > 0 and b"\n" not in tail:
        step = min(_TAIL_BYTES, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
    last = tail.rpartition(b"\n")[2]
    try:
        json.loads(last)
    except ValueError:
        os.ftruncate(descriptor, size - len(last))
        return size - len(last)
    os.write(descriptor, b"\n")
    return size + 1


def read_jsonl(path: Path, on_torn: Callable[[int, str], None] | None = None) -> list[Any]:
    """Read a JSON Lines file, leaving out a torn last line.

    Args:
        path: the file.
        on_torn: called with the line number (from 1) and the text of a torn last line.

    Returns:
        The value of each line; empty lines are left out.

    Raises:
        RunError: the file is missing or unreadable, or a line that is not the last one is not JSON.
    """
    values: list[Any] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    values.append(json.loads(line))
                except (ValueError, RecursionError) as error:
                    # Only the last line can lack its line break, and only such a line can be torn.
                    if line.endswith(b"\n"):
                        raise RunError(
                            f"{path}, line {number} is damaged: it must hold JSON, but {error}. "
                            "Remove the line, or run the stage that wrote it again."
                        ) from error
                    if on_torn is not None:
                        on_torn(number, line.decode("utf-8", errors="replace"))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist: the stage that writes it has not finished.") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    return values


def _beside(path: Path) -> Path:
    """A new name in the same folder that says which process of which machine uses it."""
    suffix = path.suffix if len(path.suffix) < 32 else ""
    writer = f"{_host()}-{os.getpid()}-{_began(os.getpid())}"
    return path.parent / f"{_TEMPORARY}{writer}-{uuid.uuid4().hex[:12]}{suffix}"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname())[:64]


def _began(pid: int) -> int:
    """The second in which a process began, since the epoch; 0 when there is no such process."""
    try:
        return int(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0


def _lives(pid: int, began: int) -> bool:
    return abs(_began(pid) - began) <= _CLOCK_SECONDS


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse to sync folders; the rename is atomic all the same.
        if not path.is_dir():
            raise error
    finally:
        os.close(descriptor)
