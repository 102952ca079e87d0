"""`graft tasks`: what can be trained and scored, with real items."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from graft.cli.options import Command, CommandGroup, Common
from graft.cli.output import print_json, print_table
from graft.cli.text import echo

if TYPE_CHECKING:
    from graft.tasks.dataset import Rows
    from graft.types import Example


STREAMED_PER_ITEM = 10
"""Rows of a corpus that are read for every item shown; some of them are empty."""

_KINDS = {
    "words": "Words",
    "classification": "Classification",
    "choice": "Multiple choice",
    "answer": "Answers",
    "code": "Code",
    "corpus": "Plain text",
}
"""Kinds of tasks in the order in which they are listed, with their titles."""


@click.group("tasks", cls=CommandGroup, invoke_without_command=True, example="graft tasks")
@click.pass_context
def tasks_command(context: click.Context) -> None:
    """List the tasks, or show one with real items."""
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@tasks_command.command("list", cls=Command, example="graft tasks list --json")
@click.pass_obj
def list_command(common: Common) -> None:
    """List the tasks that a recipe can name."""
    from graft import tasks

    cards = [tasks.card(name) for name in tasks.names()]
    if common.json:
        print_json([asdict(card) for card in cards])
        return
    for kind, title in _KINDS.items():
        rows = [(c.name, c.summary, c.size or "–", c.metric, c.licence) for c in cards if c.kind == kind]
        if rows:
            echo(f"{title}")
            print_table(("task", "what is asked", "rows", "metric", "licence"), rows)
            echo()


def _complete(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    from graft import tasks

    return [CompletionItem(name) for name in tasks.names() if name.startswith(start)]


@tasks_command.command("show", cls=Command, example="graft tasks show spelling -n 3")
@click.argument("name", shell_complete=_complete)
@click.option("-n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="Items to show.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the items.")
@click.pass_obj
def show_command(common: Common, name: str, count: int, seed: int) -> None:
    """Show one task with real training items and held-out items; those of a dataset are read from its hub."""
    from graft import tasks

    card = tasks.card(name)
    examples = _examples(name, count, seed)
    if common.json:
        print_json(
            {**asdict(card), "examples": {split: [asdict(e) for e in found] for split, found in examples.items()}}
        )
        return
    echo(f"{card.name}: {card.summary}")
    echo(f"  metric   {card.metric}\n  source   {card.source}\n  licence  {card.licence}")
    if card.size:
        echo(f"  rows     {card.size}")
    for split, found in examples.items():
        echo(f"\n{split}")
        for example in found:
            echo(f"  {example.prompt or ''}\n    → {example.gold}")


def _examples(name: str, count: int, seed: int) -> dict[str, list[Example]]:
    """Items by split: about the packaged words, or of a dataset; none for a task whose text the user brings."""
    from graft import tasks

    if name in ("prose", "style"):  # made from texts or tokens of the user's own
        return {}
    if tasks.is_word_task(name):
        return _word_examples(name, count, seed)
    task = tasks.load(name, rows=_rows(name, count) if tasks.is_dataset(name) else None)
    return {
        "training rows": list(task.examples("train", limit=count, seed=seed)),
        "held-out rows": list(task.examples("eval", limit=count, seed=seed)),
    }


def _word_examples(name: str, count: int, seed: int) -> dict[str, list[Example]]:
    from graft import tasks
    from graft.config.data import WordsSection
    from graft.tasks.words.split import package_sets

    words = WordsSection()
    task = tasks.load(name, package_sets(words.train, words.eval, seed=words.seed))
    return {
        "training words, training phrasings": list(task.examples("train", limit=count, seed=seed)),
        "held-out words, held-out phrasings": list(task.examples("eval", limit=count, seed=seed)),
    }


def _rows(name: str, count: int) -> Rows:
    """The rows of a dataset task; of a corpus, which may be too large to keep, only the first ones."""
    from graft import tasks
    from graft.data.hub import hub_rows, stream_rows
    from graft.tasks.dataset import DatasetTask

    task = tasks.find(name)
    assert issubclass(task, DatasetTask)
    if task.card.kind != "corpus":
        return hub_rows(task.source)
    return lambda part: list(islice(stream_rows(task.source, part), count * STREAMED_PER_ITEM))
