"""The file that ties a trimmed model to the one it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graft.errors import ModelError, RunError
from graft.runs.files import read_json, write_json

FILE = "vocab_map.json"


@dataclass(frozen=True, slots=True)
class VocabMap:
    """Where a trimmed model came from.

    Attributes:
        model: id or folder of the original model.
        revision: its revision on the hub.
        subset: the subset that was kept.
        rows: rows of the original embeddings.
        ids: original ids in the order of the new ids.
    """

    model: str
    revision: str | None
    subset: str
    rows: int
    ids: tuple[int, ...]


def write_map(folder: Path, mapping: VocabMap) -> None:
    """Write the mapping into a trimmed model's folder."""
    write_json(folder / FILE, {"format": 1, **{name: getattr(mapping, name) for name in VocabMap.__slots__}})


def read_map(folder: Path) -> VocabMap:
    """Read the mapping of a trimmed model.

    Raises:
        ModelError: the folder holds none, or it is damaged.
    """
    if not (folder / FILE).is_file():
        raise ModelError(f"{folder} holds no {FILE}; name a folder that `graft vocab trim` wrote")
    try:
        values = read_json(folder / FILE)
        return VocabMap(
            model=str(values["model"]),
            revision=values["revision"],
            subset=str(values["subset"]),
            rows=int(values["rows"]),
            ids=tuple(int(id) for id in values["ids"]),
        )
    except (RunError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / FILE} is damaged ({error}); trim the model again") from error
