"""Style control in a run: its tokens, its rows, and the separation that is measured beside the scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np

from graft.config.schema import Recipe
from graft.evals.separation import NONE, UNTRAINED
from graft.models.sampling import from_section
from graft.pipeline.branches import branches
from graft.pipeline.outcome import Table
from graft.pipeline.places import lengths_path
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json
from graft.runs.samples import read_samples
from graft.tasks.style import style_name
from graft.types import Completion

LOG = logging.getLogger(__name__)


def _stored_reply(reply: Mapping[str, Any]) -> Completion:
    """A stored reply, of which only text, length and end are known."""
    return Completion(reply["text"], (0,) * reply["tokens"], reply["finished"])


def write_separation(run: RunDirectory, recipe: Recipe) -> dict[str, Any] | None:
    """Write ``separation.json``: the ratio of every measured branch with its interval, from the stored replies.

    Returns:
        What was written; ``None``, and no file, without control tokens.
    """
    if not recipe.style.tokens:
        return None
    from graft.evals.separation import TARGET, separate
    from graft.stats.plain import to_json

    names = [style_name(token) for token in recipe.style.tokens]
    rows = []
    for branch in branches(recipe):
        if not run.is_done(f"style-{branch.label}"):
            continue
        records = read_samples(lengths_path(run, branch))
        replies = {
            name: [_stored_reply(record["replies"][name]) for record in records] for name in records[0]["replies"]
        }
        clusters = np.array([record["cluster"] for record in records])
        found = separate(
            replies, names[0], names[-1], clusters, rng=np.random.default_rng(0), resamples=recipe.study.resamples
        )
        rows.append({"arm": branch.arm, "branch": branch.label, "seed": branch.seed, **to_json(found)})
    sampling = asdict(from_section(recipe.sampling))
    stored = {"target": TARGET, "short": names[0], "long": names[-1], "sampling": sampling, "rows": rows}
    stored["headline"] = headline_of(stored)
    write_json(run.path / "separation.json", stored)
    return stored


def separation_table(stored: Mapping[str, Any]) -> Table:
    """The separation in text cells, one row per branch."""
    short, long = stored["short"], stored["long"]
    columns = ("arm", "prompts", f"{long} / {short}", "95% interval", short, long, "no token", "untrained token", "cut")
    rows = [
        (
            row["branch"],
            f"{row['ratio']['n']:,}",
            f"{row['ratio']['estimate']:.2f}",
            f"{row['ratio']['low']:.2f} to {row['ratio']['high']:.2f}",
            *(_tokens(row["medians"].get(name)) for name in (short, long, NONE, UNTRAINED)),
            f"{100 * max(row['cut'][name] for name in (short, long)):.0f}%",
        )
        for row in stored["rows"]
    ]
    return Table(columns, tuple(rows))


def headline_of(stored: Mapping[str, Any]) -> str:
    """What the separation says, in one sentence; empty when no trained branch was measured."""
    ratios = {arm: [r["ratio"] for r in stored["rows"] if r["arm"] == arm] for arm in ("trained", "base", "swapped")}
    if not ratios["trained"]:
        return ""
    low, target = min(ratio["low"] for ratio in ratios["trained"]), stored["target"]
    verdict = "reached" if low >= target else "not shown"
    beside = [
        f"{fmean(ratio['estimate'] for ratio in ratios[arm]):.2f} {words}"
        for arm, words in (("base", "before training"), ("swapped", "trained with swapped tokens"))
        if ratios[arm]
    ]
    ratio, prompts = fmean(ratio["estimate"] for ratio in ratios["trained"]), ratios["trained"][0]["n"]
    return (
        f"{stored['long']} replies are {ratio:.1f} times as long as {stored['short']} ones (median over {prompts} "
        f"held-out prompts, same decoding; lower end of the 95% interval {low:.1f}): "
        f"the target of {target:g} is {verdict}" + (f"; {', '.join(beside)}" if beside else "")
    )


def _tokens(median: float | None) -> str:
    return "–" if median is None else f"{median:g} tokens"
