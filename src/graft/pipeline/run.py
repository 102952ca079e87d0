"""One run from recipe to report: stages meet in the run directory, and a finished one is not repeated."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from graft.config.grid import sampling_grid as read_grid
from graft.config.keys import settings, value_at
from graft.config.loading import Resolved, load_recipe
from graft.config.naming import run_name, task_label
from graft.config.schema import Recipe
from graft.config.writing import to_yaml
from graft.errors import ConfigError, RunError
from graft.models.hardware import accelerator
from graft.models.sampling import describe, from_section
from graft.pipeline.backends import is_remote
from graft.pipeline.branches import Branch, branches
from graft.pipeline.conclude import PERCENT, read_records, write_results, write_verdict
from graft.pipeline.corpora import corpus_sentences
from graft.pipeline.crew import leading
from graft.pipeline.grid import Point, grid_points, score_grid
from graft.pipeline.lab import Lab, audit_record, detectable, prepare
from graft.pipeline.outcome import Outcome, Table, now
from graft.pipeline.preflight import Preflight, preflight
from graft.pipeline.progress import Progress
from graft.pipeline.stages import load_branch, score_branch, train_branch
from graft.pipeline.style import measure_branch, separation_table, write_separation
from graft.pipeline.taskbook import labels
from graft.pipeline.validate import validate
from graft.report.html import write_report
from graft.report.preflight import write_preflight
from graft.report.sampling import grid_texts
from graft.report.tables import result_table
from graft.runs import provenance
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json, write_text
from graft.runs.log import open_log
from graft.runs.metrics import MetricsLog
from graft.train.loop import check_names

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
        resolved: settings for a model; a run keeps its own.
        progress: what is told while it runs.
        sampling_grid: combinations of sampling settings to score beside the recipe's own.
    """
    found = find_run(target, resolved.recipe.runs)
    if found is not None:
        stored = load_recipe(found.recipe)
        return _stages(stored, progress, found, train=False, score=True, grid=_grid(stored.recipe, sampling_grid))
    sections = {"model": {"id": target}, "study": {"arms": ("base",)}}
    changed = {key: getattr(resolved.recipe, key).model_copy(update=update) for key, update in sections.items()}
    recipe = resolved.recipe.model_copy(update={**changed, "name": resolved.recipe.name or "eval"})
    origins = {**resolved.origins, "model.id": "command line", "study.arms": "graft eval"}
    grid = _grid(recipe, sampling_grid)
    return _stages(Resolved(recipe, origins), progress, None, train=False, score=True, grid=grid)


def _grid(recipe: Recipe, text: str | None) -> list[Point]:
    return grid_points(recipe, read_grid(text, recipe.sampling)) if text is not None else []


def report(run: RunDirectory) -> Path:
    """Compute results and verdict anew from the stored items and write the report."""
    recipe = load_recipe(run.recipe).recipe
    with run.hold():
        if any(run.is_done(f"score-{branch.label}") for branch in branches(recipe)):
            records = read_records(run, recipe)
            write_results(run, recipe, records)
            write_verdict(run, recipe, records)
        if recipe.style.tokens:
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
) -> Outcome:
    recipe = resolved.recipe
    validate(recipe, training=train)
    progress.stage("prepare")
    lab = prepare(recipe)
    if lab.audit is not None:
        lab.audit.require()
    if train:
        check_names(recipe.train.optimizer, recipe.train.schedule)
    looked = None
    if resume is None or not resume.is_done("prepare"):
        looked = preflight(lab, progress)
        looked.require()
    directory = (
        _continue(resume, recipe)
        if resume
        else RunDirectory.create(recipe.runs, run_name(recipe, now(), labels(recipe)))
    )
    with directory.hold(), open_log(directory.log):
        if looked is not None:
            _write_preparation(directory, resolved, lab, looked, progress)
        with MetricsLog(directory.metrics, directory.tensorboard) as metrics:
            for branch in branches(recipe):
                _do_branch(directory, lab, branch, metrics, progress, train=train, score=score)
        if grid:
            score_grid(directory, lab, grid, progress)
        return _conclude(directory, recipe, progress) if score else _trained(directory, recipe)


def _write_preparation(
    directory: RunDirectory, resolved: Resolved, lab: Lab, looked: Preflight, progress: Progress
) -> None:
    plan = looked.detectable
    for task, facts in plan["tasks"].items():
        progress.note(f"{task}: {facts['items']:,} held-out items; smallest detectable change {detectable(facts)}")
    for warning in looked.warnings:
        progress.note(f"warning: {warning}")
        LOG.warning("%s", warning)
    with directory.stage("prepare"):
        write_json(directory.path / "preflight.json", looked.to_json())
        write_preflight(directory.path / "preflight.html", looked.to_json(), title=directory.name)
        write_text(directory.recipe, to_yaml(resolved))
        write_json(directory.path / "audit.json", audit_record(lab))
        write_json(directory.path / "forecast.json", plan)
        write_json(
            directory.provenance,
            provenance.collect(
                recipe_hash=hashlib.sha256(resolved.recipe.model_dump_json().encode()).hexdigest(),
                seeds=resolved.recipe.study.seeds,
                data_hashes=_data_hashes(lab),
                extra={"accelerator": accelerator()},
            ),
        )
        _write_summary(directory, resolved.recipe, "prepared", {})


