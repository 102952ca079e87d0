"""Runs side by side: the settings that differ, and the accuracy of the trained arm with its change to the first run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.errors import ConfigError
from graft.report.load import EVAL, folder_of, list_samples, read_recipe, trained_tasks
from graft.report.numbers import DASH, p_value, percent, points_with_interval
from graft.report.tables import ACCURACY
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json
from graft.runs.samples import read_samples
from graft.stats.arms import BASE, TRAINED
from graft.stats.between import RunChange, RunScores, run_change
from graft.stats.correlation import LEAST_RUNS, Correlation, across_runs_correlation
from graft.stats.intervals import NAN, Interval, undefined
from graft.stats.multiplicity import holm
from graft.stats.plain import to_json
from graft.tasks.metric import metric_shares, metric_title

_UNSET = "(not set)"

LEAST_LINKED = 3
"""Runs below which gains cannot be correlated over runs."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The trained arm of one run on one task, and its change to the first run.

    Attributes:
        run: the run's name.
        task: task name.
        accuracy: the task's metric, mean over seeds; NaN when not scored.
        seeds: seeds of the trained arm.
        n: held-out items.
        paired: the change is over the same items; False when the runs hold different ones.
        change: accuracy − accuracy of the first run with its 95% interval; NaN with a reason where there is none.
        p_adjusted: two-sided p of the change after Holm over all changes of the table; NaN where there is none.
        one_seed: neither run has a second seed, so the interval cannot hold the spread between seeds.
    """

    run: str
    task: str
    accuracy: float
    seeds: tuple[int, ...]
    n: int
    paired: bool
    change: Interval
    p_adjusted: float = NAN
    one_seed: bool = False


@dataclass(frozen=True, slots=True)
class GainLink:
    """Over the runs compared: does the gain on the trained task go with the gain on another one? Exploratory.

    Attributes:
        trained: the first task that every run trained.
        target: the other one.
        found: the correlation of the runs' gains of the trained arm over the base.
    """

    trained: str
    target: str
    found: Correlation


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table with one column for each run; the first column names what the row holds.

    Attributes:
        columns: an empty name, then the runs' names.
        rows: settings that differ, then the tasks.
        notes: what a reader must know about the numbers.
        settings: differing settings by dotted path, one value for each run.
        accuracies: the numbers behind the task rows.
        links: gains that go together over the runs; empty under 3 runs, or where they trained different tasks.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    settings: Mapping[str, tuple[str, ...]]
    accuracies: tuple[Accuracy, ...]
    links: tuple[GainLink, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values, undefined numbers as null."""
        value: dict[str, Any] = to_json(self)
        return value


@dataclass(frozen=True, slots=True)
class _Scores:
    """What one arm's items add to the metric of one task: ids and words of N items, an (S, N) table by seed."""

    ids: tuple[str, ...]
    words: NDArray[Any]
    seeds: tuple[int, ...]
    shares: NDArray[np.float64]
    metric: str
    outcome: str


def compare(runs: Sequence[RunDirectory | Path | str]) -> Comparison:
    """Set runs side by side.

    Args:
        runs: two or more runs; the first is what the others are compared with.

    Raises:
        ConfigError: fewer than two runs, or one of them twice.
        RunError: a run is missing or damaged.
    """
    folders = [folder_of(run).resolve() for run in runs]
    if len(folders) < 2:
        raise ConfigError(f"compare needs at least 2 runs, but got {len(folders)}; list the runs with 'graft runs'.")
    if len(set(folders)) < len(folders):
        twice = next(folder.name for folder in folders if folders.count(folder) > 1)
        raise ConfigError(f"compare needs different runs, but got {twice} more than once; name another run.")
    names = [folder.name for folder in folders]
    recipes = [read_recipe(folder / "recipe.yaml")[1] for folder in folders]
    settings = _differing_settings(recipes)
    scores = [_read_scores(folder, TRAINED) for folder in folders]
    accuracies = tuple(
        _accuracy(name, task, found.get(task), scores[0].get(task), first_run=index == 0)
        for task in dict.fromkeys(task for found in scores for task in found)
        for index, (name, found) in enumerate(zip(names, scores, strict=True))
    )
    adjusted = holm([accuracy.p_adjusted for accuracy in accuracies])
    accuracies = tuple(replace(a, p_adjusted=float(p)) for a, p in zip(accuracies, adjusted, strict=True))
    rows = [(key, *values) for key, values in settings.items()]
    for start in range(0, len(accuracies), len(names)):
        own = accuracies[start : start + len(names)]
        metric = next((found[own[0].task].metric for found in scores if own[0].task in found), ACCURACY)
        title = own[0].task if metric == ACCURACY else f"{own[0].task} ({metric})"
        rows.append((title, *(_cell(accuracy, index == 0) for index, accuracy in enumerate(own))))
    links = _links(recipes, folders, scores)
    notes = (*_notes(names[0], accuracies), *map(_link_sentence, links))
    return Comparison(("", *names), tuple(rows), notes, settings, accuracies, links)


def _gains(folder: Path, trained: Mapping[str, _Scores]) -> dict[str, float]:
    """Mean of the trained arm over its seeds minus the base, by task, on the same items."""
    base = _read_scores(folder, BASE)
    return {
        task: float(scores.shares.mean() - base[task].shares.mean())
        for task, scores in trained.items()
        if task in base and scores.ids and base[task].ids == scores.ids
    }


