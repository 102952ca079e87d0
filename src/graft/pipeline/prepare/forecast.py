"""What a study could show, worked out before anything is trained: the whole rule, simulated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from graft.config.schema import Recipe
from graft.errors import DataError, GraftError
from graft.evals.baselines import baseline_scores
from graft.pipeline.branches import target_tasks, trained_tasks
from graft.pipeline.outcome import Table
from graft.pipeline.prepare.lab import Baselines, Lab
from graft.pipeline.prepare.prompts import prompt_style
from graft.runs.directory import RunDirectory, run_names
from graft.runs.files import read_json
from graft.stats.arms import CONTROLS, TRAINED
from graft.stats.power import (
    LEAST_WORDS,
    POWER,
    UNKNOWN_DISCORDANCE,
    UNKNOWN_SEED_SD,
    Plan,
    claimed_from,
    smallest_detectable,
)
from graft.tasks import is_word_task
from graft.tasks.base import Task
from graft.tasks.dataset import DatasetTask
from graft.tasks.words.pool import package_words

SHOWN_WORDS = (250, 500, 1000, 2000)
SHOWN_SEEDS = (2, 3, 5, 10)
SHOWN_CHANGES = (0.02, 0.03, 0.05, 0.10)
"""Words, seeds and true changes of the power table."""


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """How far an arm's accuracy is expected to differ between seeds.

    Attributes:
        sd: standard deviation in proportion units.
        basis: where that comes from, in words.
    """

    sd: float
    basis: str


def forecast(lab: Lab, known: Baselines) -> dict[str, Any]:
    """What is known of each task before anything is trained.

    That is the smallest change that the judge would claim with 80% power, the task's metric, what the trivial answers
    reach in it, and how power grows with words and seeds.

    Args:
        lab: the shared parts of the run.
        known: what `baselines` gave.
    """
    recipe = lab.recipe
    spread = expected_spread(recipe)
    targets, controls = max(1, len(target_tasks(recipe))), max(1, len(recipe.study.controls))
    plan = Plan(LEAST_WORDS, len(recipe.study.seeds), targets, spread.sd, alpha=recipe.study.alpha, controls=controls)
    tasks: dict[str, dict[str, Any]] = {}
    for items in lab.items:
        if items.split != "eval":
            continue
        card, words = items.task.card, len({example.cluster for example in items.examples})
        tasks[card.name] = {
            "items": len(items),
            "words": words,
            "pool": _pool(recipe, items.task),
            "trained": card.name in trained_tasks(recipe),
            "role": _role(recipe, card.name),
            "outcome": lab.outcome(card.name),
            "discordance_assumed": UNKNOWN_DISCORDANCE,
            "smallest_detectable": _smallest(replace(plan, words=words)),
            "metric": card.metric,
            "style": prompt_style(recipe, card.name),
            "baselines": baseline_scores(card.metric, items.examples, known[card.name]),
        }
    most: int = max((facts["words"] for facts in tasks.values()), default=0)
    return {
        "tasks": tasks,
        "seeds": plan.seeds,
        "seed_sd": spread.sd,
        "seed_sd_from": spread.basis,
        "steps": lab.steps,
        "judged": list(target_tasks(recipe)) if claims(recipe) and plan.seeds > 1 else [],
        "power": list(power_rows(plan, most)) if claims(recipe) and most else [],
        "note": f"power {POWER:.0%} of the whole rule, Holm over {targets} target{'s' * (targets > 1)} "
        f"at {recipe.study.alpha:g}; {UNKNOWN_DISCORDANCE:.0%} of the items assumed to change sides; seeds spread by "
        f"{100 * spread.sd:.1f} points, {spread.basis}",
    }


def _role(recipe: Recipe, task: str) -> str:
    if task in trained_tasks(recipe):
        return "trained"
    return "target" if task in target_tasks(recipe) else "collateral"


def claims(recipe: Recipe) -> bool:
    """Whether the run could claim transfer: it has the arms, and a task that is not trained."""
    return recipe.study.claims and bool(target_tasks(recipe))


def require_power(found: Mapping[str, Any]) -> None:
    """Refuse a study that cannot claim anything, whatever training does.

    Args:
        found: what `forecast` gave.

    Raises:
        DataError: a target has too few words, or no change would be found with the planned seeds.
    """
    without = "or set study.seeds=[0] for a run without a verdict"
    for task in found["judged"]:
        facts = found["tasks"].get(task)
        if facts is None:
            continue
        if facts["words"] < LEAST_WORDS:
            raise DataError(
                f"a verdict on {task} needs at least {LEAST_WORDS} held-out words, but it has {facts['words']}; raise "
                f"eval.items and words.eval, {without}"
            )
        if math.isnan(facts["smallest_detectable"]):
            raise DataError(
                f"a verdict on {task} needs a change that could be found, but with {facts['words']} words and "
                f"{found['seeds']} seeds that spread by {100 * found['seed_sd']:.1f} points ({found['seed_sd_from']}) "
                f"there is none; add seeds or words, {without}"
            )


def detectable(facts: Mapping[str, Any]) -> str:
    """A task's smallest detectable change in words, or why there is none."""
    share = facts["smallest_detectable"]
    return "undefined: one seed, or too few words" if math.isnan(share) else f"{100 * share:.1f} points"


