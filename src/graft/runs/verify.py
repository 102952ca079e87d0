"""Every file of a run held against its hash: what is damaged, and what nothing is known of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graft.runs.directory import RunDirectory
from graft.runs.manifest import MARKER, Damage, folder_damage, has_manifest


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in one run.

    Attributes:
        run: the run.
        stages: finished stages.
        damage: damaged files, each with what is wrong.
        unlisted: stages and checkpoints of before there were manifests, of which nothing can be said.
    """

    run: RunDirectory
    stages: int
    damage: Damage
    unlisted: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """All of it for people."""
        verdict = "damaged" if self.damage else "sound"
        told = f", but {len(self.unlisted)} carry no hashes: {', '.join(self.unlisted)}" if self.unlisted else ""
        yield f"{self.run.name}: {verdict} ({self.stages} finished stages{told})"
        for path, why in self.damage.items():
            yield f"  {path.relative_to(self.run.path)} {why}"

    def to_json(self) -> dict[str, Any]:
        """All of it for programs."""
        damage = {str(path.relative_to(self.run.path)): why for path, why in self.damage.items()}
        return {"run": self.run.name, "stages": self.stages, "damage": damage, "unlisted": list(self.unlisted)}


def verify_run(run: RunDirectory) -> Verification:
    """Read every file that a run's finished stages and checkpoints left, and compare it with its hash."""
    stages, damage, unlisted = run.finished(), Damage(), []
    for stage in stages:
        damage |= run.damage(stage)
        if not run.is_listed(stage):
            unlisted.append(stage)
    for marker in sorted(run.checkpoints.glob(f"*/*/{MARKER}")):
        folder = marker.parent
        damage |= folder_damage(folder)
        if not has_manifest(folder):
            unlisted.append(str(folder.relative_to(run.path)))
    return Verification(run, len(stages), damage, tuple(unlisted))
