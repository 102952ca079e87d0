"""Compressed files, opened as the bytes inside them: gzip, xz, bzip2, zstandard, and zip with one file in it."""

from __future__ import annotations

import bz2
import gzip
import lzma
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


SMALL, MOST_TIMES = 1 << 26, 100
"""Bytes that any file may unpack to; beyond them it may only unpack to so many times its size."""


def require_file(path: Path) -> None:
    """Refuse pipes and devices, which may be waited for without end.

    Raises:
        DataError: it is there, but no file.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: this is no file; name one, or write what it gives to one")


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
        most, held = max(SMALL, MOST_TIMES * path.stat().st_size), 0
        with opened(path) as packed:
            while piece := packed.read(CHUNK):
                held += len(piece)
                if held > most:
                    raise DataError(
                        f"{path}: a file of {path.stat().st_size:,} bytes unpacks to more than {most:,}, as one does "
                        "that is made to fill disks; unpack it yourself if it is right"
                    )
                copy.write(piece)
        copy.seek(0)
        return copy

    require_file(path)
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
