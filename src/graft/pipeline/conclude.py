"""From stored items to the conclusion: everything here is computed from the files of the run directory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft import tasks
from graft.config.schema import Recipe
from graft.evals.scoring import summarise
from graft.evals.thinking import summarise_thinking
from graft.pipeline.branches import Branch, branches, target_tasks, trained_tasks
from graft.pipeline.stages import samples_path
from graft.pipeline.thinking import used_sampling, ways
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json, write_json
from graft.runs.samples import read_samples
from graft.stats.plain import to_json
from graft.stats.strata import by_stratum
from graft.stats.study import StratumRow, Study, TaskScores
from graft.stats.transfer import judge
from graft.tasks.words.pool import WordSets
from graft.types import Example

PERCENT = 100.0
STRATA_RESAMPLES = 2000
"""Bootstrap resamples of the exploratory breakdown; the claims use the recipe's own number."""

Records = Mapping[Branch, Mapping[str, Sequence[Mapping[str, Any]]]]


def read_records(run: RunDirectory, recipe: Recipe) -> Records:
    """All scored items of the run, by branch and task; branches not scored yet are absent."""
    return {
        branch: {task: read_samples(samples_path(run, branch, task)) for task in recipe.eval.tasks}
        for branch in branches(recipe)
        if run.is_done(f"score-{branch.label}")
    }


def write_results(run: RunDirectory, recipe: Recipe) -> dict[str, Any]:
    """Write ``results.json``: mean scores by arm, seed, task and split, beside the trivial baselines."""
    scored = [branch for branch in branches(recipe) if run.is_done(f"score-{branch.label}")]
    rows = []
    for branch, thinks in (way for done in scored for way in ways(recipe, done)):
        for task in recipe.eval.tasks:
            records = read_samples(samples_path(run, branch, task))
            for split in ("eval", "seen"):
                chosen = [record for record in records if record["split"] == split]
                if chosen:
                    sampling = used_sampling(recipe, thinks=thinks)
                    means = summarise_thinking(chosen, sampling) if thinks else summarise(chosen)
                    head = {"arm": branch.label, "seed": branch.seed, "task": task, "split": split}
                    rows.append({**head, "sampling": asdict(sampling), **means})
    results = {"rows": rows, "baselines": _baselines(run, recipe)}
    write_json(run.path / "results.json", results)
    return results


def write_verdict(run: RunDirectory, recipe: Recipe) -> Study | None:
    """Write ``verdict.json``: the study's conclusion and the exploratory strata.

    Returns:
        The study, or ``None`` when there is no scored base and trained arm to compare or nothing to transfer to.
    """
    records = read_records(run, recipe)
    arms = {branch.arm for branch in records}
    study = None
    strata: list[StratumRow] = []
    if {"base", "trained"} <= arms:
        scores = {task: task_scores(records, task) for task in recipe.eval.tasks}
        audit = read_json(run.path / "audit.json")
        trained = next((task for task in recipe.eval.tasks if task in trained_tasks(recipe)), None)
        if trained is not None and target_tasks(recipe):
            study = judge(
                scores[trained],
                [scores[task] for task in target_tasks(recipe)],
                rng=np.random.default_rng(0),
                audit_ok=audit["ok"],
                audit_reasons=tuple(audit["reasons"]),
                margin=recipe.study.margin / PERCENT,
                alpha=recipe.study.alpha,
                resamples=recipe.study.resamples,
            )
        for task in recipe.eval.tasks:
            rng = np.random.default_rng(1)
            strata += by_stratum(scores[task], _strata(records, task), rng=rng, resamples=STRATA_RESAMPLES)
    write_json(run.verdict, {"study": to_json(study), "strata": to_json(strata)})
    return study


def task_scores(records: Records, task: str) -> TaskScores:
    """One task's held-out item scores under every arm, aligned by item.

    The score is one-pass exact match; the prompted arm, whose answer follows a spelling, is scored leniently.
    """
    order = [record["id"] for record in _held_out(next(iter(records.values()))[task])]
    by_arm: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    for branch, by_task in records.items():
        if branch.arm == "direct" and branch.target != task:
            continue
        field = "lenient" if branch.arm == "prompted" else "exact"
        found = {record["id"]: record[field] for record in _held_out(by_task[task])}
        by_arm[branch.arm].append(np.array([found[name] for name in order], dtype=bool))
    base = by_arm.pop("base", [None])[0]
    words = {record["id"]: record["word"] for record in _held_out(next(iter(records.values()))[task])}
    clusters = np.array([words[name] for name in order])
    return TaskScores(task, clusters, base, {arm: np.stack(rows) for arm, rows in by_arm.items()})


def _held_out(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [record for record in records if record["split"] == "eval"]


def _strata(records: Records, task: str) -> dict[str, NDArray[Any]]:
    """Each declared stratum's level for each held-out item, as text."""
    held_out = _held_out(next(iter(records.values()))[task])
    names = [name for name in held_out[0]["strata"] if name != "pieces"]
    levels = {name: np.array([str(record["strata"].get(name)) for record in held_out]) for name in names}
    return {name: values for name, values in levels.items() if len(set(values)) > 1}


def _baselines(run: RunDirectory, recipe: Recipe) -> dict[str, dict[str, float]]:
    """Accuracy of the trivial answers on the very items that were scored."""
    scored = next(iter(read_records(run, recipe).values()), {})
    nothing = WordSets((), ())
    return {
        task: dict(tasks.load(task, nothing).baselines([_example(record) for record in _held_out(records)]))
        for task, records in scored.items()
    }


def _example(record: Mapping[str, Any]) -> Example:
    keys = ("id", "task", "prompt", "gold", "phrasing", "strata")
    return Example(cluster=record["word"], **{key: record[key] for key in keys})
