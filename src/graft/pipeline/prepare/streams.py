"""Corpora of a recipe that are streamed: those of the hub always, and in pretraining the recipe's own texts too."""

from __future__ import annotations

from collections.abc import Iterator

from graft import tasks
from graft.config.data import TaskSection
from graft.config.schema import Recipe
from graft.data.files import told_paths
from graft.errors import ConfigError, DataError
from graft.tasks.base import TaskCard
from graft.tasks.corpus import CorpusTask
from graft.tasks.dataset import is_held_out
from graft.tasks.prose import ProseTask, stream_passages
from graft.tasks.stream import StreamTask, stream_task
from graft.types import Example


def refuse_source(name: str) -> None:
    """Say that a source cannot be pretrained on.

    Raises:
        ConfigError: always.
    """
    known = ", ".join(other for other in tasks.names() if _is_corpus(other))
    raise ConfigError(
        f"data.train holds {name}, but mode is pretrain, which trains on plain text alone; take a corpus ({known}) or "
        "texts of your own, or set mode: sft"
    )


def may_be_text(name: str, section: TaskSection | None) -> bool:
    """Whether a source may be plain text, as far as can be told without reading it."""
    if section is None:
        return _is_corpus(name)
    if section.like is not None:
        return _is_corpus(section.like)
    table = section.separator is not None or section.explode is not None
    return not table and section.prompt is None and section.format in ("auto", "text")


def _is_corpus(name: str) -> bool:
    return tasks.card(name).kind == "corpus"


def streamed(recipe: Recipe, name: str, section: TaskSection | None, *, texts_only: bool) -> StreamTask | None:
    """The task as a stream; ``None`` for one whose rows are looked up.

    Args:
        recipe: names the plain-text files.
        name: the task.
        section: what the recipe says of it, where it is one of its own.
        texts_only: the mode trains on plain text alone, so texts of one's own are streamed too.

    Raises:
        ConfigError: there is no such task.
        DataError: a file is missing.
    """
    if section is not None:
        return _own_texts(section) if texts_only and _is_plain_text(section) else None
    if texts_only and name == ProseTask.card.name:
        return _prose(recipe)
    if not tasks.is_dataset(name):
        return None
    found = tasks.find(name)
    return _hub_texts(found) if issubclass(found, CorpusTask) else None


def _is_plain_text(section: TaskSection) -> bool:
    from graft.data.documents import is_text

    paths = [path for path in (section.train, section.eval) if path is not None]
    return may_be_text(section.name, section) and section.like is None and all(is_text(path) for path in paths)


def _own_texts(section: TaskSection) -> StreamTask:
    from graft.data.documents import text_documents

    def texts(part: str) -> Iterator[Example]:
        path = section.eval if part == "eval" and section.eval is not None else section.train
        if path is None:
            raise DataError(f"task {section.name} has no texts to {part}; name a file or folder in data.tasks")
        for index, text in enumerate(text_documents(path, encoding=section.encoding, unit=section.unit)):
            if section.eval is not None or is_held_out(text, section.held_out) == (part == "eval"):
                yield _example(section.name, index, text)

    paths = ", ".join(told_paths(path) for path in (section.train, section.eval) if path is not None)
    told = ("Your own texts, streamed.", "bits_per_byte", "that of the files", paths)
    return stream_task(TaskCard(section.name, *told, kind="corpus"), texts)


def _prose(recipe: Recipe) -> StreamTask:
    def texts(part: str) -> Iterator[Example]:
        for name, text in stream_passages(recipe.data.corpus, part):
            yield Example(id=f"prose/{name}", task="prose", prompt=None, gold=text, cluster=name)

    return stream_task(ProseTask.card, texts)


def _hub_texts(found: type[CorpusTask]) -> StreamTask:
    def texts(part: str) -> Iterator[Example]:
        from graft.data.hub import stream_rows

        task = found(lambda _: ())
        for index, row in enumerate(stream_rows(found.source, part)):
            if (example := task.example(row, index)) is not None:
                yield example

    return stream_task(found.card, texts)


def _example(task: str, index: int, text: str) -> Example:
    name = f"{task}/{index}"
    return Example(id=name, task=task, prompt=None, gold=text, cluster=name)
