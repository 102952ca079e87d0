"""Model folders behind a URL (``s3://…`` or any scheme of fsspec), copied to a cache folder before they are loaded.

A file is written as a part that is named after the version it belongs to, hashed while it is written, and renamed when
it is whole. An interrupted copy therefore goes on where it stopped, and never mixes two versions of an object. The
manifest beside the files records what is there; a lock keeps a second process waiting until the first is done.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from graft import is_offline
from graft.errors import GraftError, MissingExtra, ModelError, RunError
from graft.runs.cache import cache_folder, cache_lock
from graft.runs.files import read_json, write_json
from graft.runs.redaction import remember_url
from graft.runs.space import format_bytes, require_space, storage_errors

CHUNK = 8 * 2**20
"""Bytes asked for at once."""

TRIES = 3
"""Attempts at one chunk before the copy is given up; what arrived is kept."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Suffixes of weights whose loading can run code."""

OTHER_FORMATS = (".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".tflite")
"""Suffixes of weights for other tools, which are not copied."""

_PART = ".part"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One object of a remote folder.

    Attributes:
        path: where it is, as its file system names it.
        name: its path inside the folder.
        size: bytes.
        version: changes when the content does: the entity tag, or else the time of change, with the size.
    """

    path: str
    name: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file of the cache, as its manifest records it.

    Attributes:
        size: bytes.
        version: the remote version it was copied from.
        sha256: hash of its content.
        changed_ns: its time of change after the copy; if that is another, the hash is checked before it is used.
    """

    size: int
    version: str
    sha256: str
    changed_ns: int


def is_remote(model_id: str) -> bool:
    """Whether a model id is a URL."""
    return "://" in model_id


def cached_copy(url: str) -> Path:
    """Where the files of a URL are, or will be."""
    return _place(url) / "files"


def fetch(url: str, *, allow_pickle: bool = False, on_bytes: Callable[[int], None] = lambda count: None) -> Path:
    """Copy a remote model folder to the cache, or bring its copy up to date.

    Args:
        url: address of the folder.
        allow_pickle: copy pickled weights too.
        on_bytes: called with the number of bytes that just arrived.

    Returns:
        The local folder. When Graft is offline it is the copy as it is.

    Raises:
        MissingExtra: the scheme needs a package that is not installed.
        ModelError: nothing is there, access is denied, or the connection breaks and stays broken.
        StorageError: the cache folder has no room or cannot be written.
    """
    remember_url(url, "model.id")
    place = _place(url)
    if is_offline():
        if not (place / "manifest.json").is_file():
            raise ModelError(f"model.id is {url}, but Graft is offline and has no copy; unset GRAFT_OFFLINE once")
        return place / "files"
    with storage_errors(place):
        (place / "files").mkdir(parents=True, exist_ok=True)
    with cache_lock(place / "lock"):
        files = _Remote(url)
        found = files.found()
        wanted = [file for file in found if allow_pickle or not file.name.endswith(PICKLED)]
        manifest = _manifest(place)
        stale = [file for file in wanted if not _is_current(place / "files" / file.name, file, manifest.get(file.name))]
        needed = sum(file.size - _resumable(_part(place, file), file) for file in stale)
        if stale:
            require_space(place, needed, f"the copy of {url}")
        for file in stale:
            manifest[file.name] = _copy(files, file, place, on_bytes)
            _write_manifest(place, url, manifest)
        _remove_others(place, {file.name for file in found}, manifest)
        _write_manifest(place, url, manifest)
    return place / "files"


class _Remote:
    """The remote side: one file system, with its errors turned into ours."""

    def __init__(self, url: str) -> None:
        self.url = url
        with self._explained():
            import fsspec

            # A shared instance would keep old listings and old credentials.
            self.system, self.root = fsspec.core.url_to_fs(url, skip_instance_cache=True)

    def found(self) -> list[RemoteFile]:
        """The files of the folder, without those of other tools."""
        with self._explained():
            found: Mapping[str, Any] = self.system.find(self.root, detail=True)
        usable = [path for path in sorted(found) if not path.endswith(OTHER_FORMATS)]
        files = [self._described(path, found[path]) for path in usable]
        if not any(file.name in ("config.json", "config.json.gz") for file in files):
            what = f"{len(files)} files but no config.json" if files else "no files"
            raise ModelError(f"model.id is {self.url}, but there are {what}; check the bucket and the path")
        return files

    def read(self, file: RemoteFile, start: int) -> bytes:
        """One chunk of a file from a byte on."""
        stop = min(start + CHUNK, file.size)
        with self._explained():
            for attempt in range(1, TRIES + 1):
                try:
                    data: bytes = self.system.cat_file(file.path, start=start, end=stop)
                except (OSError, TimeoutError):
                    if attempt == TRIES:
                        raise
                else:
                    if len(data) != stop - start:
                        raise ModelError(f"{file.path} changed while it was copied, or its server sends no parts of it")
                    return data
        raise AssertionError("a chunk was neither read nor refused")

    def version(self, file: RemoteFile) -> str:
        """The version of a file as it is now."""
        with self._explained():
            self.system.invalidate_cache()
            return _version(self.system.info(file.path))

    def _described(self, path: str, info: Mapping[str, Any]) -> RemoteFile:
        name = path.removeprefix(self.root).lstrip("/")
        if not name or ".." in PurePosixPath(name).parts:
            raise ModelError(f"{self.url} holds an object named {path!r}, which is no file inside that folder")
        return RemoteFile(path, name, int(info["size"]), _version(info))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except GraftError:
            raise
        except ImportError as error:
            raise MissingExtra(f"model.id {self.url} ({error})", "remote") from error
        except FileNotFoundError as error:
            raise ModelError(f"model.id is {self.url}, but there is no such bucket or file ({error})") from error
        except PermissionError as error:
            raise ModelError(
                f"model.id is {self.url}, but access is denied ({error}); check the credentials and their rights"
            ) from error
        except Exception as error:  # every client library has errors of its own
            reason = str(error).strip() or type(error).__name__
            hint = "; check the credentials" if "credential" in reason.lower() else ""
            raise ModelError(
                f"cannot read {self.url}: {reason}{hint}. What has arrived is kept; start again to go on from there."
            ) from error


def _version(info: Mapping[str, Any]) -> str:
    names = ("ETag", "etag", "content_md5", "md5Hash", "LastModified", "last_modified", "mtime", "created")
    tag = next((info[name] for name in names if info.get(name)), "")
    return hashlib.sha256(f"{tag}/{info['size']}".encode()).hexdigest()[:16]


def _place(url: str) -> Path:
    """The folder of one URL in the cache, with a readable name."""
    address = url.rstrip("/")
    last = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in address.rsplit("/", 1)[-1])
    return cache_folder() / "remote" / f"{last[:60]}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _part(place: Path, file: RemoteFile) -> Path:
    return place / "files" / f"{file.name}.{file.version}{_PART}"


