"""One run from recipe to report: stages meet in the run directory, and a finished one is not repeated."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from graft.config.grid import sampling_grid as read_grid
from graft.config.loading import COMMAND_LINE, Resolved, load_recipe
from graft.config.naming import run_name
from graft.config.schema import Recipe
from graft.errors import RunError
from graft.models.sampling import describe, from_section
from graft.pipeline.branches import Branch, branches
from graft.pipeline.judge.asides import leaks_sentence
from graft.pipeline.judge.conclude import Verdict, read_records, write_results, write_verdict
from graft.pipeline.judge.corpora import corpus_sentences
from graft.pipeline.judge.separation import separation_table, write_separation
from graft.pipeline.judge.summary import headline_metrics, plain_headline
from graft.pipeline.judge.tokens import tokens_sentence
from graft.pipeline.outcome import Outcome, Table, now
from graft.pipeline.places import GRID_FILE, report_leaves
from graft.pipeline.prepare.boundary import prove_decoding, run_date
from graft.pipeline.prepare.further import adopt
from graft.pipeline.prepare.integrity import is_due, warn_unlisted
from graft.pipeline.prepare.lab import Lab, prepare
from graft.pipeline.prepare.number_formats import FILE as FORMATS
from graft.pipeline.prepare.number_formats import settle_precision
from graft.pipeline.prepare.preflight import preflight
from graft.pipeline.prepare.prompts import asked_as_field
from graft.pipeline.prepare.record import continued, write_preparation, write_summary
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.prepare.taskbook import labels
from graft.pipeline.prepare.validate import validate
from graft.pipeline.progress import Progress
from graft.pipeline.score.branch import score_branch
from graft.pipeline.score.sampling_grid import Point, grid_points, score_grid
from graft.pipeline.score.separation import measure_branch, separates
from graft.pipeline.train.branch import train_branch
from graft.pipeline.train.crew import leading
from graft.pipeline.train.rehearsal import rehearse_branch
from graft.pipeline.train.weights import load_branch
from graft.report.html import write_report
from graft.report.sampling import grid_texts
from graft.report.tables import result_table
from graft.runs.directory import RunDirectory
from graft.runs.log import open_log
from graft.runs.metrics import MetricsLog

LOG = logging.getLogger(__name__)


def run(resolved: Resolved, *, progress: Progress, resume: RunDirectory | None = None) -> Outcome:
    """Run every stage: prepare, train and score each branch, judge, report.

    Args:
        resolved: the recipe with the origin of each setting.
        progress: what is told while it runs.
        resume: a run of the same recipe to continue; its finished stages are kept.

    Raises:
        GraftError: anything the user can act on; the run directory stays readable.
    """
    with leading(resolved.recipe):
        return _stages(resolved, progress, resume, train=True, score=True)


def train(resolved: Resolved, *, progress: Progress, resume: RunDirectory | None = None) -> Outcome:
    """Train every trained branch and stop there; `evaluate` scores it later."""
    with leading(resolved.recipe):
        return _stages(resolved, progress, resume, train=True, score=False)


def evaluate(target: str, resolved: Resolved, *, progress: Progress, sampling_grid: str | None = None) -> Outcome:
    """Score a run's branches that have not been scored yet, or a model as it comes in a new run.

    Args:
        target: name or path of a run, or a model id.
        resolved: settings for a model; a run keeps its own but for the address of its server.
        progress: what is told while it runs.
        sampling_grid: combinations of sampling settings to score beside the recipe's own.
    """
    found = find_run(target, resolved.recipe.runs)
    if found is not None:
        typed = resolved.origins.get("model.url") == COMMAND_LINE  # its password is not stored
        stored = load_recipe(found.recipe, [f"model.url={resolved.recipe.model.url}"] if typed else [])
        return _stages(stored, progress, found, train=False, score=True, grid=_grid(stored.recipe, sampling_grid))
    sections = {"model": {"id": target}, "study": {"arms": ("base",)}}
    changed = {key: getattr(resolved.recipe, key).model_copy(update=update) for key, update in sections.items()}
    recipe = resolved.recipe.model_copy(update={**changed, "name": resolved.recipe.name or "eval"})
    origins = {**resolved.origins, "model.id": "command line", "study.arms": "graft eval"}
    grid = _grid(recipe, sampling_grid)
    return _stages(Resolved(recipe, origins), progress, None, train=False, score=True, grid=grid)


def evaluate_further(run: RunDirectory, resolved: Resolved, *, progress: Progress) -> Outcome:
    """Score the arms of a run on other tasks, in a new run that has them by a link.

    Args:
        run: the run, trained to its end.
        resolved: what `graft.pipeline.prepare.further.further_recipe` made of its recipe.
        progress: what is told while it runs.
    """
    return _stages(resolved, progress, None, train=False, score=True, first=run)


def _grid(recipe: Recipe, text: str | None) -> list[Point]:
    return grid_points(recipe, read_grid(text, recipe.sampling)) if text is not None else []


def repair(run: RunDirectory, *, progress: Progress) -> None:
    """Run exactly those finished stages again whose files are not what they wrote, and write the report anew.

    Raises:
        RunError: what all else is made from is damaged: the recipe, or the number formats that were decided once.
    """
    damaged = run.damage("prepare")
    for path in (run.recipe, run.path / FORMATS):
        if path in damaged:
            raise RunError(f"{path} {damaged[path]}, and all else is made from it: restore it from a copy")
    resolved = load_recipe(run.recipe)
    with leading(resolved.recipe):
        _stages(resolved, progress, run, train=True, score=True, repair=True)


def report(run: RunDirectory) -> Path:
    """Compute results and verdict anew from the stored items and write the report.

    Raises:
        RunError: the recipe, the audit or another file that the run was prepared with is not what was written.
    """
    warn_unlisted(run)
    kept = {path: why for path, why in run.damage("report").items() if path.name == GRID_FILE}
    run.require_sound(run.damage("prepare") | kept)
    recipe = load_recipe(run.recipe).recipe
    with run.stage("report", report_leaves(run)):
        if any(run.is_done(f"score-{branch.label}") for branch in branches(recipe)):
            return _write_conclusion(run, recipe).page
        write_separation(run, recipe)
        return write_report(run)


def find_run(target: str, root: Path) -> RunDirectory | None:
    """The run of that name or path, or ``None`` when there is none."""
    try:
        return RunDirectory.open(target, root)
    except RunError:
        return None


def _stages(
    resolved: Resolved,
    progress: Progress,
    resume: RunDirectory | None,
    *,
    train: bool,
    score: bool,
    grid: Sequence[Point] = (),
    repair: bool = False,
    first: RunDirectory | None = None,
) -> Outcome:
    recipe = resolved.recipe
    validate(recipe, training=train)
    progress.stage("prepare")
    lab = prepare(recipe, date=run_date(resume or first))
    if lab.audit is not None:
        lab.audit.require()
    looked = None
    if resume is None or is_due(resume, "prepare", progress, repair=repair):
        looked = preflight(lab, progress)
        looked.require()
    directory = (
        continued(resume, lab) if resume else RunDirectory.create(recipe.runs, run_name(recipe, now(), labels(recipe)))
    )
    if first is not None:
        adopt(directory, first)
    with directory.hold(), open_log(directory.log):
        if looked is not None:
            write_preparation(directory, resolved, lab, looked, progress)
            if train and score and not repair:
                _rehearse(lab, progress)
        settle_precision(directory, recipe)
        with MetricsLog(directory.metrics, directory.tensorboard) as metrics:
            for branch in branches(recipe):
                _do_branch(directory, lab, branch, metrics, progress, train=train, score=score, repair=repair)
        if grid:
            score_grid(directory, lab, grid, partial(load_branch, directory, recipe), progress)
        if repair and not directory.is_done("report"):
            return Outcome(directory, "", Table((), ()), None)
        return _conclude(directory, recipe, progress) if score else _trained(directory, recipe)


def _rehearse(lab: Lab, progress: Progress) -> None:
    """Try the first training, where something else would be scored before it."""
    found = branches(lab.recipe)
    first = next((branch for branch in found if branch.seed is not None), None)
    if first is not None and found[0] is not first:
        rehearse_branch(lab, first, progress)


def _do_branch(
    directory: RunDirectory,
    lab: Lab,
    branch: Branch,
    metrics: MetricsLog,
    progress: Progress,
    *,
    train: bool,
    score: bool,
    repair: bool,
) -> None:
    def due(stage: str) -> bool:
        return is_due(directory, f"{stage}-{branch.label}", progress, repair=repair)

    model = None
    if train and branch.seed is not None and due("train"):
        progress.stage(f"train {branch.label}")
        model = train_branch(directory, lab, branch, metrics, progress)
    if score and due("score"):
        progress.stage(f"score {branch.label}")
        if model is None and not is_remote(lab.recipe):
            model = load_branch(directory, lab.recipe, branch)
            prove_decoding(directory, lab, model)
        score_branch(directory, lab, branch, model, progress)
    if score and separates(lab.recipe) and due("style"):
        progress.stage(f"separate {branch.label}")
        measure_branch(directory, lab, branch, model or load_branch(directory, lab.recipe, branch), progress)


def _conclude(directory: RunDirectory, recipe: Recipe, progress: Progress) -> Outcome:
    progress.stage("judge and report")
    with directory.stage("report", report_leaves(directory)):
        found = _write_conclusion(directory, recipe)
    LOG.info("%s", found.headline)
    styled = found.separation
    table = separation_table(styled) if styled else Table(*(grid_texts(directory) or result_table(directory)))
    return Outcome(directory, found.headline, table, found.page, tuple(_notes(found, recipe)))


@dataclass(frozen=True, slots=True)
class _Conclusion:
    """What was written at the end of a run."""

    results: dict[str, Any]
    verdict: Verdict
    separation: dict[str, Any] | None
    headline: str
    page: Path


def _notes(found: _Conclusion, recipe: Recipe) -> Iterator[str]:
    """What is told below the headline, unless it holds that already, as an invalid study's does."""
    study, results = found.verdict.study, found.results
    if study:
        yield from (target.headline for target in study.targets if target.reason not in found.headline)
        yield from (task.headline for task in study.collateral)
    yield from (sentence for sentence in corpus_sentences(results) if sentence not in found.headline)
    if results["rows"] and not all(asked_as_field(recipe, task) for task in recipe.eval.tasks):
        yield f"replies: {describe(from_section(recipe.sampling))}"
    if tokens := tokens_sentence(results["trained_tokens_a_row"]):
        yield tokens
    if study and (leaks := leaks_sentence(found.verdict.leaks)):
        yield leaks


