"""The training engine: token rows in, a trained model out.

One optimizer step is `batch_size` rows in the order given; its loss is the mean cross-entropy over all trained tokens
of the step. The engine sorts the rows of a step by length and cuts them into micro-batches by a token budget, so the
layout decides speed and memory, never the gradient.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, SchedulerType
from transformers.training_args import OptimizerNames

from graft.errors import ConfigError, StorageError, TrainError, choices
from graft.models.forward import answer_logits, pad_rows
from graft.runs.files import MARKER, is_committed
from graft.train.optim import GRAFT_OPTIMIZERS, build_optimizer
from graft.types import TokenRow
from graft.vocab.restrict import restrict_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.trainer_callback import TrainerControl, TrainerState


SHORTEST_SHARE = 0.7
"""A row shorter than this share of a micro-batch's longest begins a new one: chats are not padded to prose."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything `fit` needs to know beside the model and the rows.

    Attributes:
        steps: optimizer steps.
        batch_size: rows per optimizer step.
        token_budget: most tokens of one micro-batch, padding included; a longer row is a micro-batch of its own.
        learning_rate: peak learning rate.
        optimizer: ``adamw``, ``muon`` or an optimizer name of transformers.
        schedule: learning-rate schedule by transformers' name.
        warmup_steps: steps of linear warm-up.
        weight_decay: decoupled weight decay.
        max_grad_norm: the gradient's norm is clipped to this.
        bfloat16: compute in bfloat16 (autocast); weights keep their type.
        seed: seeds dropout.
        logging_steps: steps between two reports.
        save_steps: steps between two checkpoints, ``None`` for none.
        keep_last: checkpoints kept.
        allowed_ids: ascending ids that the softmax runs over; ``None`` for the whole vocabulary.
    """

    steps: int
    batch_size: int
    token_budget: int
    learning_rate: float
    optimizer: str
    schedule: str
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    bfloat16: bool
    seed: int
    logging_steps: int
    save_steps: int | None
    keep_last: int
    allowed_ids: tuple[int, ...] | None = None

    @property
    def rows(self) -> int:
        """Rows that the whole training reads."""
        return self.steps * self.batch_size


@dataclass(frozen=True, slots=True)
class StepReport:
    """What the engine tells about the steps since its last report.

    Attributes:
        step: optimizer steps done.
        loss: mean loss per trained token over these steps, in nats.
        learning_rate: of the last step.
        grad_norm: of the last step, before clipping.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training came to.

    Attributes:
        steps: optimizer steps done.
        tokens: tokens read, padding not counted.
        trained_tokens: tokens that carried loss.
        seconds: wall time of the training loop.
        final_loss: mean loss per trained token over the last reported steps, in nats.
    """

    steps: int
    tokens: int
    trained_tokens: int
    seconds: float
    final_loss: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens read per second of wall time."""
        return self.tokens / self.seconds if self.seconds else float("nan")


def fit(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    plan: Plan,
    *,
    pad_id: int,
    folder: Path,
    on_report: Callable[[StepReport], None] = lambda report: None,
    on_step: Callable[[int], None] = lambda step: None,
) -> FitResult:
    """Train what is trainable of the model, in place, from the newest complete checkpoint in ``folder`` if any.

    Args:
        model: a causal language model, with or without adapters.
        rows: exactly ``plan.rows`` rows in training order.
        plan: the settings.
        pad_id: token id to pad with.
        folder: where checkpoints to resume from are written.
        on_report: called every ``plan.logging_steps`` steps.
        on_step: called after every step with the number of steps done.

    Raises:
        ConfigError: unknown optimizer or schedule.
        TrainError: the number of rows does not fit the plan, or the loss is no longer finite.
        StorageError: a checkpoint cannot be written.
    """
    check_rows(rows, plan)
    watcher = Watcher(on_report, on_step)
    trainer = _Engine(
        model=model,
        args=TrainingArguments(**loop_options(plan, model, folder)),
        train_dataset=_Rows(rows),
        data_collator=_Collator(pad_id, plan.token_budget),
        callbacks=[watcher],
        optimizers=(own_optimizer(model, plan), None),
    )
    trainer.plan = plan
    return run_loop(trainer, model, rows, watcher, folder)


def check_rows(rows: Sequence[TokenRow], plan: Plan) -> None:
    """Refuse a number of rows that is not the plan's.

    Raises:
        TrainError: there are more or fewer.
    """
    if len(rows) != plan.rows:
        raise TrainError(f"{plan.steps} steps need {plan.rows} rows, but got {len(rows)}")


def run_loop(
    trainer: Trainer, model: PreTrainedModel, rows: Sequence[TokenRow], watcher: Watcher, folder: Path
) -> FitResult:
    """Let a trainer run to its end, from the newest complete checkpoint if any; every engine ends here.

    Args:
        trainer: built with `loop_options` and ``watcher`` among its callbacks.
        model: what it trains; in evaluation mode afterwards.
        rows: what it reads.
        watcher: knows the last loss.
        folder: its checkpoints.

    Raises:
        TrainError: the loss is no longer finite.
        StorageError: a checkpoint cannot be written.
    """
    trainer.remove_callback(PrinterCallback)
    cached = model.config.use_cache  # the loop turns it off for good
    started = time.monotonic()
    model.train()
    try:
        trainer.train(resume_from_checkpoint=_newest_complete(folder))
    except OSError as error:
        raise StorageError(f"cannot write a checkpoint to {folder}: {error.strerror or error}; free space") from error
    finally:
        model.config.use_cache = cached
        model.eval()
    trained = sum(len(row.completion) - (not row.prompt) for row in rows)
    return FitResult(
        trainer.state.global_step, sum(map(len, rows)), trained, time.monotonic() - started, watcher.last_loss
    )


