"""From stored records to arrays: every task's scores under every arm, by its metric, aligned by item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.pipeline.branches import Branch
from graft.pipeline.places import baselines_path
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json
from graft.runs.samples import read_samples
from graft.stats.arms import BASE, TaskScores
from graft.stats.shares import Shares
from graft.tasks.metric import metric_shares, metric_title

Record = Mapping[str, Any]
Records = Mapping[Branch, Mapping[str, Sequence[Record]]]


def task_facts(run: RunDirectory) -> dict[str, dict[str, Any]]:
    """What was known of each scored task before training: ``metric``, ``items`` and more; empty in old runs."""
    path = run.path / "forecast.json"
    found: dict[str, dict[str, Any]] = read_json(path)["tasks"] if path.is_file() else {}
    return found


def task_metric(facts: Mapping[str, Mapping[str, Any]], task: str) -> str:
    """The metric of a task's card."""
    return str(facts.get(task, {}).get("metric", "accuracy"))


def task_scores(run: RunDirectory, records: Records, task: str, metric: str) -> TaskScores:
    """One task's held-out scores under every arm and trivial answer, aligned by item.

    The prompted arm, whose answer follows a spelling, is scored leniently.

    Args:
        run: holds the scored trivial answers.
        records: what was scored.
        task: the task.
        metric: that of its card.
    """
    order = judged(records, task)
    names = [record["id"] for record in order]
    by_arm: dict[str, list[Shares]] = defaultdict(list)
    for branch, by_task in records.items():
        if branch.arm == "direct" and branch.target != task:
            continue
        found = {record["id"]: record for record in held_out(by_task[task])}
        own = [found[name] for name in names]
        if branch.arm == "prompted":
            own = [{**record, "right": record["lenient"]} for record in own]
        by_arm[branch.arm].append(metric_shares(metric, own))
    base = by_arm.pop(BASE, None)
    return TaskScores(
        task=task,
        clusters=np.array([record["word"] or record["id"] for record in order]),
        base=None if base is None else base[0],
        arms={arm: np.stack(rows) for arm, rows in by_arm.items()},
        metric=metric_title(metric),
        rivals=_rivals(run, task, metric, order),
    )


def _rivals(run: RunDirectory, task: str, metric: str, order: Sequence[Record]) -> dict[str, Shares]:
    """The trivial answers to the same items, by the name of their rule; none in runs that did not store them."""
    path = baselines_path(run, task)
    known = {row["id"]: row["baselines"] for row in read_samples(path)} if path.is_file() else {}
    if not order or any(record["id"] not in known for record in order):
        return {}
    said = [(record, known[record["id"]]) for record in order]
    by_likelihood = task_facts(run).get(task, {}).get("outcome") == "constrained"  # a spelling may be right in part
    field = "constrained" if by_likelihood else "right"
    return {
        rule: metric_shares(metric, [_as_record(record, answers[rule]) for record, answers in said], field)
        for rule in said[0][1]
    }


def _as_record(record: Record, said: Record) -> dict[str, Any]:
    return {"gold": record["gold"], "options": record.get("options", ()), **said}


def held_out(records: Sequence[Record]) -> list[Record]:
    """The records of held-out items."""
    return [record for record in records if record["split"] == "eval"]


def judged(records: Records, task: str) -> list[Record]:
    """The held-out items whose score is defined under every arm, as the first arm has them."""
    unknown = {record["id"] for by_task in records.values() for record in by_task[task] if "undefined" in record}
    return [record for record in held_out(next(iter(records.values()))[task]) if record["id"] not in unknown]


def strata(records: Records, task: str) -> dict[str, NDArray[Any]]:
    """Each declared stratum's level for each held-out item, as text."""
    items = [{**record["strata"], **_token_place(record["strata"])} for record in judged(records, task)]
    names = [name for name in items[0] if name != "pieces"] if items else []
    levels = {name: np.array([str(item.get(name)) for item in items]) for name in names}
    return {name: values for name, values in levels.items() if len(set(values)) > 1}


def _token_place(known: Mapping[str, Any]) -> dict[str, str]:
    """For an asked letter, whether counting to it stays in the word's first token, or last one from the end."""
    if "index" not in known or not known.get("pieces"):
        return {}
    sizes = [len(piece) for piece in str(known["pieces"]).split("|")]
    near, count = (sizes[-1], known["index_from_end"]) if known["from_end"] else (sizes[0], known["index"])
    return {"counting": "inside one token" if count <= near else "across tokens"}
