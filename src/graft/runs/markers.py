"""The commit marker of a stage: what it left to others, sealed, with a manifest of every file that it wrote.

    stages/score-base.done
    {"stage": …, "outputs": {…}, "files": {"samples/base.count.jsonl": {…}}, "reads": {…}, "seal": "9f86…"}

``reads`` holds what the stage stands on: scores belong to the weights they were measured with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.errors import RunError
from graft.runs.encoding import to_json
from graft.runs.files import read_json, write_bytes
from graft.runs.manifest import FILES, MARKER, Damage, damage, folder_damage, hash_files, require_seal, sealed
from graft.runs.redaction import redacted

READS = "reads"


@dataclass(frozen=True, slots=True)
class Leaves:
    """The files and folders of a stage; those that are not there are left out.

    Attributes:
        files: what it writes.
        grows: what later stages append to.
        reads: what it stands on.
    """

    files: Sequence[Path] = ()
    grows: Sequence[Path] = ()
    reads: Sequence[Path] = ()


def write_marker(marker: Path, root: Path, record: Mapping[str, Any], leaves: Leaves) -> None:
    """Write the marker of a stage that ended well.

    Args:
        marker: its place.
        root: the run directory, which the paths of the manifest start from.
        record: what the marker says beside the manifest.
        leaves: the files of the stage.

    Raises:
        StorageError: no rights or no space.
    """
    plain = json.loads(redacted(to_json(record, indent=2)))
    found = {FILES: hash_files(root, leaves.files, leaves.grows), READS: hash_files(root, leaves.reads)}
    _write(marker, {**plain, **found})


def read_marker(marker: Path) -> dict[str, Any]:
    """What stands in a marker.

    Raises:
        RunError: it is missing or damaged.
    """
    record = read_json(marker)
    if not isinstance(record, dict) or not isinstance(record.get("outputs"), dict):
        raise RunError(f"{marker} is damaged: it must hold 'outputs'. Run the stage again.")
    require_seal(marker, record)
    return record


def is_listed(marker: Path) -> bool:
    """Whether a marker lists the files of its stage; those of before there were manifests do not."""
    return FILES in read_marker(marker)


def marker_damage(marker: Path, root: Path, only: Path | None = None) -> Damage:
    """What is wrong with the files of a finished stage; nothing where its marker lists none.

    What the stage stands on may be gone, but not be another.

    Args:
        marker: the marker.
        root: the run directory.
        only: look at this file alone.
    """
    try:
        record = read_marker(marker)
    except RunError as error:
        return {marker: str(error).removeprefix(f"{marker} ")}
    files: Mapping[str, Any] = record.get(FILES, {})
    if only is not None:
        return damage(root, {name: entry for name, entry in files.items() if root / name == only})
    found = damage(root, files)
    for name in files:
        if Path(name).name == MARKER and root / name not in found:
            found |= folder_damage((root / name).parent)
    return found | {path: why for path, why in damage(root, record.get(READS, {})).items() if path.exists()}


def amend_marker(marker: Path, root: Path, path: Path) -> None:
    """Take over a file of a finished stage that was written anew on purpose.

    Raises:
        RunError: the marker is damaged.
        StorageError: no rights or no space.
    """
    record = read_marker(marker)
    if FILES in record:
        plain = {key: value for key, value in record.items() if key != "seal"}
        _write(marker, {**plain, FILES: {**plain[FILES], **hash_files(root, [path])}})


def _write(marker: Path, record: Mapping[str, Any]) -> None:
    """Seal a record and write it as it is: nothing may be taken out of a hash because a short password looks alike."""
    write_bytes(marker, f"{to_json(sealed(record), indent=2)}\n".encode())
