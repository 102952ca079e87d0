"""Building the tasks of a run: words, texts, datasets and files go to the tasks that ask for them, each read once."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from graft import tasks
from graft.config.data import TaskSection, TrainSource
from graft.config.schema import Recipe
from graft.data.files import named
from graft.data.hub import WORKED
from graft.data.sources import narrowed
from graft.errors import ConfigError
from graft.pipeline.prepare.modes import MODES
from graft.pipeline.prepare.prompts import asked_as_field, benchmark, own_task
from graft.pipeline.prepare.streams import refuse_source, streamed
from graft.pipeline.prepare.style import build_style_task
from graft.runs.provenance import hash_file, hash_rows
from graft.tasks.base import Task, TaskCard
from graft.tasks.code import CodeTask
from graft.tasks.dataset import DatasetTask, Rows
from graft.tasks.field import FieldTask, field_task
from graft.tasks.prose import ProseTask
from graft.tasks.stream import StreamTask
from graft.tasks.style import StyleTask
from graft.tasks.words.pool import WordSets
from graft.tasks.words.task import WordTask

LABELLED = ("classification", "choice")
"""Kinds of tasks with a closed set of answers."""


@dataclass(frozen=True, slots=True)
class TaskBook:
    """The tasks of one recipe by name.

    Attributes:
        recipe: names them and what they read.
        words: words of the word tasks; ``None`` when the recipe has no such task.
        writes_calls: the model's chat template writes calls of tools, so that they can be trained.
        built: tasks that were built before; a dataset is read once.
        hashed: fingerprints that were taken before.
    """

    recipe: Recipe
    words: WordSets | None
    writes_calls: bool = True
    built: dict[str, Task] = field(default_factory=dict)
    hashed: dict[str, str] = field(default_factory=dict)

    def load(self, name: str) -> Task:
        """The task of that name.

        Raises:
            ConfigError: there is no such task, or this machine cannot shut its programs in.
            DataError: its rows cannot be read.
            MissingExtra: reading them needs a package that is not installed.
        """
        if name not in self.built:
            task = self._build(name)
            if isinstance(task, CodeTask) and self.recipe.eval.allow_code_execution:
                task.allow_code_execution(weak_sandbox=self.recipe.eval.weak_sandbox)
            if asked_as_field(self.recipe, name) and isinstance(task, DatasetTask):
                part = WORKED if own_task(self.recipe, name) is None else "train"
                task = field_task(benchmark(self.recipe, name), task, partial(task.rows, part))
            self.built[name] = task
        return self.built[name]

    def card(self, name: str) -> TaskCard:
        """What is told of a task; one of the recipe's own is built for it."""
        return self.load(name).card if own_task(self.recipe, name) else tasks.card(name)

    def source(self, source: TrainSource, seed: int) -> Task:
        """The task of a training source, over the words that the source asks for.

        Raises:
            ConfigError: the recipe pretrains, and the source is no corpus.
        """
        task = self.load(source.task)
        if MODES[self.recipe.mode].texts_only and task.card.kind != "corpus":
            refuse_source(source.task)
        if not isinstance(task, WordTask) or (source.words is None and source.pseudo == 0):
            return task
        return type(task)(narrowed(task.words, most=source.words, pseudo=source.pseudo, seed=seed))

    def epoch_rows(self) -> int:
        """Rows of one pass over all training rows; word tasks share their words, so these count once.

        Raises:
            ConfigError: they are streamed, so nobody knows how many there are.
        """
        trained = {source.task: self.load(source.task) for source in self.recipe.data.train}
        words = len(self.words.train) if any(isinstance(task, WordTask) for task in trained.values()) else 0  # type: ignore[union-attr]
        return words + sum(_rows_of(name, task) for name, task in trained.items() if not isinstance(task, WordTask))

    def fingerprint(self, name: str) -> str:
        """A hash of what a task's training rows are made from: its code and its words, files or dataset."""
        if name not in self.hashed:  # every branch asks, and a file may be large
            self.hashed[name] = self._fingerprint(name)
        return self.hashed[name]

    def _fingerprint(self, name: str) -> str:
        task = self.load(name)
        if isinstance(task, FieldTask):
            task = task.task  # whose rows are trained
        parts = [*_code(type(task)), self.recipe.model_dump_json(include={"words", "data", "style"})]
        if isinstance(task, WordTask):
            parts += [word.text for word in task.words.train]
        elif isinstance(task, ProseTask):
            parts += list(task.rows.values())
        elif isinstance(task, StreamTask) and name == ProseTask.card.name:
            parts += [hash_path(path) for path in self.recipe.data.corpus]
        elif (section := own_task(self.recipe, name)) is not None:
            given = [paths for paths in (section.train, section.eval) if paths is not None]
            parts += [hash_path(path) for paths in given for path in named(paths)]
        elif isinstance(task, StreamTask):
            parts += [*_code(tasks.find(name)), _hub_version(name)]
        elif isinstance(task, DatasetTask):
            parts.append(
                str(getattr(task.rows("train"), "_fingerprint", None) or hash_rows(map(repr, task.rows("train"))))
            )
        return hash_rows(parts)

    def _build(self, name: str) -> Task:
        section = own_task(self.recipe, name)
        if (stream := streamed(self.recipe, name, section, texts_only=MODES[self.recipe.mode].texts_only)) is not None:
            return stream
        if section is not None:
            return _user_task(section, self.writes_calls)
        if name == StyleTask.card.name:
            return build_style_task(self.recipe)
        rows = _hub_rows(name) if tasks.is_dataset(name) else None
        return tasks.load(name, self.words, self.recipe.data.corpus, rows)


