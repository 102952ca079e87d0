"""From stored items to the conclusion: everything here is computed from the files of the run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from graft.config.schema import Recipe
from graft.errors import RunError
from graft.evals.scoring import summarise
from graft.evals.thinking import summarise_thinking
from graft.pipeline.branches import Branch, branches, collateral_tasks, target_tasks, trained_tasks
from graft.pipeline.judge.asides import further_measures, leak_shares, links, thinking_changes
from graft.pipeline.judge.corpora import corpora_results, is_corpus_file
from graft.pipeline.judge.labels import write_labels
from graft.pipeline.judge.rescore import changes, rescored, sentences
from graft.pipeline.judge.scores import (
    ACCURACY,
    PROMPTED,
    Records,
    prompted_scores,
    strata,
    task_facts,
    task_metric,
    task_outcome,
    task_scores,
)
from graft.pipeline.judge.tokens import trained_tokens_a_row
from graft.pipeline.places import calibration_path, samples_path
from graft.pipeline.prepare.thinking import used_sampling, ways
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json, write_json
from graft.runs.samples import read_samples
from graft.stats.arms import FORMAT, TaskScores
from graft.stats.asides import Aside
from graft.stats.beside import beside_base
from graft.stats.learned import TrainedCheck, check_trained
from graft.stats.plain import to_json
from graft.stats.strata import adjust_together, by_stratum
from graft.stats.study import StratumRow, Study
from graft.stats.transfer import judge
from graft.tasks.metric import mean_score, metric_title

PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run may say.

    Attributes:
        study: whether training carried over to other tasks; ``None`` when none was scored.
        learned: how each trained task changed.
        leaks: share of each answered task's held-out items that the training rows hold; NaN where nothing was compared.
    """

    study: Study | None
    learned: tuple[TrainedCheck, ...]
    leaks: Mapping[str, float] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """One sentence; empty when there is nothing to compare."""
        return self.study.headline if self.study else " ".join(check.headline for check in self.learned)


