"""Room on the disk and in memory, and what a person is told when a file cannot be written."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from graft.errors import GraftError, RunError, StorageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# torch and safetensors report a full disk without an OSError; these are the words they use.
_FULL_WORDS = ("No space left on device", "os error 28", "Disk quota exceeded", "File too large", "inline_container.cc")
_STREAM_WORDS = ("iostream error",)
"""What C++ says when a file could not be written to its end, whatever the reason."""
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "could not create a primitive",
    "could not create a memory",
    "std::bad_alloc",
)
"""What CUDA, torch's allocator, the system, oneDNN and C++ say."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


def format_bytes(count: float) -> str:
    """A number of bytes in decimal units, such as ``1.2 GB``."""
    value, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if value < 999.95 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def existing_parent(path: Path) -> Path:
    """The path itself if it exists, otherwise its nearest ancestor that does."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links and may fail on them
    for candidate in (absolute, *absolute.parents):
        if os.path.lexists(candidate):
            return candidate
    return absolute


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write on the file system that holds, or would hold, a path.

    Raises:
        StorageError: the file system cannot be asked.
    """
    with storage_errors(path):
        return shutil.disk_usage(existing_parent(path)).free


def peak_memory() -> int:
    """Most memory in bytes that this process has held at once; 0 where the system does not say."""
    status = Path("/proc/self/status")  # getrusage would also count the process that started this one
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))


def require_space(path: Path, needed: int, what: str) -> None:
    """Check for room before work starts.

    Args:
        path: the file or folder that will be written; it need not exist yet.
        needed: bytes.
        what: what the bytes are for, such as ``3 checkpoints``.

    Raises:
        StorageError: fewer bytes are free.
    """
    free = free_bytes(path)
    if free < needed:
        raise StorageError(
            f"{path}: {what} needs {format_bytes(needed)}, but {format_bytes(free)} are free there. "
            "Free some space (for example with 'graft runs delete') or choose another folder."
        )


@contextmanager
def storage_errors(path: Path, needed: int | None = None, temporary: Path | None = None) -> Iterator[None]:
    """Turn failures to write a path into StorageError; any other exception passes unchanged.

    Args:
        path: the file or folder being written, as the user knows it.
        needed: bytes that were to be written, if known.
        temporary: the place where it is being built, if that differs.

    Raises:
        StorageError: no rights, no space, or the path cannot exist.
    """
    try:
        yield
    except GraftError:
        raise
    except Exception as error:
        if _is_full(error) or _is_cut(error) or (isinstance(error, OSError) and _concerns(error, path, temporary)):
            raise _explained(path, error, needed) from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in whichever of the ways in which libraries say it."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn memory that ran out into RunError; any other exception passes unchanged.

    Raises:
        RunError: memory ran out.
    """
    try:
        yield
    except GraftError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(error) from error


def out_of_memory(error: BaseException) -> RunError:
    """What a person is told when memory ran out."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    free = format_bytes(psutil.virtual_memory().available)
    return RunError(
        f"memory ran out ({said}; {free} are free now). Lower engine.token_budget or eval.batch_size, end other "
        "programs, or choose a smaller model; then go on with --resume latest"
    )


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(words in str(error) for words in _FULL_WORDS)


def _is_cut(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _STREAM_WORDS)


def _concerns(error: OSError, path: Path, temporary: Path | None) -> bool:
    """Whether the error is about the path being written and not, say, about an input file."""
    if not isinstance(error.filename, str | os.PathLike):
        return error.errno in _DENIED or error.errno == errno.EIO
    named = Path(os.path.abspath(error.filename))  # noqa: PTH100
    for place in (path, temporary):
        if place is not None:
            own = Path(os.path.abspath(place))  # noqa: PTH100
            if named == own or named in own.parents or own in named.parents:
                return True
    return False


def _explained(path: Path, error: Exception, needed: int | None) -> StorageError:
    code = error.errno if isinstance(error, OSError) else errno.EIO if _is_cut(error) else errno.ENOSPC
    if _is_full(error):
        try:
            free = f"{format_bytes(shutil.disk_usage(existing_parent(path)).free)} free"
        except OSError:
            free = "free space unknown"
        want = f"{format_bytes(needed)} needed, " if needed is not None else ""
        reason = f"the disk is full or a quota is reached ({want}{free})"
        step = "Free some space (for example with 'graft runs delete') or choose another folder, then start again."
    elif code in _DENIED:
        kind = "the file system is read-only" if code == errno.EROFS else "permission denied"
        reason = f"{kind} in {existing_parent(path.parent)}"
        step = "Choose a folder that you may write to, or change its permissions."
    elif code in (errno.ENOTDIR, errno.EEXIST):
        reason = f"{existing_parent(path.parent)} is not a folder"
        step = "Choose another folder."
    else:
        reason = os.strerror(code) if code else str(error)
        step = f"Check {existing_parent(path.parent)}, or choose another folder."
    explained = StorageError(f"{path} cannot be written: {reason}. {step}")
    explained.errno = code
    return explained
