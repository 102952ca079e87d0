"""The leak audit of a run: what the held-out items say, sought in everything that is trained, which is read once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graft.data.leaks import LeakReport, NamedText, find_leaks
from graft.data.plain import LEAST_CONTAINED, plain
from graft.evals.items import Items
from graft.pipeline.branches import branches, trained_tasks
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.progress import Progress
from graft.runs.files import write_text
from graft.tasks.base import Task
from graft.tasks.dataset import DatasetTask, asked_text
from graft.tasks.stream import StreamTask
from graft.tasks.words.task import WordTask

STREAMED_CHARACTERS = 1 << 26
"""Characters of a streamed corpus, from its beginning, that are compared with the held-out items."""


def audit_leaks(lab: Lab, progress: Progress) -> tuple[LeakReport, ...]:
    """Compare the held-out items of all tasks with all training texts; words have an audit of their own.

    Not the prompts are compared but the cells of the rows, so that the same text is found behind another question.
    """
    names = {*trained_tasks(lab.recipe), *(branch.target for branch in branches(lab.recipe) if branch.target)}
    sources = [task for name in sorted(names) if not isinstance(task := lab.book.load(name), WordTask)]
    held_out = _held_out(lab)
    if not sources or not held_out:
        return ()
    bar = progress.task("compare the held-out items with the training texts")

    def told() -> Iterator[NamedText]:
        for task in sources:
            for text in _trained(task):
                yield text
                bar.advance(1)

    reports = find_leaks(told(), held_out, threshold=lab.recipe.check.near_duplicate)
    bar.finish()
    return reports


def write_clean_ids(lab: Lab, reports: tuple[LeakReport, ...], path: Path) -> None:
    """Write the ids of the held-out items that no training text gives away, one a line."""
    leaked = {name for report in reports for name in report.leaked}
    names = [example.id for items in lab.items if items.split == "eval" for example in items.examples]
    names += [name for corpus in lab.corpora for name in corpus.names]
    write_text(path, "".join(f"{name}\n" for name in names if name not in leaked))


def _held_out(lab: Lab) -> dict[str, list[NamedText]]:
    """What the held-out items say, by task; short lines of a corpus are no item by which anything could leak."""
    scored = [items for items in lab.items if items.split == "eval" and not isinstance(items.task, WordTask)]
    found = {items.task.card.name: list(_said(items)) for items in scored}
    for corpus in lab.corpora:
        texts = zip(corpus.names, corpus.texts, strict=True)
        found[corpus.task] = [(name, text) for name, text in texts if plain(text).size >= LEAST_CONTAINED]
    return found


def _said(items: Items) -> Iterator[NamedText]:
    said = dict(items.task.sources("eval")) if isinstance(items.task, DatasetTask) else {}
    return ((example.id, said.get(example.id) or asked_text(example)) for example in items.examples)


def _trained(task: Task) -> Iterator[NamedText]:
    if isinstance(task, DatasetTask):
        yield from task.sources("train")
        return
    left = STREAMED_CHARACTERS
    examples = task.texts("train") if isinstance(task, StreamTask) else task.examples("train", limit=None, seed=0)
    for example in examples:
        yield example.id, asked_text(example)
        left -= len(example.gold) if isinstance(task, StreamTask) else 0
        if left < 0:
            return
