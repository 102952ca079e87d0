"""From stored items to the conclusion: everything here is computed from the files of the run directory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.config.schema import Recipe
from graft.evals.scoring import summarise
from graft.evals.thinking import summarise_thinking
from graft.pipeline.branches import Branch, branches, target_tasks, trained_tasks
from graft.pipeline.judge.corpora import corpora_results, is_corpus_file
from graft.pipeline.judge.labels import write_labels
from graft.pipeline.places import calibration_path, samples_path
from graft.pipeline.prepare.thinking import used_sampling, ways
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json, write_json
from graft.runs.samples import read_samples
from graft.stats.arms import TaskScores
from graft.stats.learned import TrainedCheck, check_trained
from graft.stats.plain import to_json
from graft.stats.strata import by_stratum
from graft.stats.study import StratumRow, Study
from graft.stats.transfer import judge

PERCENT = 100.0
Records = Mapping[Branch, Mapping[str, Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run may say.

    Attributes:
        study: whether training carried over to other tasks; ``None`` when none was scored.
        learned: how each trained task changed.
    """

    study: Study | None
    learned: tuple[TrainedCheck, ...]

    @property
    def headline(self) -> str:
        """One sentence; empty when there is nothing to compare."""
        return self.study.headline if self.study else " ".join(check.headline for check in self.learned)


def read_records(run: RunDirectory, recipe: Recipe) -> Records:
    """All scored items of the run, by branch and task; branches not scored yet are absent, and so are corpora."""
    return {
        branch: {task: read_samples(samples_path(run, branch, task)) for task in item_tasks(run, recipe)}
        for branch in branches(recipe)
        if run.is_done(f"score-{branch.label}")
    }


def item_tasks(run: RunDirectory, recipe: Recipe) -> tuple[str, ...]:
    """The scored tasks whose items are answered; the others are corpora."""
    told = [branch for branch in branches(recipe) if branch.arm != "prompted"]  # it reads no texts
    scored = next((branch for branch in told if run.is_done(f"score-{branch.label}")), None)
    return tuple(task for task in recipe.eval.tasks if scored is None or not is_corpus_file(run, scored, task))


def _calibration(run: RunDirectory, recipe: Recipe, branch: Branch) -> dict[str, list[dict[str, Any]]]:
    """The items that temperatures are fitted on, by task."""
    paths = {task: calibration_path(run, branch, task) for task in recipe.eval.tasks}
    return {task: read_samples(path) for task, path in paths.items() if path.is_file()}


def write_results(run: RunDirectory, recipe: Recipe, items: Records) -> dict[str, Any]:
    """Write ``results.json``: mean scores by arm, seed, task and split, the trivial baselines, and perplexities.

    Args:
        run: where it is written.
        recipe: the run's.
        items: what `read_records` gave.
    """
    rows = []
    for branch, thinks in (way for done in items for way in ways(recipe, done)):
        for task in item_tasks(run, recipe):
            records = items[branch][task] if branch in items else read_samples(samples_path(run, branch, task))
            for split in ("eval", "seen"):
                chosen = [record for record in records if record["split"] == split]
                if chosen:
                    sampling = used_sampling(recipe, thinks=thinks)
                    means = summarise_thinking(chosen, sampling) if thinks else summarise(chosen)
                    head = {"arm": branch.label, "seed": branch.seed, "task": task, "split": split}
                    rows.append({**head, "sampling": asdict(sampling), **means})
    fitted = {branch: _calibration(run, recipe, branch) for branch in items}
    write_labels(run, items, fitted, resamples=recipe.study.resamples)
    results = {"rows": rows, "baselines": _baselines(run), "corpora": corpora_results(run, recipe)}
    write_json(run.path / "results.json", results)
    return results


