"""`graft bench`: how fast this machine trains."""

from __future__ import annotations

from typing import cast

import click

from graft.cli.options import Command, CommandGroup, Common
from graft.cli.output import print_json, print_table
from graft.cli.progress import open_progress
from graft.cli.text import echo
from graft.config.training import EngineName
from graft.models.shapes import SHAPE_NAMES
from graft.train.backends import require_engine, usable_engines
from graft.workbench.workloads import WORKLOADS


@click.group("bench", cls=CommandGroup, example="graft bench train --shape sprout --workload spell")
def bench_command() -> None:
    """Measure how fast this machine trains."""


@bench_command.command(
    "train",
    cls=Command,
    example="""graft bench train
               graft bench train --shape qwen3-4b --workload qa --engines native,trl --steps 20 --json""",
)
@click.option("--shape", type=click.Choice(SHAPE_NAMES), default="sprout", show_default=True, help="Size of the model.")
@click.option(
    "--workload",
    type=click.Choice(list(WORKLOADS)),
    default="spell",
    show_default=True,
    help="Lengths of prompts and answers.",
)
@click.option("--engines", metavar="A,B,…", help="What to compare  [default: every engine installed]")
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Optimizer steps measured.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Examples per step.")
@click.pass_obj
def train_command(common: Common, shape: str, workload: str, engines: str | None, steps: int, batch_size: int) -> None:
    """Train the same rows by every engine, each in a fresh process and in all its variants, and compare.

    Weights are random in the real shape; adapters of rank 16 are trained on all linear layers. Nothing is downloaded
    and nothing is kept.
    """
    names = _engines(engines)
    from graft.workbench.bench import bench_train

    with open_progress(quiet=common.quiet) as progress:
        result = bench_train(
            names, shape=shape, workload=workload, steps=steps, batch_size=batch_size, progress=progress
        )
    if common.json:
        print_json(result.to_json())
        return
    print_table(result.table.columns, result.table.rows)
    for note in result.notes:
        echo(note)


def _engines(given: str | None) -> tuple[EngineName, ...]:
    """The engines asked for, each usable here; all usable ones when none is named."""
    if given is None:
        return usable_engines()
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not names:
        raise click.UsageError("--engines is empty; name at least one, such as native,trl.")
    for name in names:
        require_engine(name)
    return cast(tuple[EngineName, ...], names)