def power_table(found: Mapping[str, Any]) -> Table:
    """The smallest detectable change by words and seeds, in points."""
    rows: dict[int, list[str]] = {}
    for row in found["power"]:
        share = row["smallest_detectable"]
        rows.setdefault(row["words"], []).append("–" if math.isnan(share) else f"{100 * share:.1f}")
    columns = ("smallest detectable change", *(f"{seeds} seeds" for seeds in SHOWN_SEEDS))
    return Table(columns, tuple((f"{words:,} words", *cells) for words, cells in rows.items()))


def power_rows(plan: Plan, words: int) -> Iterator[dict[str, Any]]:
    """Power at several changes, and the smallest detectable one, over words and seeds.

    Args:
        plan: the study; its words and seeds are replaced.
        words: the study's own number of words, shown beside the usual ones.
    """
    for count in sorted({*SHOWN_WORDS, words}):
        for seeds in SHOWN_SEEDS:
            thresholds = claimed_from(replace(plan, words=count, seeds=seeds), np.random.default_rng(0))
            least = float(np.quantile(thresholds, POWER))
            yield {
                "words": count,
                "seeds": seeds,
                "smallest_detectable": least if least < 1 else math.nan,
                "power": {f"{100 * change:g} points": float((thresholds <= change).mean()) for change in SHOWN_CHANGES},
            }


def _pool(recipe: Recipe, task: Task) -> int | None:
    """How many words or rows the task could be scored on at most, made-up words aside; ``None`` when unknown."""
    if isinstance(task, DatasetTask):
        return len(task.rows("eval"))
    if is_word_task(task.card.name) and recipe.words.source == "package":
        return len(package_words("eval"))
    return None


def _smallest(plan: Plan) -> float:
    return smallest_detectable(plan, np.random.default_rng(0)) if plan.seeds > 1 and plan.words else math.nan


def expected_spread(recipe: Recipe) -> SeedSpread:
    """The spread between seeds that past runs of the same model showed here, or the assumption.

    What items alone add to the spread, by the assumed discordance, is taken out.
    """
    squares, df, runs = 0.0, 0, 0
    for study in _past_studies(recipe.runs, recipe.model.id):
        seen = [found for target in study["targets"] for found in _arm_variances(target)]
        squares += sum(value * free for value, free in seen)
        df += sum(free for _, free in seen)
        runs += bool(seen)
    if not df:
        return SeedSpread(UNKNOWN_SEED_SD, "assumed, as no past run of this model here shows it")
    named = f"as seen in {runs} past {'run' if runs == 1 else 'runs'} of this model in {recipe.runs}"
    return SeedSpread(math.sqrt(max(0.0, squares / df)), named)


def _past_studies(folder: Path, model: str) -> Iterator[Mapping[str, Any]]:
    """Stored verdicts of the runs of one model; what cannot be read tells nothing."""
    for name in run_names(folder):
        run = RunDirectory(folder / name)
        try:
            same = run.summary.is_file() and run.verdict.is_file() and read_json(run.summary).get("model") == model
            study = read_json(run.verdict).get("study") if same else None
        except GraftError:
            continue
        if isinstance(study, dict) and isinstance(study.get("targets"), list):
            yield study


def _arm_variances(target: Mapping[str, Any]) -> Iterator[tuple[float, int]]:
    """Seed variance and degrees of freedom of each trained arm of one target, without the noise of items."""
    for arm in target.get("arms", ()):
        shares = [seed["estimate"] for seed in arm["per_seed"] if seed["estimate"] is not None]
        if arm["arm"] in (TRAINED, *CONTROLS) and len(shares) > 1:
            noise = UNKNOWN_DISCORDANCE / 2 / max(1, target["n_clusters"])
            yield float(np.var(shares, ddof=1)) - noise, len(shares) - 1
