"""An optimizer and a schedule tried on a stand-in of one layer, before anything heavy begins."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import Trainer, TrainingArguments

from graft.errors import ConfigError
from graft.train.loop import optimizer_options, own_optimizer
from graft.train.plan import Plan


def rehearse(plan: Plan, device: torch.device) -> None:
    """Build the plan's optimizer and schedule, take one step, and look at the learning rate of every other.

    Args:
        plan: the settings of a training.
        device: where the training will be.

    Raises:
        ConfigError: an optimizer or schedule cannot be built from its settings, or the learning rate never reaches its
            peak or is no number.
        MissingExtra: the optimizer's package is not installed.
    """
    options = optimizer_options(plan)
    named = f"train.optimizer {plan.optimizer} with train.schedule {plan.schedule}"
    stand_in = torch.nn.Linear(512, 256, device=device)  # large enough for the paths of 8 bits and of paging
    try:
        with TemporaryDirectory() as folder:
            trainer = _trainer(stand_in, plan, options, Path(folder))
            trainer.create_optimizer_and_scheduler(plan.steps)
        stand_in(torch.ones(1, 512, device=device)).sum().backward()
        trainer.optimizer.step()
        factors = [trainer.lr_scheduler.lr_lambdas[0](step) for step in range(plan.steps)]
    except (ValueError, TypeError, KeyError, ArithmeticError, RuntimeError, NotImplementedError) as error:
        raise ConfigError(
            f"{named} cannot be built for {plan.steps:,} steps: {error}; change train.optimizer_args or "
            "train.schedule_args"
        ) from error
    if not all(math.isfinite(factor) and factor >= 0 for factor in factors) or max(factors) < 1 - 1e-6:
        raise ConfigError(
            f"{named}: in {plan.steps:,} steps the learning rate gets from {min(factors):.3g} to {max(factors):.3g} "
            f"times train.learning_rate instead of to 1; change train.schedule_args or the warm-up"
        )


def _trainer(model: torch.nn.Module, plan: Plan, options: dict[str, object], folder: Path) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=plan.steps, report_to="none", disable_tqdm=True,
        use_cpu=next(model.parameters()).device.type == "cpu", **options,
    )  # fmt: skip
    return Trainer(model=model, args=arguments, optimizers=(own_optimizer(model, plan), None))