class _Rows(Dataset[TokenRow]):
    def __init__(self, rows: Sequence[TokenRow]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenRow:
        return self.rows[index]


@dataclass(frozen=True, slots=True)
class _Collator:
    """The rows of one step as padded micro-batches."""

    pad_id: int
    token_budget: int

    def __call__(self, rows: list[TokenRow]) -> dict[str, list[tuple[torch.Tensor, torch.Tensor]]]:
        return {"micro_batches": [pad_rows(group, self.pad_id) for group in by_budget(rows, self.token_budget)]}


def by_budget(rows: Sequence[TokenRow], token_budget: int) -> list[list[TokenRow]]:
    """Cut rows, longest first, into groups of at most ``token_budget`` tokens with padding and of similar length.

    Longest first, so that the largest micro-batch comes at once and running out of memory shows at the first step.
    """
    groups: list[list[TokenRow]] = []
    for row in sorted(rows, key=len, reverse=True):
        fits = bool(groups) and (len(groups[-1]) + 1) * len(groups[-1][0]) <= token_budget
        if fits and len(row) >= SHORTEST_SHARE * len(groups[-1][0]):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


class GraftLoop(Trainer):  # type: ignore[misc]
    """transformers' loop with Graft's order and checkpoints: rows as they are given, markers on what is complete."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        (folder / MARKER).touch()  # last: a folder without it was not written to its end


class _Engine(GraftLoop):
    """The loop around Graft's own layout and loss."""

    plan: Plan

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        micro_batches = self._prepare_inputs(inputs)["micro_batches"]
        trained = sum((labels_BT != -100).sum() for _, labels_BT in micro_batches)
        loss = torch.zeros((), device=self.args.device)
        for ids_BT, labels_BT in micro_batches:
            with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.plan.bfloat16):
                logits_NV, targets_N = answer_logits(model, ids_BT, labels_BT)
            if self.plan.allowed_ids is not None:
                logits_NV, targets_N = restrict_logits(logits_NV, targets_N, self.plan.allowed_ids)
            part = torch.nn.functional.cross_entropy(logits_NV.float(), targets_N, reduction="sum") / trained
            self.accelerator.backward(part)
            loss += part.detach()
        return loss


class Watcher(TrainerCallback):  # type: ignore[misc]
    """Hands the loop's progress out and stops a training whose loss is no longer a number."""

    def __init__(self, on_report: Callable[[StepReport], None], on_step: Callable[[int], None]) -> None:
        self.on_report = on_report
        self.on_step = on_step
        self.last_loss = float("nan")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Hand out the number of steps done."""
        self.on_step(state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Hand out a report, or stop when its loss is no number."""
        if not logs or "loss" not in logs:
            return
        report = StepReport(state.global_step, logs["loss"], logs["learning_rate"], logs.get("grad_norm", float("nan")))
        if not math.isfinite(report.loss):
            raise TrainError(
                f"the loss became {report.loss} at step {report.step}; lower train.learning_rate "
                f"(now {args.learning_rate:g}) or raise train.warmup_steps"
            )
        self.last_loss = report.loss
        self.on_report(report)


def loop_options(plan: Plan, model: PreTrainedModel, folder: Path) -> dict[str, Any]:
    """The plan as keyword arguments of `TrainingArguments`, alike for every engine.

    Raises:
        ConfigError: unknown optimizer or schedule.
    """
    on_cpu = model.device.type == "cpu"
    check_names(plan.optimizer, plan.schedule)
    return {
        "output_dir": str(folder),
        "max_steps": plan.steps,
        "per_device_train_batch_size": plan.batch_size,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": plan.schedule,
        "warmup_steps": plan.warmup_steps,
        "weight_decay": plan.weight_decay,
        "max_grad_norm": plan.max_grad_norm,
        "optim": "adamw_torch_fused" if plan.optimizer in GRAFT_OPTIMIZERS else plan.optimizer,
        "use_cpu": on_cpu,
        "use_cache": model.config.use_cache,  # the trainer writes it into the model, which generates with it afterwards
        "seed": plan.seed,
        "logging_steps": min(plan.logging_steps, plan.steps),
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if plan.save_steps else "no",
        "save_steps": plan.save_steps or plan.steps,
        "save_total_limit": plan.keep_last,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def own_optimizer(model: PreTrainedModel, plan: Plan) -> torch.optim.Optimizer | None:
    """Graft's own optimizers; ``None`` leaves the name to transformers."""
    if plan.optimizer not in GRAFT_OPTIMIZERS:
        return None
    return build_optimizer(model, plan.optimizer, learning_rate=plan.learning_rate, weight_decay=plan.weight_decay)


def check_names(optimizer: str, schedule: str) -> None:
    """Refuse an optimizer or schedule that the engine does not know, before anything is loaded.

    Raises:
        ConfigError: the name is unknown; the message lists the choices.
    """
    optimizers = [*GRAFT_OPTIMIZERS, *(name.value for name in OptimizerNames)]
    schedules = [name.value for name in SchedulerType]
    if optimizer not in optimizers:
        raise ConfigError(f"train.optimizer is {optimizer!r}. {choices(optimizer, optimizers)}")
    if schedule not in schedules:
        raise ConfigError(f"train.schedule is {schedule!r}. {choices(schedule, schedules)}")


def _newest_complete(folder: Path) -> str | None:
    """The checkpoint with the most steps among those written to their end."""
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if is_committed(path)]
    newest = max(found, key=lambda path: int(path.name.rsplit("-", 1)[-1]), default=None)
    return str(newest) if newest else None