def _links(
    recipes: Sequence[Mapping[str, Any]], folders: Sequence[Path], scores: Sequence[Mapping[str, _Scores]]
) -> tuple[GainLink, ...]:
    """How the gain on the first task that all runs trained goes with that on every task that none of them did."""
    if len(folders) < LEAST_LINKED:
        return ()
    trained = [trained_tasks(recipe) for recipe in recipes]
    gains = [_gains(folder, found) for folder, found in zip(folders, scores, strict=True)]
    shared = [task for task in trained[0] if all(task in tasks for tasks in trained) and all(task in g for g in gains)]
    if not shared:
        return ()
    targets = [task for task in gains[0] if all(task in g for g in gains) and not any(task in t for t in trained)]
    own = [found[shared[0]] for found in gains]
    rng = np.random.default_rng(0)
    return tuple(
        GainLink(shared[0], task, across_runs_correlation(own, [found[task] for found in gains], rng))
        for task in targets
    )


def _link_sentence(link: GainLink) -> str:
    found = link.found
    if not found.linear.defined:
        said = f"undefined ({found.linear.reason})"
    else:
        said = f"r = {found.linear.estimate:+.2f} [{found.linear.low:+.2f}, {found.linear.high:+.2f}]"
    few = f"; under {LEAST_RUNS} runs it decides nothing" if found.n < LEAST_RUNS else ""
    return f"Over {found.n} runs the gain on {link.trained} goes with that on {link.target} by {said}{few}."


def _differing_settings(recipes: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    flat = [dict(_flatten(recipe)) for recipe in recipes]
    keys = dict.fromkeys(key for recipe in flat for key in recipe)
    values = {key: tuple(recipe.get(key, _UNSET) for recipe in flat) for key in keys}
    return {key: found for key, found in values.items() if len(set(found)) > 1}


def _flatten(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Dotted paths and printed values; lists of plain values stay together."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flatten(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        for index, part in enumerate(value):
            yield from _flatten(part, f"{path}[{index}]")
    else:
        yield path, str(value)


def _read_scores(folder: Path, arm: str) -> dict[str, _Scores]:
    """Scores of one arm by task; a seed that was scored on other items than the first is left out."""
    known = _facts(folder)
    tables: dict[str, dict[int, dict[str, Mapping[str, Any]]]] = {}
    for file in list_samples(folder):
        if file.arm == arm:
            kept: dict[str, Mapping[str, Any]] = {
                row["id"]: row for row in read_samples(file.path) if row["split"] == EVAL
            }
            tables.setdefault(file.task, {})[file.seed or 0] = kept
    found = {}
    for task, by_seed in tables.items():
        (metric, outcome), first = known.get(task, (ACCURACY, "right")), next(iter(by_seed.values()))
        ids = sorted(first)
        kept_seeds = [seed for seed, rows in by_seed.items() if sorted(rows) == ids]
        shares = [metric_shares(metric, [by_seed[seed][item] for item in ids], outcome) for seed in kept_seeds]
        words = np.array([first[item].get("word") or item for item in ids])
        found[task] = _Scores(tuple(ids), words, tuple(kept_seeds), np.stack(shares), metric_title(metric), outcome)
    return found


def _facts(folder: Path) -> dict[str, tuple[str, str]]:
    """Metric and outcome of every task, as far as the run stored them."""
    path = folder / "forecast.json"
    known = read_json(path)["tasks"] if path.is_file() else {}
    return {task: (str(f.get("metric", ACCURACY)), str(f.get("outcome", "right"))) for task, f in known.items()}


def _accuracy(name: str, task: str, own: _Scores | None, first: _Scores | None, *, first_run: bool) -> Accuracy:
    """One run on one task; its p is not adjusted yet."""
    if own is None or not own.ids:
        return Accuracy(name, task, math.nan, (), 0, False, undefined("the trained arm was not scored on this task"))
    accuracy, n = float(own.shares.mean()), len(own.ids)
    if first_run or first is None or not first.ids:
        reason = "this is the first run" if first_run else "the first run was not scored on this task"
        return Accuracy(name, task, accuracy, own.seeds, n, False, undefined(reason, n=n))
    if (own.metric, own.outcome) != (first.metric, first.outcome):
        said = f"judged by {own.outcome} {own.metric}, and the first run by {first.outcome} {first.metric}"
        return Accuracy(name, task, accuracy, own.seeds, n, False, undefined(said, n=n))
    paired = own.ids == first.ids
    found: RunChange = run_change(*(RunScores(s.shares, s.words) for s in (first, own)), paired=paired)
    return Accuracy(name, task, accuracy, own.seeds, n, paired, found.interval, found.p, found.one_seed)


def _cell(accuracy: Accuracy, first: bool) -> str:
    if math.isnan(accuracy.accuracy):
        return DASH
    if first or math.isnan(accuracy.change.estimate):
        return percent(accuracy.accuracy)
    moved = points_with_interval(accuracy.change.estimate, accuracy.change)
    return f"{percent(accuracy.accuracy)} ({moved}, p {p_value(accuracy.p_adjusted)})"


def _notes(first: str, accuracies: Sequence[Accuracy]) -> tuple[str, ...]:
    notes = [
        "Accuracy of the trained arm on held-out items, or the metric that is named, mean over seeds. "
        f"In brackets: change to {first} in points, with its 95% interval over words and seeds, and p after Holm over "
        "all changes shown."
    ]
    for accuracy in accuracies:
        where = f"{accuracy.task}, {accuracy.run}"
        if math.isnan(accuracy.change.estimate):
            if accuracy.run != first or not accuracy.n:
                notes.append(f"{where}: {accuracy.change.reason}.")
        elif not accuracy.paired:
            notes.append(f"{where}: the items differ from those of {first}; the change is unpaired and less certain.")
        if accuracy.one_seed:
            notes.append(f"{where}: one seed in each run; this compares two checkpoints, not what their settings do.")
    return tuple(notes)