def write_verdict(run: RunDirectory, recipe: Recipe, records: Records) -> Verdict:
    """Write ``verdict.json``: the study's conclusion, what was learned of each trained task, and the strata.

    Args:
        run: where it is written.
        recipe: the run's.
        records: what `read_records` gave.

    Returns:
        The study, ``None`` without a scored base and trained arm to compare or anything to transfer to, and the check
        of each trained task that is scored.
    """
    study: Study | None = None
    learned: tuple[TrainedCheck, ...] = ()
    strata: list[StratumRow] = []
    if {"base", "trained"} <= {branch.arm for branch in records}:
        scores = {task: task_scores(records, task) for task in item_tasks(run, recipe)}
        study = _study(run, recipe, scores)
        learned = _learned(recipe, scores)
        for task in scores:
            strata += by_stratum(scores[task], _strata(records, task))
    write_json(run.verdict, {"study": to_json(study), "learned": to_json(learned), "strata": to_json(strata)})
    return Verdict(study, learned)


def _study(run: RunDirectory, recipe: Recipe, scores: Mapping[str, TaskScores]) -> Study | None:
    """Whether training carried over, ``None`` when no trained task is scored or no other one."""
    trained = next((task for task in scores if task in trained_tasks(recipe)), None)
    targets = [task for task in target_tasks(recipe) if task in scores]
    if trained is None or not targets:
        return None
    audit = read_json(run.path / "audit.json")
    return judge(
        scores[trained],
        [scores[task] for task in targets],
        audit_ok=audit["ok"],
        audit_reasons=tuple(audit["reasons"]),
        **_rules(recipe),
    )


def _learned(recipe: Recipe, scores: Mapping[str, TaskScores]) -> tuple[TrainedCheck, ...]:
    """How each trained task changed."""
    trained = (task for task in scores if task in trained_tasks(recipe))
    checks = (check_trained(scores[task], **_rules(recipe)) for task in trained)
    return tuple(check for check in checks if check is not None)


def _rules(recipe: Recipe) -> dict[str, Any]:
    study = recipe.study
    return {"margin": study.margin / PERCENT, "alpha": study.alpha}


def task_scores(records: Records, task: str) -> TaskScores:
    """One task's held-out item scores under every arm, aligned by item.

    The score is that of the task's kind, exact match for words; the prompted arm, whose answer follows a spelling, is
    scored leniently.
    """
    first = _judged(records, task)
    order = [record["id"] for record in first]
    by_arm: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    for branch, by_task in records.items():
        if branch.arm == "direct" and branch.target != task:
            continue
        field = "lenient" if branch.arm == "prompted" else "right"
        found = {record["id"]: record[field] for record in _held_out(by_task[task])}
        by_arm[branch.arm].append(np.array([found[name] for name in order], dtype=bool))
    base = by_arm.pop("base", [None])[0]
    clusters = np.array([record["word"] for record in first])
    return TaskScores(task, clusters, base, {arm: np.stack(rows) for arm, rows in by_arm.items()})


def _held_out(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [record for record in records if record["split"] == "eval"]


def _judged(records: Records, task: str) -> list[Mapping[str, Any]]:
    """The held-out items whose score is defined under every arm, as the first arm has them."""
    unknown = {record["id"] for by_task in records.values() for record in by_task[task] if "undefined" in record}
    return [record for record in _held_out(next(iter(records.values()))[task]) if record["id"] not in unknown]


def _strata(records: Records, task: str) -> dict[str, NDArray[Any]]:
    """Each declared stratum's level for each held-out item, as text."""
    held_out = _judged(records, task)
    names = [name for name in held_out[0]["strata"] if name != "pieces"] if held_out else []
    levels = {name: np.array([str(record["strata"].get(name)) for record in held_out]) for name in names}
    return {name: values for name, values in levels.items() if len(set(values)) > 1}


def _baselines(run: RunDirectory) -> dict[str, dict[str, float]]:
    """Accuracy of the trivial answers on the very items that are scored; they were known before any training."""
    path = run.path / "forecast.json"
    known = read_json(path)["tasks"] if path.is_file() else {}
    return {task: facts["baselines"] for task, facts in known.items() if "baselines" in facts}
