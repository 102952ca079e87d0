"""What every engine is told and what it tells: the plan, the reports on the way, the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Report = TypeVar("Report")
"""What is told of the steps since the last report; rewards tell more than losses."""

Measurement = Mapping[str, float]
"""Held-out figures at one step by name: ``step``, ``loss``, ``accuracy``, ``exact``, ``exact/TASK``."""

Evaluate = Callable[["PreTrainedModel"], Measurement]

Switch = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class Stopping:
    """When to stop early, and what counts as best.

    Attributes:
        metric: key of the measurements that is watched.
        greater_is_better: whether more of it is better.
        patience: measurements without improvement until training stops; ``None`` for never.
        min_delta: smallest change that counts as an improvement.
        criterion: gets all measurements so far, oldest first, and returns True to stop; ``None`` without one.
        keep_best: keep the best checkpoint and end with its weights.
    """

    metric: str = "loss"
    greater_is_better: bool = False
    patience: int | None = None
    min_delta: float = 0.0
    criterion: Callable[[Sequence[Measurement]], bool] | None = None
    keep_best: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything `fit` needs to know beside the model and the rows.

    Attributes:
        steps: optimizer steps.
        batch_size: rows per optimizer step, over all processes.
        token_budget: most tokens of one micro-batch, padding included; a longer row is a micro-batch of its own.
            ``None`` to measure what fits.
        learning_rate: peak learning rate.
        optimizer: one of `graft.config.optimization.OPTIMIZERS`.
        schedule: one of `graft.config.optimization.SCHEDULES`.
        warmup_steps: steps of linear warm-up.
        weight_decay: decoupled weight decay.
        max_grad_norm: the gradient's norm is clipped to this.
        bfloat16: compute in bfloat16 (autocast); weights keep their type.
        seed: seeds dropout.
        logging_steps: steps between two reports.
        save_steps: steps between two checkpoints, ``None`` for none.
        keep_last: checkpoints kept.
        allowed_ids: ascending ids that the softmax runs over; ``None`` for the whole vocabulary.
        layout: ``packed``, ``padded``, or ``auto`` for what suits architecture and device.
        compile: whether the decoder layers are compiled.
        activation_checkpointing: whether activations are computed again on the way back.
        save_minutes: minutes between two checkpoints, ``None`` for none.
        eval_steps: steps between two held-out measurements, ``None`` for none.
        stopping: what is watched in the measurements; ``None`` without any.
        optimizer_args: settings of the optimizer.
        schedule_args: settings of the schedule.
        parallel: how several processes share the work: ``ddp`` holds the whole model in each, ``fsdp`` a part of it;
            ``auto`` spreads it where one GPU would not hold it with its optimizer.
        self_check: compare the engine with the model's own forward pass before the first step.
    """

    steps: int
    batch_size: int
    token_budget: int | None
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
    layout: Literal["auto", "packed", "padded"] = "auto"
    compile: Switch = "off"
    activation_checkpointing: Switch = "off"
    save_minutes: float | None = None
    eval_steps: int | None = None
    stopping: Stopping | None = None
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    optimizer_args: Mapping[str, Any] = field(default_factory=dict)
    schedule_args: Mapping[str, Any] = field(default_factory=dict)
    self_check: bool = True

    @property
    def rows(self) -> int:
        """Most rows that the whole training reads; the last step may have fewer than the others."""
        return self.steps * self.batch_size


@dataclass(frozen=True, slots=True)
class StepReport:
    """What the engine tells about the steps since its last report.

    Attributes:
        step: optimizer steps done.
        loss: mean loss per trained token over these steps, in nats.
        learning_rate: of the last step.
        grad_norm: of the last step, before clipping.
        accuracy: share of the trained tokens that were the most probable ones, in [0, 1]; NaN where it is not known.
        tokens_per_second: tokens read per second over these steps, padding not counted; NaN where it is not known.
        peak_bytes: most device memory held at once so far; 0 where it is not known.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    accuracy: float = float("nan")
    tokens_per_second: float = float("nan")
    peak_bytes: int = 0


def _ignore(_: Any) -> None:
    """What a hook does that nobody set."""


@dataclass(frozen=True, slots=True)
class Hooks(Generic[Report]):
    """Where a training speaks to whoever began it.

    Attributes:
        on_report: called every ``Plan.logging_steps`` steps.
        on_step: called after each step with the number of steps done.
        evaluate: measures the model on held-out items every ``Plan.eval_steps`` steps; ``None`` for no measurements.
    """

    on_report: Callable[[Report], None] = _ignore
    on_step: Callable[[int], None] = _ignore
    evaluate: Evaluate | None = None


SILENT: Hooks[Any] = Hooks()
"""Tells nobody and asks nothing."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training came to.

    Attributes:
        steps: optimizer steps done.
        rows: rows read; the last step may have had fewer than the others.
        tokens: tokens read, padding not counted.
        trained_tokens: tokens that carried loss.
        seconds: wall time of the training loop.
        final_loss: mean loss per trained token over the last reported steps, in nats.
        stopped_early: training ended before the plan's last step because its stopping rule said so.
        best_step: step whose weights the model has now, where the best ones were kept; else ``None``.
        measurements: all held-out measurements, oldest first.
        facts: how it was done: ``layout``, ``attention``, ``token_budget``, ``compiled``, ``activation_checkpointing``,
            ``peak_bytes``, ``processes`` …
    """

    steps: int
    rows: int
    tokens: int
    trained_tokens: int
    seconds: float
    final_loss: float
    stopped_early: bool = False
    best_step: int | None = None
    measurements: tuple[Measurement, ...] = ()
    facts: Mapping[str, int | float | str | bool] = field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float:
        """Tokens read per second of wall time."""
        return self.tokens / self.seconds if self.seconds else float("nan")
