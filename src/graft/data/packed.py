"""Compressed files, opened as the bytes inside them: gzip, xz, bzip2, zstandard, and zip with one file in it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from graft.errors import DataError, MissingExtra

T = TypeVar("T")

CHUNK = 1 << 20
"""Bytes read at once; smaller files are unpacked in memory."""


def _zstandard(path: Path) -> Any:
    try:
        import pyarrow as arrow
    except ImportError as error:
        raise MissingExtra("reading .zst files", "data") from error
    return arrow.CompressedInputStream(arrow.OSFile(str(path)), "zstd")


def _zip(path: Path) -> Any:
    return zipfile.ZipFile(path).open(_member(path))


_OPEN: dict[str, tuple[str, Callable[[Path], Any]]] = {
    ".gz": ("gzip", gzip.open),
    ".xz": ("xz", lzma.open),
    ".bz2": ("bzip2", bz2.open),
    ".zst": ("zstandard", _zstandard),
    ".zip": ("zip", _zip),
}


def _member(path: Path) -> str:
    """The one file of a zip archive; folders and what file managers add are none.

    Raises:
        DataError: it holds none, or several.
    """
    with zipfile.ZipFile(path) as packed:
        names = [
            name
            for name in packed.namelist()
            if not any(part.startswith((".", "__MACOSX")) for part in name.split("/")) and not name.endswith("/")
        ]
    if len(names) != 1:
        held = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        raise DataError(
            f"{path}: the archive holds {len(names):,} files ({held or 'none'}), but one is read; unpack it and name "
            "the files or their folder"
        )
    return names[0]


def inner_name(path: Path) -> str:
    """The name of what is inside a compressed file; its own name for any other.

    Raises:
        DataError: a zip archive does not hold one file.
    """
    if path.suffix.lower() == ".zip":
        return Path(_reading(path, "zip", lambda: _member(path))).name
    return path.stem if path.suffix.lower() in _OPEN else path.name


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file; of a compressed one, a temporary copy of what is inside.

    Raises:
        DataError: it cannot be read, or is not whole.
        MissingExtra: its compression needs a package that is not installed.
    """
    name, opened = _OPEN.get(path.suffix.lower(), ("", None))

    def unpacked() -> IO[bytes]:
        if opened is None:
            return path.open("rb")
        copy = tempfile.SpooledTemporaryFile(max_size=CHUNK)  # noqa: SIM115  (it lives as long as its rows)
        with opened(path) as packed:
            shutil.copyfileobj(packed, copy, CHUNK)
        copy.seek(0)
        return copy

    return _reading(path, name, unpacked)


def _reading(path: Path, name: str, read: Callable[[], T]) -> T:
    """What a reader gives, its errors in our words."""
    try:
        return read()
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        raise DataError(f"{path}: this is not a whole {name} file ({error}); copy or download it again") from error
    except OSError as error:
        if name and error.strerror is None:  # bzip2 and zstandard say so of bad data
            raise DataError(f"{path}: this is not a whole {name} file ({error}); copy or download it again") from error
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path and its rights") from error
