"""`graft tasks`: what can be trained and scored, with real items."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from graft.cli.options import Command, CommandGroup, Common
from graft.cli.output import print_json, print_table
from graft.cli.text import printable

if TYPE_CHECKING:
    from graft.types import Example


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
    else:
        print_table(("task", "what is asked", "metric"), [(card.name, card.summary, card.metric) for card in cards])


def _complete(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    from graft import tasks

    return [CompletionItem(name) for name in tasks.names() if name.startswith(start)]


@tasks_command.command("show", cls=Command, example="graft tasks show spelling -n 3")
@click.argument("name", shell_complete=_complete)
@click.option("-n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="Items to show.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the items.")
@click.pass_obj
def show_command(common: Common, name: str, count: int, seed: int) -> None:
    """Show one task with real training items and held-out items."""
    from graft import tasks

    card = tasks.card(name)
    examples = _examples(name, count, seed)
    if common.json:
        print_json(
            {**asdict(card), "examples": {split: [asdict(e) for e in found] for split, found in examples.items()}}
        )
        return
    click.echo(f"{card.name}: {card.summary}")
    click.echo(f"  metric   {card.metric}\n  source   {card.source}\n  licence  {card.licence}")
    for split, found in examples.items():
        click.echo(f"\n{split}")
        for example in found:
            click.echo(f"  {printable(example.prompt or '')}\n    → {printable(example.gold)}")


def _examples(name: str, count: int, seed: int) -> dict[str, list[Example]]:
    """Items about the packaged words, by split; none for a task whose text the user brings."""
    from graft import tasks
    from graft.config.schema import WordsSection
    from graft.tasks.words.split import package_sets

    if name == "prose":
        return {}
    words = WordsSection()
    task = tasks.load(name, package_sets(words.train, words.eval, seed=words.seed))
    return {
        "training words, training phrasings": list(task.examples("train", limit=count, seed=seed)),
        "held-out words, held-out phrasings": list(task.examples("eval", limit=count, seed=seed)),
    }
