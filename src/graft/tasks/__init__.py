"""The registered tasks by name; a new task is one file and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graft import errors
from graft.tasks.base import Split, Task, TaskCard
from graft.tasks.contains import ContainsTask
from graft.tasks.count import CountTask
from graft.tasks.echo import EchoTask
from graft.tasks.ends import FirstTask, LastTask
from graft.tasks.length import LengthTask
from graft.tasks.position import PositionTask
from graft.tasks.prose import ProseTask
from graft.tasks.spelling import SpellingTask
from graft.tasks.unspell import UnspellTask
from graft.tasks.words.pool import WordSets
from graft.tasks.words.task import WordTask

__all__ = ["Split", "Task", "TaskCard", "card", "load", "names"]

_WORD_TASKS: dict[str, type[WordTask]] = {
    task.card.name: task
    for task in (
        SpellingTask,
        PositionTask,
        CountTask,
        LengthTask,
        FirstTask,
        LastTask,
        ContainsTask,
        EchoTask,
        UnspellTask,
    )
}


def names() -> tuple[str, ...]:
    """All task names, the ones that experiments compare first."""
    return (*_WORD_TASKS, ProseTask.card.name)


def card(name: str) -> TaskCard:
    """The card of a task.

    Raises:
        ConfigError: there is no such task.
    """
    if name == ProseTask.card.name:
        return ProseTask.card
    return _word_task(name).card


def load(name: str, words: WordSets | None = None, paths: Sequence[Path] = ()) -> Task:
    """Build a task.

    Args:
        name: one of `names()`.
        words: the words of a word task.
        paths: the text files of the task ``prose``.

    Raises:
        ConfigError: there is no such task, or a word task gets no words.
        DataError: a file of the task ``prose`` cannot be used.
    """
    if name == ProseTask.card.name:
        return ProseTask(paths)
    task = _word_task(name)
    if words is None:
        raise errors.ConfigError(f"task {name} needs words, but got none; choose a word source")
    return task(words)


def _word_task(name: str) -> type[WordTask]:
    if name not in _WORD_TASKS:
        raise errors.ConfigError(f"unknown task '{name}'. {errors.choices(name, names())}")
    return _WORD_TASKS[name]
