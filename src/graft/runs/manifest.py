"""Manifests: size and SHA-256 of every file of an artefact, written when it is finished and compared when it is read.

    {"files": {"optimizer.pt": {"bytes": 5120, "sha256": "9f86…"}, "metrics.jsonl": {…, "grows": true}}}

A folder that is committed (checkpoint, trained weights, cached rows) carries its manifest in its marker; a stage has
one in its ``.done``. An empty marker, or a ``.done`` without ``files``, was written before there were manifests: it can
be read, and says nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from graft.errors import RunError
from graft.runs.encoding import to_json

MARKER = "COMPLETE"
"""Name of the file that makes a folder count, and holds its manifest."""

FILES, SEAL = "files", "seal"

Manifest = Mapping[str, Mapping[str, Any]]
"""What is known of each file, by its path below the folder in question."""

Damage = dict[Path, str]
"""What is wrong with files, in words that follow their names."""

_PIECE = 1 << 20


class Hashing:
    """Hashes files in other threads while their writer goes on; use it as a context."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(thread_name_prefix="graft-hash")
        self._entries: dict[str, Future[dict[str, Any]]] = {}

    def __enter__(self) -> Hashing:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, name: str, path: Path) -> None:
        """Begin with a file that is not written to any more."""
        self._entries[name] = self._pool.submit(_entry, path)

    def manifest(self) -> dict[str, dict[str, Any]]:
        """What is known of all of them.

        Raises:
            OSError: one cannot be read.
        """
        return {name: found.result() for name, found in sorted(self._entries.items())}


def hash_files(root: Path, paths: Iterable[Path], grows: Iterable[Path] = ()) -> dict[str, dict[str, Any]]:
    """The manifest of files and folders below a folder; what is not there is left out.

    Args:
        root: the folder.
        paths: files and folders that stay as they are.
        grows: files and folders that later lines may be appended to.

    Raises:
        OSError: one cannot be read.
    """
    found = {path.relative_to(root).as_posix(): _entry(path) for path in _files(paths)}
    return found | {path.relative_to(root).as_posix(): {**_entry(path), "grows": True} for path in _files(grows)}


def folder_damage(folder: Path) -> Damage:
    """What is wrong with a committed folder; nothing where its marker holds no manifest."""
    marker = folder / MARKER
    try:
        text = marker.read_bytes()
    except OSError as error:
        return {marker: f"cannot be read ({error.strerror})"}
    manifest = _parsed(text) if text else {}
    return {marker: "does not hold the hashes of its folder"} if manifest is None else damage(folder, manifest)


def damage(root: Path, manifest: Manifest) -> Damage:
    """What differs from a manifest whose paths start from a folder."""
    found = ((root / name, _difference(root / name, entry)) for name, entry in manifest.items())
    return {path: why for path, why in found if why}


def sentences(found: Damage) -> list[str]:
    """Damage in words, each beginning with the path."""
    return [f"{path} {why}" for path, why in found.items()]


def has_manifest(folder: Path) -> bool:
    """Whether a committed folder says what it holds."""
    return (folder / MARKER).is_file() and (folder / MARKER).stat().st_size > 0


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the hash of what it says, so that it can be told when a part of it is changed."""
    plain = json.loads(to_json(record))
    return {**plain, SEAL: _sha256(to_json(plain))}


def require_seal(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a record that no longer says what was written; one of before there were manifests has no seal.

    Raises:
        RunError: it was changed.
    """
    plain = {key: value for key, value in record.items() if key != SEAL}
    seal = record.get(SEAL)
    if seal is None and FILES not in record:
        return
    if seal != _sha256(to_json(plain)):
        raise RunError(
            f"{path} is damaged: its seal does not fit what it says. Restore it, or run the stage again with "
            "'graft runs verify RUN --repair'."
        )


def file_hash(path: Path, length: int | None = None) -> str:
    """SHA-256 of a file's bytes in hexadecimal, read in pieces.

    Args:
        path: the file.
        length: only its first bytes; all of them when ``None``.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if length is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        while length > 0 and (piece := file.read(min(_PIECE, length))):
            digest.update(piece)
            length -= len(piece)
        return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _entry(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    return {"bytes": size, "sha256": file_hash(path, size)}


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files themselves and those below the folders; links are left out, since what they lead to is not ours."""
    for path in paths:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (one for one in found if one.is_file() and not one.is_symlink())


def _difference(path: Path, entry: Mapping[str, Any]) -> str:
    """How a file differs from what is known of it, in words that follow its name; empty when it does not."""
    try:
        wanted, size = entry["bytes"], path.stat().st_size
        if size != wanted and not (entry.get("grows") and size > wanted):
            return f"has {size:,} bytes instead of {wanted:,}"
        if file_hash(path, wanted) != entry["sha256"]:
            return "is not what was written (its SHA-256 differs)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (KeyError, TypeError, ValueError):
        return "has no size and hash in its manifest"
    return ""


def _parsed(text: bytes) -> Manifest | None:
    """The manifest of a marker; ``None`` when it is damaged."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    try:
        files = json.loads(text, object_pairs_hook=once)[FILES]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return files if isinstance(files, dict) and all(isinstance(entry, dict) for entry in files.values()) else None
