"""What the first process of many has the others do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graft.config.schema import Recipe
from graft.pipeline.branches import Branch


@dataclass(frozen=True, slots=True)
class Order:
    """What the first process has the others do: get ready for a recipe, or train a branch of it.

    Attributes:
        recipe: the settings.
        run: the run directory, which all processes see.
        branch: the branch to train; ``None`` to get ready.
    """

    recipe: Recipe
    run: Path | None = None
    branch: Branch | None = None

    def to_json(self) -> dict[str, Any]:
        """The order as a JSON value."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "run": None if self.run is None else str(self.run),
            "branch": None if self.branch is None else asdict(self.branch),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Order:
        """The order that `to_json` wrote."""
        run, branch = value["run"], value["branch"]
        return cls(
            Recipe.model_validate(value["recipe"]),
            None if run is None else Path(run),
            None if branch is None else Branch(**branch),
        )
