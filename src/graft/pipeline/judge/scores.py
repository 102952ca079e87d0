"""From stored records to arrays: every task's scores under every arm, by its metric, aligned by item."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graft.errors import RunError
from graft.evals.scoring import disagreement
from graft.pipeline.branches import Branch
from graft.pipeline.places import baselines_path
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json
from graft.runs.samples import read_samples
from graft.stats.arms import BASE, TaskScores
from graft.stats.shares import Shares
from graft.tasks.metric import metric_shares, metric_title

Record = Mapping[str, Any]
ACCURACY = "accuracy"
"""What strata are broken down by: a metric over classes means something else in every part."""

PROMPTED = "prompted"
"""The arm that is told to spell first, so that it is never asked for an answer at once."""

Records = Mapping[Branch, Mapping[str, Sequence[Record]]]


def task_facts(run: RunDirectory) -> dict[str, dict[str, Any]]:
    """What was known of each scored task before training: ``metric``, ``items`` and more; empty in old runs."""
    path = run.path / "forecast.json"
    found: dict[str, dict[str, Any]] = read_json(path)["tasks"] if path.is_file() else {}
    return found


def task_metric(facts: Mapping[str, Mapping[str, Any]], task: str) -> str:
    """The metric of a task's card."""
    return str(facts.get(task, {}).get("metric", "accuracy"))


def task_outcome(facts: Mapping[str, Mapping[str, Any]], task: str) -> str:
    """The score that the verdict of a task is about, as it was fixed before training; ``right`` in old runs."""
    return str(facts.get(task, {}).get("outcome", "right"))


def task_scores(
    run: RunDirectory, records: Records, task: str, metric: str, outcome: str, *, pool: int | None = None
) -> TaskScores:
    """One task's held-out scores under every arm and trivial answer, aligned by item.

    The prompted arm answers after a spelling, so it is among the arms only where answers are looked for in replies; see
    `prompted_scores`.

    Args:
        run: holds the scored trivial answers.
        records: what was scored.
        task: the task.
        metric: that of its card.
        outcome: the field of a record that the verdict is about.
        pool: words that could be scored at most.

    Raises:
        RunError: an item lacks that score.
    """
    order = judged(records, task)
    known = _by_arm(records, task, order)
    by_arm = {arm: seeds for arm, seeds in known.items() if arm != PROMPTED or outcome == "lenient"}
    arms = _shares(by_arm, metric, outcome)
    base = arms.pop(BASE, None)
    return TaskScores(
        task=task,
        clusters=_clusters(order),
        base=None if base is None else base[0],
        arms=arms,
        strict={} if outcome == "strict" else _shares(by_arm, metric, "strict"),
        parsed=_shares(by_arm, ACCURACY, "parsed"),
        disagreement=_disagreement(by_arm),
        pool=pool,
        metric=metric_title(metric),
        rivals=_rivals(run, task, metric, order),
    )


def prompted_scores(records: Records, task: str) -> TaskScores | None:
    """The prompted arm and the base by the same rule: what is found in their replies; ``None`` without either."""
    order = judged(records, task)
    found = _shares(_by_arm(records, task, order), ACCURACY, "lenient")
    if not {BASE, PROMPTED} <= set(found):
        return None
    return TaskScores(task, _clusters(order), found[BASE][0], {PROMPTED: found[PROMPTED]})


def _by_arm(records: Records, task: str, order: Sequence[Record]) -> dict[str, list[list[Record]]]:
    """The held-out records of each arm in the order of the items, a list for each seed; of direct branches those
    trained on the task.
    """
    found: dict[str, list[list[Record]]] = defaultdict(list)
    for branch, by_task in records.items():
        if branch.target in ("", task):
            own = {record["id"]: record for record in held_out(by_task[task])}
            found[branch.arm].append([own[record["id"]] for record in order])
    return found


def _clusters(order: Sequence[Record]) -> NDArray[Any]:
    return np.array([record["word"] or record["id"] for record in order])


def _shares(by_arm: Mapping[str, Sequence[Sequence[Record]]], metric: str, field: str) -> dict[str, Shares]:
    """(S, N) shares by arm, of one of the scores."""
    for arm, seeds in by_arm.items():
        for record in (record for seed in seeds for record in seed):
            if record.get(field) is None:
                raise RunError(f"{record['id']} under {arm} has no {field} score; score the run again with graft eval")
    return {arm: np.stack([metric_shares(metric, seed, field) for seed in seeds]) for arm, seeds in by_arm.items()}


def _disagreement(by_arm: Mapping[str, Sequence[Sequence[Record]]]) -> float:
    """How often one pass and the generated reply say different things: the largest share over the arms."""
    shares = [disagreement([record for seed in seeds for record in seed]) for seeds in by_arm.values()]
    return max((share for share in shares if not math.isnan(share)), default=math.nan)


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