def _resumable(part: Path, file: RemoteFile) -> int:
    """Bytes of a file that an interrupted copy left; 0 when there are none."""
    size = part.stat().st_size if part.is_file() else 0
    return size if size <= file.size else 0


def _copy(files: _Remote, file: RemoteFile, place: Path, on_bytes: Callable[[int], None]) -> CopiedFile:
    """Copy one file, going on from an earlier part of the same version."""
    part, target = _part(place, file), place / "files" / file.name
    with storage_errors(target, file.size, part):
        part.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with part.open("ab") as out:
            out.truncate(done := _resumable(part, file))
            with part.open("rb") as before:
                while piece := before.read(CHUNK):
                    digest.update(piece)
            while done < file.size:
                data = files.read(file, done)
                out.write(data)
                out.flush()
                digest.update(data)
                done += len(data)
                on_bytes(len(data))
            os.fsync(out.fileno())
        if files.version(file) != file.version:
            part.unlink()
            raise ModelError(f"{file.path} changed while it was copied; start again to copy the new version")
        part.replace(target)
        return CopiedFile(file.size, file.version, digest.hexdigest(), target.stat().st_mtime_ns)


def _is_current(path: Path, file: RemoteFile, copied: CopiedFile | None) -> bool:
    """Whether the copy is of this version and whole; a file that was touched since is hashed again."""
    if copied is None or copied.version != file.version or not path.is_file():
        return False
    facts = path.stat()
    if facts.st_size != copied.size:
        return False
    if facts.st_mtime_ns == copied.changed_ns:
        return True
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == copied.sha256


def _manifest(place: Path) -> dict[str, CopiedFile]:
    """What was copied so far; nothing when the manifest is missing or damaged, so that all is copied anew."""
    try:
        return {name: CopiedFile(**entry) for name, entry in read_json(place / "manifest.json")["files"].items()}
    except (RunError, KeyError, TypeError, AttributeError):
        return {}


def _write_manifest(place: Path, url: str, manifest: Mapping[str, CopiedFile]) -> None:
    write_json(place / "manifest.json", {"url": url, "files": {name: asdict(file) for name, file in manifest.items()}})


def _remove_others(place: Path, names: set[str], manifest: dict[str, CopiedFile]) -> None:
    """Delete files that are no longer there remotely, and parts of older versions."""
    for path in (place / "files").rglob("*"):
        name = path.relative_to(place / "files").as_posix()
        if path.is_file() and name not in names:
            path.unlink()
            manifest.pop(name, None)


def describe(url: str) -> str:
    """What the cache has of a URL, in words."""
    files = _manifest(_place(url))
    if not files:
        return "not copied yet"
    return f"{len(files)} files, {format_bytes(sum(file.size for file in files.values()))} copied"