def _write_conclusion(run: RunDirectory, recipe: Recipe) -> _Conclusion:
    """Everything that follows from the stored items."""
    records = read_records(run, recipe)
    results = write_results(run, recipe, records)
    verdict = write_verdict(run, recipe, records)
    separation = write_separation(run, recipe)
    headline = (separation and separation["headline"]) or verdict.headline or plain_headline(results)
    write_summary(run, recipe, headline, headline_metrics(results))
    return _Conclusion(results, verdict, separation, headline, write_report(run))


def _trained(directory: RunDirectory, recipe: Recipe) -> Outcome:
    done = [branch for branch in branches(recipe) if branch.seed is not None]
    facts = {branch.label: directory.outputs(f"train-{branch.label}") for branch in done}
    rows = tuple(
        (
            label,
            str(fact["steps"]),
            f"{fact['final_loss']:.3f}",
            f"{fact['tokens_per_second']:,.0f}",
            f"{fact['seconds']:.1f}",
            f"{fact['parameters_trainable']:,} of {fact['parameters_total']:,}",
        )
        for label, fact in facts.items()
    )
    losses = {f"loss/{label}": fact["final_loss"] for label, fact in facts.items()}
    headline = f"trained {', '.join(facts)}"
    if not directory.is_done("report"):
        write_summary(directory, recipe, headline, losses)
    columns = ("arm", "steps", "final loss", "tokens/s", "seconds", "trainable parameters")
    return Outcome(directory, headline, Table(columns, rows), None, (f"score it: graft eval {directory.name}",))