def task_names(recipe: Recipe) -> tuple[str, ...]:
    """Every task that a recipe trains or scores, once."""
    return tuple(dict.fromkeys((*(source.task for source in recipe.data.train), *recipe.eval.tasks)))


def uses_words(recipe: Recipe) -> bool:
    """Whether a recipe has a word task."""
    return any(tasks.is_word_task(name) for name in task_names(recipe))


def labels(recipe: Recipe) -> dict[str, str]:
    """What stands for each task in the name of a run."""
    shown = {name: name if own_task(recipe, name) else tasks.card(name).label or name for name in task_names(recipe)}
    return {name: label.replace("/", "-") for name, label in shown.items()}


def _rows_of(name: str, task: Task) -> int:
    if isinstance(task, ProseTask):
        return len(task.rows)
    if isinstance(task, DatasetTask):
        return len(task.rows("train"))
    raise ConfigError(f"data.train holds {name}, which is streamed, so nobody knows its rows; set train.max_steps")


def _code(task: type[Task]) -> list[str]:
    """The source of every module that a task's class is built on."""
    modules = {base.__module__ for base in task.__mro__ if base.__module__.partition(".")[0] != "builtins"}
    return [inspect.getsource(sys.modules[name]) for name in sorted(modules) if hasattr(sys.modules[name], "__file__")]


def hash_path(path: Path) -> str:
    """A hash of a file, or of all files of a folder with their names."""
    path = path.expanduser()
    if path.is_file():
        return hash_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return hash_rows(f"{file.relative_to(path)} {hash_file(file)}" for file in files)


def _hub_rows(name: str) -> Rows:
    from graft.data.hub import hub_rows

    task = tasks.find(name)
    assert issubclass(task, DatasetTask)
    return hub_rows(task.source)


def _hub_version(name: str) -> str:
    from graft.data.hub import source_version

    task = tasks.find(name)
    assert issubclass(task, DatasetTask)
    return source_version(task.source)


def _user_task(section: TaskSection, writes_calls: bool) -> Task:
    from graft.data.user_tasks import load_user_task
    from graft.tasks.custom import TaskSpec

    return load_user_task(TaskSpec(**section.model_dump(), trains_calls=writes_calls))
