"""A run by many processes: the first one does all of it, the others help it to train each branch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.pipeline.prepare.modes import MODES
from graft.pipeline.train.order import Order
from graft.runs.directory import RunDirectory
from graft.train import processes


def check_processes(recipe: Recipe, count: int) -> None:
    """Refuse what only one process can train.

    Raises:
        ConfigError: a setting does not go with so many processes.
    """
    if count == 1:
        return
    engine, parallel = recipe.engine.name, recipe.engine.parallel
    if engine != "native":
        raise ConfigError(
            f"engine.name is {engine}, which trains in one process here, but {count} processes were started; use "
            "engine.name: native"
        )
    if not MODES[recipe.mode].many_processes:
        raise ConfigError(
            f"mode is {recipe.mode}, which trains in one process here, but {count} processes were started; start one"
        )
    if parallel == "fsdp" and (recipe.model.quantize != "none" or recipe.model.precision == "fp8"):
        kind = "quantize" if recipe.model.quantize != "none" else "precision"
        raise ConfigError(
            f"engine.parallel is fsdp, but model.{kind} is {getattr(recipe.model, kind)}, and such weights cannot be "
            "spread; use engine.parallel: ddp"
        )
    if parallel == "fsdp" and not processes.can_spread(recipe.train.optimizer):
        raise ConfigError(
            f"engine.parallel is fsdp, but train.optimizer is {recipe.train.optimizer}, which needs whole tensors; use "
            "adamw, or engine.parallel: ddp"
        )


@contextmanager
def leading(recipe: Recipe) -> Iterator[None]:
    """In the first process: have the others ready for as long as the block runs. Does nothing for one process.

    Raises:
        ConfigError: the recipe does not go with many processes, or they cannot meet.
        PeerError: another process failed.
    """
    check_processes(recipe, processes.count())
    with processes.leading():
        if processes.count() > 1:
            if recipe.model.device == "cpu" and processes.on_gpus():
                raise ConfigError(
                    "model.device is cpu, but the processes were started for GPUs; set ACCELERATE_USE_CPU=1, or start "
                    "them with graft train --processes"
                )
            processes.tell(Order(recipe).to_json())
        yield


def follow() -> None:
    """In all processes but the first: do what it orders, until it lets go.

    Raises:
        PeerError: another process failed.
    """
    from graft.pipeline.prepare.boundary import run_date
    from graft.pipeline.prepare.lab import prepare
    from graft.pipeline.train.branch import help_train

    logging.disable(logging.WARNING)  # the first process says it
    processes.join()
    try:
        with processes.failing_together():
            lab = None
            for order in map(Order.from_json, processes.orders()):
                date = run_date(None if order.run is None else RunDirectory(order.run))
                if lab is None or order.recipe != lab.recipe or (date and date != lab.policy.date):
                    lab = prepare(order.recipe, date=date)
                if order.branch is not None and order.run is not None:
                    help_train(RunDirectory(order.run), lab, order.branch)
    finally:
        processes.leave()
