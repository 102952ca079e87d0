"""Stored replies judged again: by the scorers as they are now, and only where something changed since they were scored.

Likelihoods cannot be computed from replies. So every file of samples is stored with a hash, and a file that was changed
after it was scored makes the study invalid, whatever its replies say now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.config.schema import Recipe
from graft.errors import GraftError
from graft.pipeline.branches import Branch, branches
from graft.pipeline.places import samples_path
from graft.pipeline.prepare.taskbook import TaskBook
from graft.runs.directory import RunDirectory
from graft.runs.manifest import file_hash
from graft.tasks.base import Task
from graft.tasks.words.pool import WordSets
from graft.types import Example

SCORERS = "scorers"
"""What a scored branch leaves of each task beside the hash of its file: what identifies the scorer."""

OLD_HASHES = "sha256"
"""Where runs of before there were manifests stored the hash of each task's file."""

CUT = ("word_tokens", "pieces")
"""Strata that the tokenizer adds to those of an example."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a run was scored.

    Attributes:
        edited: files of samples that are no longer what was scored.
        outdated: branches and tasks whose replies another scorer judged.
    """

    edited: tuple[str, ...]
    outdated: frozenset[tuple[Branch, str]]


def changes(run: RunDirectory, recipe: Recipe) -> Changes:
    """Compare the stored samples and scorers with those of when they were scored; older runs stored neither.

    Raises:
        RunError: the marker of a scored branch is damaged.
    """
    edited, outdated = [], set()
    scorers = {task: _scorer(recipe, task) for task in recipe.eval.tasks}
    for branch in branches(recipe):
        if not run.is_done(f"score-{branch.label}"):
            continue
        stored = run.outputs(f"score-{branch.label}")
        for path in _edited(run, branch, stored.get(OLD_HASHES, {})):
            edited.append(str(path.relative_to(run.path)))
            outdated |= {(branch, task) for task in recipe.eval.tasks if path == samples_path(run, branch, task)}
        for task, scorer in stored.get(SCORERS, {}).items():
            now = scorers.get(task)
            if now is not None and now.scorer != scorer:
                outdated.add((branch, task))
    return Changes(tuple(edited), frozenset(outdated))


def _edited(run: RunDirectory, branch: Branch, hashes: Mapping[str, str]) -> list[Path]:
    """The files of a scored branch that are not what was written."""
    if run.is_listed(f"score-{branch.label}"):
        return [path for path in run.damage(f"score-{branch.label}") if run.checkpoints not in path.parents]
    old = {run.path / "samples" / samples_path(run, branch, task).name: known for task, known in hashes.items()}
    return [path for path, known in old.items() if not path.is_file() or file_hash(path) != known]


def rescored(recipe: Recipe, task: str, records: Sequence[dict[str, Any]], outcome: str) -> list[dict[str, Any]]:
    """Records whose replies are judged by the scorer as it is now.

    Replies with thinking and code, which would have to be run, stay as they were judged; so do answers whose options
    were not stored.

    Args:
        recipe: the run's.
        task: the task.
        records: its records.
        outcome: the score that ``right`` repeats.
    """
    scorer = _scorer(recipe, task)
    if scorer is None:
        return list(records)
    return [record if _is_fixed(scorer, record) else _judged(scorer, record, outcome) for record in records]


def _scorer(recipe: Recipe, task: str) -> Task | None:
    """The task, without words or rows; ``None`` where it cannot be built, because its own files are elsewhere now."""
    try:
        return TaskBook(recipe, WordSets((), ())).load(task)
    except GraftError:
        return None


def _is_fixed(task: Task, record: dict[str, Any]) -> bool:
    without = task.card.kind in ("classification", "choice") and not record.get("options")
    return without or task.card.kind == "code" or "samples" in record


def _judged(task: Task, record: dict[str, Any], outcome: str) -> dict[str, Any]:
    example = Example(
        record["id"],
        record["task"],
        record["prompt"],
        record["gold"],
        cluster=record["word"],
        phrasing=record["phrasing"],
        strata={name: value for name, value in record["strata"].items() if name not in CUT},
        options=tuple(record.get("options", ())),
    )
    score = task.verdict(example, record["reply"])
    strict = score.strict and record["finished"]
    kept = {name: value for name, value in record.items() if name != "undefined"}
    found = {
        **kept,
        **({"undefined": score.undefined} if score.undefined else {}),
        "strict": strict,
        "lenient": score.lenient,
        "parsed": score.parsed,
        "answer": score.answer,
        "details": dict(score.details),
    }
    by_reply = record["arm"] == "prompted" or (outcome == "right" and "label_right" not in record)
    return {**found, "right": score.lenient if by_reply else found[outcome]}


def sentences(found: Changes) -> Iterator[str]:
    """What changed, for people."""
    for name in found.edited:
        yield f"{name} was changed after it was scored, so its likelihoods no longer belong to its replies."
    tasks = sorted({task for _, task in found.outdated})
    if tasks and not found.edited:
        yield f"Scorers have changed since; the replies of {', '.join(tasks)} were judged again."
