"""Which engine trains: Graft's own, TRL's `SFTTrainer` or Unsloth. The choice is made here and nowhere else.

All three train the same rows in the same order by the same plan, and report, save and resume alike. This file imports
nothing heavy: a recipe can be refused before torch is loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

from graft.config.training import EngineName
from graft.errors import ConfigError, GraftError, MissingExtra, TrainError, choices
from graft.train.plan import SILENT
from graft.train.processes import count

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from graft.train.plan import FitResult, Hooks, Plan, StepReport
    from graft.types import TokenRow

ENGINES: tuple[EngineName, ...] = get_args(EngineName)

_FITTERS: dict[EngineName, str] = {
    "native": "graft.train.engine",
    "trl": "graft.train.trl_engine",
    "unsloth": "graft.train.unsloth_engine",
}


class Fit(Protocol):
    """How every engine trains."""

    def __call__(
        self,
        model: PreTrainedModel,
        rows: Sequence[TokenRow],
        plan: Plan,
        *,
        pad_id: int,
        folder: Path,
        hooks: Hooks[StepReport] = SILENT,
    ) -> FitResult:
        """Train what is trainable of the model, in place, from the newest complete checkpoint in ``folder`` if any.

        Args:
            model: a causal language model or an encoder-decoder, with or without adapters.
            rows: exactly ``plan.rows`` rows in training order.
            plan: the settings.
            pad_id: token id to pad with.
            folder: where checkpoints to resume from are written.
            hooks: what it tells and asks on the way.

        Raises:
            ConfigError: unknown optimizer or schedule, or something the plan asks for cannot be had here.
            TrainError: the number of rows does not fit the plan, a row has nothing to train, or the loss is no longer
                finite.
            StorageError: a checkpoint cannot be written.
        """


def require_engine(name: str) -> None:
    """Make sure that an engine can be used here. Called before anything is loaded.

    Raises:
        ConfigError: there is no such engine, this machine cannot run it, or it cannot train in many processes.
        MissingExtra: its package is not installed.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine.name is {name!r}. {choices(name, ENGINES)}")
    if name != "native" and count() > 1:
        raise ConfigError(
            f"engine.name is {name}, which trains in one process here, but {count()} processes were started; use "
            "engine.name: native"
        )
    if name == "unsloth":
        _require_cuda()
    if name != "native" and find_spec(name) is None:
        raise MissingExtra(f"engine.name: {name}", name)


def preload_engine(name: EngineName) -> None:
    """Import what has to be imported before transformers: Unsloth, which replaces parts of transformers, PEFT and TRL.

    Raises:
        TrainError: it cannot be imported; its versions of the other libraries are narrower than Graft's.
    """
    if name != "unsloth":
        return
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # it would count its users on each load
    try:
        import_module("unsloth")
    except Exception as error:
        raise TrainError(
            f"unsloth cannot be imported: {error}; install it in an environment of its own: "
            "pip install 'graft-lm[unsloth]'"
        ) from error


def usable_engines() -> tuple[EngineName, ...]:
    """The engines that are installed and run on this machine, Graft's own first."""
    return tuple(name for name in ENGINES if _usable(name))


def fit_with(
    name: EngineName,
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    plan: Plan,
    *,
    pad_id: int,
    folder: Path,
    hooks: Hooks[StepReport] = SILENT,
) -> FitResult:
    """Train by the engine of that name, as `Fit` says.

    Raises:
        ConfigError: unknown engine, optimizer or schedule, or the machine cannot run the engine.
        MissingExtra: the engine's package is not installed.
        TrainError: the number of rows does not fit the plan, the loss is no longer finite, or the engine refuses.
        StorageError: a checkpoint cannot be written.
    """
    require_engine(name)
    preload_engine(name)
    fit: Fit = import_module(_FITTERS[name]).fit
    return fit(model, rows, plan, pad_id=pad_id, folder=folder, hooks=hooks)


def _usable(name: EngineName) -> bool:
    try:
        require_engine(name)
    except GraftError:
        return False
    return True


def _require_cuda() -> None:
    instead = "use engine.name: native or trl"
    if sys.platform == "darwin":
        raise ConfigError(
            "engine.name is unsloth, which Graft runs on CUDA GPUs only: a Mac has no CUDA, and there Unsloth is "
            f"another program (MLX) with a trainer of its own; {instead}"
        )
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            "engine.name is unsloth, whose kernels are written for CUDA GPUs, and PyTorch sees none on this machine; "
            f"{instead}"
        )
