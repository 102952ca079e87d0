"""Label scoring in a run: fields for the stored records, and ``labels.json`` computed from nothing but those."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.pipeline.branches import Branch
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json
from graft.stats.arms import COMPARED, TRAINED
from graft.stats.calibration import Calibration, Temperature, brier_items, calibration, fit_temperature, padded
from graft.stats.calibration import probabilities as softmax
from graft.stats.classification import classify
from graft.stats.intervals import NAN, Interval, cluster_bootstrap_mean
from graft.stats.label_study import (
    CHOICE,
    CLASSES,
    Category,
    Generation,
    LabelArm,
    LabelChange,
    LabelStudy,
    LabelTask,
)
from graft.stats.plain import to_json
from graft.stats.shares import classification_change

Record = Mapping[str, Any]
BySeed = Sequence[Sequence[Record]]
"""Records of one arm and task, a list for each seed."""


MAX_CATEGORIES = 64
"""A stratum with more levels is no category."""


def write_labels(
    run: RunDirectory,
    records: Mapping[Branch, Mapping[str, Sequence[Record]]],
    fitted: Mapping[Branch, Mapping[str, Sequence[Record]]],
    *,
    resamples: int,
) -> LabelStudy | None:
    """Write ``labels.json`` from the stored records.

    Args:
        run: where it is written.
        records: scored items by branch and task.
        fitted: records of `calibration_records` by branch and task; may lack any.
        resamples: bootstrap resamples of every interval.

    Returns:
        What was written; ``None``, and no file, when no task has labels.
    """
    study = label_study(records, fitted, resamples=resamples)
    if not study.tasks:
        return None
    write_json(run.path / "labels.json", to_json(study))
    return study


def label_study(
    records: Mapping[Branch, Mapping[str, Sequence[Record]]],
    fitted: Mapping[Branch, Mapping[str, Sequence[Record]]],
    *,
    resamples: int,
) -> LabelStudy:
    """Everything that is reported of label scoring, on the held-out items."""
    arms: dict[str, dict[str, list[Sequence[Record]]]] = defaultdict(lambda: defaultdict(list))
    known: dict[str, dict[str, list[Sequence[Record]]]] = defaultdict(lambda: defaultdict(list))
    for branch, by_task in records.items():
        for task, of_task in by_task.items():
            held_out = [record for record in of_task if record["split"] == "eval"]
            if _are_scored(held_out) and branch.target in ("", task) and not branch.thinking:
                arms[task][branch.arm].append(held_out)
                known[task][branch.arm].append(fitted.get(branch, {}).get(task, ()))
    return LabelStudy(tuple(label_task(task, arms[task], known[task], resamples=resamples) for task in arms))


def label_task(
    task: str, arms: Mapping[str, BySeed], fitted: Mapping[str, BySeed], *, resamples: int, seed: int = 0
) -> LabelTask:
    """Judge one task.

    Args:
        task: its name.
        arms: held-out records by arm, a list for each seed; all about the same items.
        fitted: records of other rows, by arm and seed, for the temperature.
        resamples: bootstrap resamples.
        seed: seeds them.
    """
    order = [record["id"] for record in next(iter(arms.values()))[0]]
    aligned = {arm: [_in_order(records, order) for records in seeds] for arm, seeds in arms.items()}
    first = next(iter(aligned.values()))[0]
    labels, kind = _classes([records for seeds in aligned.values() for records in seeds])
    gold = _places(first, labels, "gold")
    clusters = np.array([record.get("word") or record["id"] for record in first])
    called = {
        arm: np.stack([_places(records, labels, "label_choice") for records in seeds]) for arm, seeds in aligned.items()
    }
    rng = np.random.default_rng(seed)
    judged = []
    for arm, seeds in aligned.items():
        scores = classify(gold, called[arm], labels, clusters, rng, resamples)
        judged.append(LabelArm(arm, scores, *_calibrated(seeds, fitted.get(arm, ()), clusters, rng, resamples),
                               generation=_generation(seeds)))  # fmt: skip
    changes = [
        LabelChange(TRAINED, before, measure, change)
        for before in COMPARED
        if TRAINED in called and before in called
        for measure, change in classification_change(
            gold, called[before], called[TRAINED], len(labels), clusters
        ).items()
    ]
    stratum, categories = _categories(aligned) if kind == CHOICE else ("", ())
    return LabelTask(
        task=task,
        kind=kind,
        way=first[0]["label_way"],
        labels=labels,
        n=len(order),
        majority=float(np.bincount(gold).max() / len(gold)),
        arms=tuple(judged),
        changes=tuple(changes),
        stratum=stratum,
        categories=categories,
    )


def _are_scored(records: Sequence[Record]) -> bool:
    return bool(records) and all("option_scores" in record for record in records)


def _in_order(records: Sequence[Record], order: Sequence[str]) -> list[Record]:
    found = {record["id"]: record for record in records}
    return [found[name] for name in order]


def _classes(runs: BySeed) -> tuple[tuple[str, ...], str]:
    """The classes and the kind of task: labels that all rows share, or the places of each row's own options."""
    sets = {tuple(record["options"]) for records in runs for record in records}
    longest = max(sorted(sets), key=len)
    letters = all(len(option) == 1 and option.isalpha() for option in longest)
    if all(set(options) == set(longest) for options in sets):
        return longest, CHOICE if letters else CLASSES
    if all(options == longest[: len(options)] for options in sets):  # A to D for some rows, A to J for others
        return longest, CHOICE
    return tuple(f"option {place + 1}" for place in range(len(longest))), CHOICE


