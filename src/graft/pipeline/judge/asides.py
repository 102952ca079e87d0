"""What stands beside the verdict, from stored records: further measures, thinking, links of gains, and leaks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.pipeline.branches import Branch
from graft.pipeline.judge.scores import Record, Records, held_out, judged
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json
from graft.stats.arms import COMPARED, TRAINED, TaskScores
from graft.stats.asides import Aside, compare_aside
from graft.stats.links import Link, link_gains
from graft.stats.shares import balanced_shares
from graft.tasks.metric import metric_shares, metric_title
from graft.tasks.words.relations import RELATIONS

BALANCED = "true_count"
"""The stratum over which accuracy is also averaged with equal weights: most letters of most words occur once."""

TITLES = {"absolute_error": "mean absolute error", "cer": "character error rate"}
"""Details of a score as they are written for people, where their name does not say it."""

COUNTS = ("true_positives", "predicted", "expected", "seconds", "timeout", "passed")
"""Details that are parts of the metric, or say nothing about skill."""

THINKING = "thinking"


def further_measures(records: Records, task: str, metric: str) -> Iterator[Aside]:
    """The change of every detail of a score, and of accuracy with its counts balanced, over base and controls."""
    by_arm = _aligned(records, task)
    clusters = np.array([record["word"] or record["id"] for record in judged(records, task)])
    for name, tables in _measures(by_arm, metric).items():
        for before in COMPARED:
            if {TRAINED, before} <= set(tables):
                yield compare_aside(
                    task,
                    name,
                    after=(TRAINED, tables[TRAINED]),
                    before=(before, tables[before]),
                    clusters=clusters,
                )


def _aligned(records: Records, task: str) -> dict[str, list[list[Record]]]:
    """The judged records of base, trained arm and controls: a list for each seed, all in the same order."""
    order = [record["id"] for record in judged(records, task)]
    found: dict[str, list[list[Record]]] = defaultdict(list)
    for branch, by_task in records.items():
        if branch.arm in (TRAINED, *COMPARED):
            known = {record["id"]: record for record in held_out(by_task[task])}
            found[branch.arm].append([known[name] for name in order])
    return found


def _measures(by_arm: Mapping[str, list[list[Record]]], metric: str) -> dict[str, dict[str, NDArray[np.float64]]]:
    """(S, N) values by measure and arm."""
    first = next(iter(by_arm.values()), [[]])[0]
    names = dict.fromkeys(name for record in first for name in record["details"] if name not in (*COUNTS, metric))
    found = {
        TITLES.get(name, name.replace("_", " ")): {
            arm: np.array([[_number(record["details"].get(name)) for record in seed] for seed in seeds])
            for arm, seeds in by_arm.items()
        }
        for name in names
    }
    if first and all(BALANCED in record["strata"] for record in first):
        strata = [str(record["strata"][BALANCED]) for record in first]
        found[f"accuracy, every {BALANCED.replace('_', ' ')} weighing the same"] = {
            arm: np.stack([balanced_shares([record["right"] for record in seed], strata) for seed in seeds])
            for arm, seeds in by_arm.items()
        }
    return found


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def thinking_changes(
    plain: Records, thinking: Mapping[Branch, Mapping[str, Sequence[Record]]], task: str, metric: str
) -> Iterator[Aside]:
    """The change from answering at once to thinking first, by arm, on the same items.

    Args:
        plain: records of replies without thinking.
        thinking: records of the same branches with it.
        task: the task.
        metric: that of its card.
    """
    by_arm: dict[str, list[tuple[list[Record], list[Record]]]] = defaultdict(list)
    for branch, by_task in thinking.items():
        if branch in plain and branch.target in ("", task):
            after = {record["id"]: record for record in held_out(by_task[task])}
            before = {record["id"]: record for record in held_out(plain[branch][task])}
            shared = [name for name in before if name in after and "undefined" not in {**before[name], **after[name]}]
            by_arm[branch.arm].append(([before[name] for name in shared], [after[name] for name in shared]))
    for arm, pairs in by_arm.items():
        sides = [np.stack([metric_shares(metric, pair[side]) for pair in pairs]) for side in (0, 1)]
        yield compare_aside(
            task,
            metric_title(metric),
            after=(f"{arm}, {THINKING}", sides[1]),
            before=(arm, sides[0]),
            clusters=np.array([record["word"] or record["id"] for record in pairs[0][0]]),
        )


def links(scores: Mapping[str, TaskScores], trained: Sequence[str], records: Records) -> tuple[Link, ...]:
    """How the gain on the first trained task goes with that on each other one; only words can be linked.

    Args:
        scores: every task's.
        trained: names of the trained tasks.
        records: what the scores are from; they know how long a word is.
    """
    first = next((task for task in scores if task in trained), None)
    if first is None:
        return ()
    lengths = {
        str(record["word"]): float(record["strata"]["length"])
        for record in judged(records, first)
        if isinstance(record["strata"].get("length"), int)
    }
    return tuple(
        link_gains(scores[first], scores[task], lengths, rng=np.random.default_rng(0))
        for task in scores
        if task not in trained and lengths
    )


def leaks_sentence(shares: Mapping[str, float]) -> str:
    """The share of leaked items of every task that was compared; empty where none was."""
    told = (f"{task} {100 * share:.1f}%" for task, share in shares.items() if not math.isnan(share))
    listed = ", ".join(told)
    return f"held-out items that the training rows hold: {listed}" if listed else ""


def leak_shares(run: RunDirectory, tasks: Sequence[str]) -> dict[str, float]:
    """Share of each task's held-out items that the training rows hold, by task; NaN where nothing was compared.

    Rows of data sets are found by what they say, words by every relation of the audit.
    """
    looked, audit = (
        read_json(path) if path.is_file() else {} for path in (run.path / "preflight.json", run.path / "audit.json")
    )
    found = {report["task"]: _number(report["share"]) for report in looked.get("leaks", ())}
    words = audit.get("eval_words")
    shared = sum(audit[name]["count"] for name in RELATIONS if name in audit) / words if words else math.nan
    return {task: found.get(task, shared) for task in tasks}