def _do_branch(
    directory: RunDirectory,
    lab: Lab,
    branch: Branch,
    metrics: MetricsLog,
    progress: Progress,
    *,
    train: bool,
    score: bool,
) -> None:
    model = None
    if train and branch.seed is not None and not directory.is_done(f"train-{branch.label}"):
        progress.stage(f"train {branch.label}")
        model = train_branch(directory, lab, branch, metrics, progress)
    if score and not directory.is_done(f"score-{branch.label}"):
        progress.stage(f"score {branch.label}")
        if model is None and not is_remote(lab.recipe):
            model = load_branch(directory, lab.recipe, branch)
        score_branch(directory, lab, branch, model, progress)
    if score and lab.recipe.style.tokens and not directory.is_done(f"style-{branch.label}"):
        progress.stage(f"separate {branch.label}")
        measure_branch(directory, lab, branch, model or load_branch(directory, lab.recipe, branch), progress)


def _conclude(directory: RunDirectory, recipe: Recipe, progress: Progress) -> Outcome:
    progress.stage("judge and report")
    with directory.stage("report"):
        records = read_records(directory, recipe)
        results = write_results(directory, recipe, records)
        verdict = write_verdict(directory, recipe, records)
        separation = write_separation(directory, recipe) if recipe.style.tokens else None
        headline = (separation and separation["headline"]) or verdict.headline or _plain_headline(results)
        _write_summary(directory, recipe, headline, _headline_metrics(results))
        page = write_report(directory)
    LOG.info("%s", headline)
    table = separation_table(separation) if separation else Table(*(grid_texts(directory) or result_table(directory)))
    notes = tuple(target.headline for target in verdict.study.targets) if verdict.study else ()
    told = tuple(sentence for sentence in corpus_sentences(results) if sentence not in headline)
    notes += (*told, *((f"replies: {describe(from_section(recipe.sampling))}",) if results["rows"] else ()))
    return Outcome(directory, headline, table, page, notes)


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
    _write_summary(directory, recipe, headline, losses)
    columns = ("arm", "steps", "final loss", "tokens/s", "seconds", "trainable parameters")
    return Outcome(directory, headline, Table(columns, rows), None, (f"score it: graft eval {directory.name}",))


def _continue(resume: RunDirectory, recipe: Recipe) -> RunDirectory:
    """Make sure that a run is continued by the recipe it was begun with."""
    if not resume.recipe.is_file():
        return resume
    before = load_recipe(resume.recipe).recipe
    free = ("runs", "name")
    differing = [key for key in settings() if key not in free and value_at(before, key) != value_at(recipe, key)]
    if differing:
        raise ConfigError(
            f"cannot continue {resume.name}: {', '.join(differing)} differ from the recipe it was begun with "
            f"({resume.recipe}); restore them or start a new run"
        )
    return resume


def _write_summary(directory: RunDirectory, recipe: Recipe, headline: str, metrics: dict[str, float]) -> None:
    write_json(
        directory.summary,
        {
            "model": recipe.model.id,
            "task": task_label(recipe, labels(recipe)),
            "mode": recipe.mode,
            "headline": headline,
            "metrics": metrics,
        },
    )


def _plain_headline(results: dict[str, Any]) -> str:
    shown = [
        f"{row['arm']} {row['task']} {PERCENT * row['right']:.1f}%" for row in results["rows"] if row["split"] == "eval"
    ]
    right = ("right on held-out items: " + ", ".join(shown),) if shown else ()
    return "; ".join((*corpus_sentences(results), *right))


def _headline_metrics(results: dict[str, Any]) -> dict[str, float]:
    """Share of right answers by arm and task, and the tokens of thinking where there is any, means over seeds."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in results["rows"]:
        if row["split"] == "eval":
            name = f"{row['arm'].split('-seed')[0]}/{row['task']}"
            found[name].append(row["right"])
            if "thinking" in row:
                found[f"{name}/think_tokens"].append(row["thinking"]["think_tokens"])
    for row in results["corpora"]["rows"]:
        found[f"{row['arm'].split('-seed')[0]}/{row['task']}/bits_per_byte"].append(row["bits_per_byte"])
    return {name: fmean(values) for name, values in found.items()}


def _data_hashes(lab: Lab) -> dict[str, str]:
    hashes = {}
    if lab.words is not None:
        hashes["train_words"] = provenance.hash_rows(word.text for word in lab.words.train)
        hashes["eval_words"] = provenance.hash_rows(word.text for word in lab.words.eval)
    for items in lab.items:
        name = f"{items.task.card.name}.{items.split}"
        hashes[name] = provenance.hash_rows(f"{e.id}\t{e.prompt}\t{e.gold}" for e in items.examples)
    for corpus in lab.corpora:
        hashes[f"{corpus.task}.eval"] = provenance.hash_rows(corpus.texts)
    return hashes | {str(path): provenance.hash_file(path) for path in lab.recipe.data.corpus}