def _places(records: Sequence[Record], labels: Sequence[str], key: str) -> NDArray[np.intp]:
    """Per record the number of the class that its field names."""
    known = {label: place for place, label in enumerate(labels)}
    own = not all(record[key] in known for record in records)
    return np.array([record["options"].index(record[key]) if own else known[record[key]] for record in records])


def _scores(records: Sequence[Record]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Scores of each row's own options, and the place of its right one among them."""
    table = padded([[-np.inf if s is None else s for s in record["option_scores"]] for record in records])
    return table, np.array([record["options"].index(record["gold"]) for record in records], dtype=np.intp)


def own_temperature(records: Sequence[Record]) -> float:
    """The temperature of a branch's label scores, fitted on records that are never scored; 1 where none can be."""
    scores, gold = _scores(records)
    found = fit_temperature(scores, gold, fitted_on=[record["id"] for record in records], scored=())
    return 1.0 if found.reason else found.value


def _calibrated(
    seeds: BySeed, fitted: BySeed, clusters: NDArray[Any], rng: np.random.Generator, resamples: int
) -> tuple[Interval, Calibration, tuple[Temperature, ...], Calibration | None]:
    """Brier score with its interval, calibration before, the temperatures, and calibration after."""
    tables = [_scores(records) for records in seeds]
    items = np.mean([brier_items(softmax(scores), gold) for scores, gold in tables], axis=0)
    found = []
    for records, others in zip(seeds, fitted or [()] * len(seeds), strict=True):
        scores, gold = _scores(others)
        ids = [record["id"] for record in others]
        scored = (record["id"] for record in records)
        found.append(fit_temperature(scores, gold, fitted_on=ids, scored=scored))
    after = None if any(t.reason for t in found) else _calibration(seeds, [t.value for t in found])
    brier = cluster_bootstrap_mean(items, clusters, rng, resamples)
    return brier, _calibration(seeds, [1.0] * len(seeds)), tuple(found), after


def _calibration(seeds: BySeed, temperatures: Sequence[float]) -> Calibration:
    """Calibration of all seeds' items together, each with its own temperature."""
    tables = [_scores(records) for records in seeds]
    scaled = np.concatenate([scores / t for (scores, _), t in zip(tables, temperatures, strict=True)])
    return calibration(scaled, np.concatenate([gold for _, gold in tables]))


def _generation(seeds: BySeed) -> Generation | None:
    """The free replies beside the likeliest labels."""
    records = [record for records in seeds for record in records if "reply" in record]
    if not records:
        return None
    same = [record["parsed"] and _plain(record["answer"]) == _plain(record["label_choice"]) for record in records]
    parsed = [agrees for agrees, record in zip(same, records, strict=True) if record["parsed"]]
    shares = {key: fmean(bool(record[key]) for record in records) for key in ("strict", "lenient", "parsed")}
    return Generation(**shares, agreement=fmean(same), agreement_parsed=fmean(parsed) if parsed else NAN)


def _plain(answer: str | None) -> str:
    return (answer or "").strip().rstrip(".").strip().casefold()


def _categories(arms: Mapping[str, BySeed]) -> tuple[str, tuple[Category, ...]]:
    """Accuracy by the first stratum of names, such as the subject of a question."""
    first = next(iter(arms.values()))[0]
    names = [name for name, level in (first[0].get("strata") or {}).items() if isinstance(level, str)]
    for name in names:
        levels = sorted({str(record["strata"].get(name, "")) for record in first})
        if name != "pieces" and 1 < len(levels) <= MAX_CATEGORIES:
            return name, tuple(_category(arms, name, level) for level in levels)
    return "", ()


def _category(arms: Mapping[str, BySeed], stratum: str, level: str) -> Category:
    right = {
        arm: [r["label_right"] for records in seeds for r in records if str(r["strata"].get(stratum, "")) == level]
        for arm, seeds in arms.items()
    }
    n = len(next(iter(right.values()))) // len(next(iter(arms.values())))
    return Category(level, n, {arm: fmean(values) for arm, values in right.items()})
