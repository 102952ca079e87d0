"""How many tokens each arm was trained on: a control whose answers are shorter or longer is trained less or more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean

from graft.config.schema import Recipe
from graft.pipeline.branches import branches
from graft.runs.directory import RunDirectory
from graft.stats.arms import TRAINED


def trained_tokens_a_row(run: RunDirectory, recipe: Recipe) -> dict[str, float]:
    """Mean tokens that carried loss in a row, by arm, over all its branches; empty where nothing was trained."""
    found: dict[str, list[float]] = defaultdict(list)
    for branch in branches(recipe):
        if branch.seed is not None and run.is_done(f"train-{branch.label}"):
            facts = run.outputs(f"train-{branch.label}")
            if rows := facts.get("rows"):  # not kept in old runs
                found[branch.arm].append(facts["trained_tokens"] / rows)
    return {arm: fmean(counts) for arm, counts in found.items()}


def tokens_sentence(counts: Mapping[str, float]) -> str:
    """The counts, each with its difference from the trained arm; empty where nothing is compared with that."""
    if TRAINED not in counts or len(counts) < 2:
        return ""
    own = counts[TRAINED]
    others = (f"{arm} {count:.1f} ({count - own:+.1f})" for arm, count in counts.items() if arm != TRAINED)
    return f"trained tokens a row: trained {own:.1f}, {', '.join(others)}"