def read_records(run: RunDirectory, recipe: Recipe) -> Records:
    """All scored items of the run, by branch and task; branches not scored yet are absent, and so are corpora.

    Replies that were changed, or judged by another scorer than there is now, are judged again.
    """
    facts, outdated = task_facts(run), changes(run, recipe).outdated

    def read(branch: Branch, task: str) -> list[dict[str, Any]]:
        records = read_samples(samples_path(run, branch, task))
        return rescored(recipe, task, records, task_outcome(facts, task)) if (branch, task) in outdated else records

    return {
        branch: {task: read(branch, task) for task in item_tasks(run, recipe)}
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
    rows, facts = [], task_facts(run)
    for branch, thinks in (way for done in items for way in ways(recipe, done)):
        for task in item_tasks(run, recipe):
            records = items[branch][task] if branch in items else read_samples(samples_path(run, branch, task))
            for split in ("eval", "seen"):
                chosen = [record for record in records if record["split"] == split]
                if chosen:
                    sampling = used_sampling(recipe, thinks=thinks)
                    means = summarise_thinking(chosen, sampling) if thinks else summarise(chosen)
                    head = {"arm": branch.label, "seed": branch.seed, "task": task, "split": split}
                    metric = task_metric(facts, task)
                    score = {"metric": metric_title(metric), "score": mean_score(metric, chosen)}
                    rows.append({**head, "sampling": asdict(sampling), **means, **score})
    fitted = {branch: _calibration(run, recipe, branch) for branch in items}
    write_labels(run, items, fitted, resamples=recipe.study.resamples)
    results = {"rows": rows, "baselines": _baselines(run), "corpora": corpora_results(run, recipe)}
    results["trained_tokens_a_row"] = trained_tokens_a_row(run, recipe)
    write_json(run.path / "results.json", results)
    return results


def write_verdict(run: RunDirectory, recipe: Recipe, records: Records) -> Verdict:
    """Write ``verdict.json``: the study's conclusion, what was learned of each trained task, and what stands beside.

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
    found = changes(run, recipe)
    beside: dict[str, Any] = {"notes": [*_missing_branches(run, recipe), *sentences(found), *_log_notes(run, recipe)]}
    if {"base", "trained"} <= {branch.arm for branch in records}:
        facts = task_facts(run)
        metrics = {task: task_metric(facts, task) for task in item_tasks(run, recipe)}
        scores = {
            task: task_scores(
                run, records, task, metric, task_outcome(facts, task), pool=facts.get(task, {}).get("pool")
            )
            for task, metric in metrics.items()
        }
        study = _study(run, recipe, scores, records, found.edited)
        learned = _learned(recipe, scores)
        beside |= _beside(run, recipe, records, metrics)
        beside["links"] = links(scores, trained_tasks(recipe), records)
    beside["notes"] += _overturned(run, study)
    write_json(run.verdict, {"study": to_json(study), "learned": to_json(learned), **to_json(beside)})
    return Verdict(study, learned, beside.get("leaks", {}))


def _overturned(run: RunDirectory, study: Study | None) -> list[str]:
    """That a verdict which is stored no longer follows from the items, if it is so."""
    try:
        stored = read_json(run.verdict)["study"]["verdict"]
    except (RunError, TypeError, KeyError):  # there is none, or it is damaged and is written anew
        return []
    if study is None or stored == study.verdict.value or stored not in {one.value for one in type(study.verdict)}:
        return []
    return [f"The stored verdict was {stored}; from the items as they are now it is {study.verdict.value}."]


def _log_notes(run: RunDirectory, recipe: Recipe) -> list[str]:
    """That the curves of a training are not what was logged, if it is so."""
    trained = [f"train-{branch.label}" for branch in branches(recipe) if branch.seed is not None]
    found = {path: why for stage in trained for path, why in run.damage(stage, only=run.metrics).items()}
    return [f"{path.name} {why}, so the curves of the training may be wrong." for path, why in found.items()]


def _beside(run: RunDirectory, recipe: Recipe, records: Records, metrics: Mapping[str, str]) -> dict[str, Any]:
    """What carries no claim: strata, further measures, thinking beside none, and leaks."""
    found: list[StratumRow] = []
    asides: list[Aside] = []
    thought = _thinking_records(run, recipe, records)
    for task, metric in metrics.items():
        outcome = task_outcome(task_facts(run), task)
        found += by_stratum(task_scores(run, records, task, ACCURACY, outcome), strata(records, task))
        asides += further_measures(records, task, metric)
        asides += thinking_changes(records, thought, task, metric)
    return {"strata": adjust_together(found), "asides": asides, "leaks": leak_shares(run, tuple(metrics))}


def _thinking_records(run: RunDirectory, recipe: Recipe, records: Records) -> Records:
    """Records of the replies with thinking, by the branch that also answered without; none unless both were asked."""
    return {
        branch: {task: read_samples(samples_path(run, way, task)) for task in item_tasks(run, recipe)}
        for branch in records
        for way, _ in ways(recipe, branch)
        if way.thinking
    }


def _missing_branches(run: RunDirectory, recipe: Recipe) -> list[str]:
    """What the recipe asks for and was not scored, in one sentence."""
    missing = [branch.label for branch in branches(recipe) if not run.is_done(f"score-{branch.label}")]
    return [f"Not scored, and left out of everything: {', '.join(missing)}."] if missing else []


def _study(
    run: RunDirectory, recipe: Recipe, scores: Mapping[str, TaskScores], records: Records, edited: Sequence[str]
) -> Study | None:
    """Whether training carried over, ``None`` when no trained task is scored or no other one."""
    trained = next((task for task in scores if task in trained_tasks(recipe)), None)
    targets = [task for task in target_tasks(recipe) if task in scores]
    if trained is None or not targets:
        return None
    audit = read_json(run.path / "audit.json")
    study = judge(
        scores[trained],
        [scores[task] for task in targets],
        audit_ok=audit["ok"],
        audit_reasons=tuple(audit["reasons"]),
        broken=[f"{name} was changed after it was scored" for name in edited],
        controls=_controls(recipe),
        collateral=[scores[task] for task in collateral_tasks(recipe) if task in scores],
        **_rules(recipe),
    )
    return _with_prompted(study, records, recipe)


def _with_prompted(study: Study, records: Records, recipe: Recipe) -> Study:
    """The study with the prompted arm beside the base, both by what is found in their replies."""
    beside = {target.task: prompted_scores(records, target.task) for target in study.targets}
    found = {task: beside_base(scores, PROMPTED, **_rules(recipe)) for task, scores in beside.items() if scores}
    targets = tuple(
        replace(target, contrasts=(*target.contrasts, found[target.task])) if target.task in found else target
        for target in study.targets
    )
    return replace(study, targets=targets)


def _learned(recipe: Recipe, scores: Mapping[str, TaskScores]) -> tuple[TrainedCheck, ...]:
    """How each trained task changed."""
    trained = (task for task in scores if task in trained_tasks(recipe))
    checks = (check_trained(scores[task], **_rules(recipe), controls=_controls(recipe)) for task in trained)
    return tuple(check for check in checks if check is not None)


def _controls(recipe: Recipe) -> tuple[str, ...]:
    """What a claim must beat beside the base; a study without any lacks the first."""
    return recipe.study.controls or (FORMAT,)


def _rules(recipe: Recipe) -> dict[str, Any]:
    study = recipe.study
    return {"margin": study.margin / PERCENT, "alpha": study.alpha}


def _baselines(run: RunDirectory) -> dict[str, dict[str, float]]:
    """Accuracy of the trivial answers on the very items that are scored; they were known before any training."""
    return {task: facts["baselines"] for task, facts in task_facts(run).items() if "baselines" in facts}
