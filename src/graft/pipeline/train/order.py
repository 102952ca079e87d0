"""What the first process of many has the others do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
