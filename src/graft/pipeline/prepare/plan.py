"""The recipe's training as the engine's plan, and a rehearsal of what of it can be tried without the model."""

from __future__ import annotations

from graft.config.training import TrainSection
from graft.models.devices import pick_device
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.lab import Lab
from graft.train.plan import Plan, Stopping

LOGGING_STEPS = 10
"""Steps between two lines of metrics when the recipe says nothing."""


def make_plan(
    lab: Lab,
    branch: Branch,
    *,
    steps: int,
    bfloat16: bool = False,
    allowed_ids: tuple[int, ...] | None = None,
    stopping: Stopping | None = None,
) -> Plan:
    """Unpack the recipe for the engine, which knows nothing of recipes; without a rule for stopping unless given."""
    train, engine = lab.recipe.train, lab.recipe.engine
    return Plan(
        steps=steps,
        batch_size=lab.per_step,
        token_budget=None if engine.token_budget == "auto" else engine.token_budget,
        learning_rate=train.learning_rate,
        optimizer=train.optimizer,
        schedule=train.schedule,
        warmup_steps=warmup_steps(train, steps),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        bfloat16=bfloat16,
        seed=branch.seed or 0,
        logging_steps=train.logging_steps or train.eval_steps or LOGGING_STEPS,
        save_steps=train.save_steps,
        keep_last=train.keep_last,
        allowed_ids=allowed_ids,
        layout=engine.layout,
        compile=engine.compile,
        activation_checkpointing=engine.activation_checkpointing,
        save_minutes=train.save_minutes,
        eval_steps=train.eval_steps,
        stopping=stopping,
        parallel=engine.parallel,
        self_check=engine.self_check == "on",
        optimizer_args=train.optimizer_args,
        schedule_args=train.schedule_args,
    )


def warmup_steps(train: TrainSection, steps: int) -> int:
    """Steps of the warm-up; half of all where the training is too short for those that were asked for."""
    if train.schedule == "constant":
        return 0
    wanted = round(train.warmup_share * steps) if train.warmup_steps is None else train.warmup_steps
    return wanted if wanted < steps else steps // 2


def rehearse_training(lab: Lab, branch: Branch, steps: int) -> None:
    """Try the optimizer and the schedule of a recipe, before anything heavy.

    Raises:
        ConfigError: they cannot be built, or the learning rate never reaches its peak.
        MissingExtra: the optimizer's package is not installed.
    """
    from graft.train.rehearsal import rehearse  # loads the trainer's libraries

    rehearse(make_plan(lab, branch, steps=steps), pick_device(lab.recipe.model.device))
