"""The loop that all engines share: transformers' `Trainer` in Graft's order, with Graft's checkpoints and reports.

At every step boundary the keeper measures, saves and decides whether to go on; see `Keeper`.
"""

from __future__ import annotations

import logging
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import safe_globals

from graft.config.optimization import (
    BITSANDBYTES,
    GRAFT_OPTIMIZERS,
    OPTIMIZERS,
    SCHEDULES,
    check_name,
    read_args,
)
from graft.errors import ConfigError, GraftError, MissingExtra, StorageError, TrainError
from graft.models.forward import trained_tokens
from graft.runs.files import replacing_folder, write_json
from graft.runs.interrupts import Held, held_back
from graft.runs.space import format_bytes
from graft.train import checkpoints, processes
from graft.train.memory import Usage, forecast, free_bytes, is_out_of_memory, peak_bytes
from graft.train.optim import BETAS, MOMENTUM, build_optimizer
from graft.train.plan import Evaluate, FitResult, Plan, StepReport
from graft.train.precision import Weights
from graft.train.sharding import readable, spread_state, whole_state
from graft.train.stopping import Tracker
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.trainer_callback import TrainerControl, TrainerState

LOG = logging.getLogger(__name__)


def check_rows(rows: Sequence[TokenRow], plan: Plan) -> None:
    """Refuse a number of rows that is not the plan's; only the last step may have fewer than the others.

    Raises:
        TrainError: there are more or fewer.
    """
    least = plan.rows - plan.batch_size + 1
    if not least <= len(rows) <= plan.rows:
        raise TrainError(f"{plan.steps} steps need {least} to {plan.rows} rows, but got {len(rows)}")


def run_loop(
    trainer: GraftLoop,
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    watcher: Watcher,
    folder: Path,
    *,
    plan: Plan,
    evaluate: Evaluate | None = None,
) -> FitResult:
    """Let a trainer run to its end, from the newest sound checkpoint if any; every engine ends here.

    Args:
        trainer: built with `loop_options` and ``watcher`` among its callbacks.
        model: what it trains; in evaluation mode afterwards, with the best weights where the plan keeps them.
        rows: what it reads.
        watcher: knows the last loss.
        folder: its checkpoints.
        plan: when to measure, save and stop.
        evaluate: measures the model on held-out items.

    Raises:
        TrainError: the loss is no longer finite, or the stopping rule fails.
        RunError: the checkpoint belongs to another model or a newer version.
        StorageError: a checkpoint cannot be written, or the disk has no room for all of them.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    trainer.remove_callback(PrinterCallback)
    cached = model.config.use_cache  # the loop turns it off for good
    checkpoints.require_room(folder, model, plan)
    keeper = Keeper(plan, folder, watcher, evaluate)
    trainer.keeper = keeper
    trainer.add_callback(keeper)
    start = keeper.restore(model)
    watcher.begin(rows, plan, keeper.restored_step)
    began = time.monotonic()
    try:
        _train(trainer, keeper, model, start)
    finally:
        model.config.use_cache = cached
        model.eval()
    best = keeper.restore_best(model, trainer.state.global_step)
    seq2seq = model.config.is_encoder_decoder
    count = min(trainer.state.global_step * plan.batch_size, len(rows))
    return FitResult(
        trainer.state.global_step,
        count,
        sum(map(len, islice(rows, count))),
        sum(trained_tokens(row, seq2seq=seq2seq) for row in islice(rows, count)),
        time.monotonic() - began,
        watcher.last_loss,
        stopped_early=keeper.tracker.stopped and trainer.state.global_step < plan.steps,
        best_step=best,
        measurements=tuple(keeper.tracker.measurements),
    )


def _train(trainer: GraftLoop, keeper: Keeper, model: PreTrainedModel, start: Path | None) -> None:
    """Go on from a checkpoint, if any, to the end or to the step boundary after a signal."""
    model.train()
    with held_back() as keeper.signals:
        if not keeper.tracker.stopped:
            with _explained_memory(trainer, model, keeper.plan):
                trainer.train(resume_from_checkpoint=str(start) if start else None)
        elif start is not None:
            checkpoints.load_trained(model, start)
            trainer.state.global_step = keeper.restored_step
        if keeper.signals.arrived is not None:  # it came after the last step
            trainer._save_checkpoint(model, None)
            raise keeper.signals.interruption()


@contextmanager
def _explained_memory(trainer: GraftLoop, model: PreTrainedModel, plan: Plan) -> Iterator[None]:
    """Tell a lack of memory outside of the passes in numbers: an update that was begun cannot be done again.

    Raises:
        TrainError: memory ran out.
    """
    try:
        yield
    except GraftError:
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        need, free = forecast(model, plan.optimizer, Usage(0.0, 0.0, 0.0)), free_bytes(model.device)
        raise TrainError(
            f"out of memory in the update of step {trainer.state.global_step + 1}: {plan.optimizer} needs "
            f"{format_bytes(need.optimizer)} beside weights of {format_bytes(need.weights + need.adapters)} and "
            f"gradients of {format_bytes(need.gradients)}, and {format_bytes(free)} are free; use "
            "train.optimizer=adamw_8bit, adapter.kind=lora, or more GPUs with engine.parallel: fsdp"
        ) from error


class GraftLoop(Trainer):  # type: ignore[misc]
    """transformers' loop with Graft's order and checkpoints: rows as they are given, files that are never half there.

    Attributes:
        keeper: decides at the step boundaries; set by `run_loop`.
    """

    keeper: Keeper

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step, keeper, writes = self.state.global_step, self.keeper, bool(self.args.should_save)
        target = keeper.folder / f"{checkpoints.PREFIX}{step}"
        try:
            with ExitStack() as stack:
                stack.enter_context(keeper.signals.whole())
                own = stack.enter_context(replacing_folder(target)) if writes else None
                folder = Path(processes.from_first(str(own)))
                checkpoints.save_trained(self.model, folder, writes=writes)
                self._save_optimizer_and_scheduler(str(folder))
                self._save_scaler(str(folder))
                self._save_rng_state(str(folder))
                processes.wait_for_all()
                if writes:
                    self.state.save_to_json(str(folder / "trainer_state.json"))
                    write_json(folder / checkpoints.RECORD, keeper.record(folder, self.model, step))
        except StorageError as error:
            raise keeper.explained(error, step) from error
        keeper.saved(step, writes=writes)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoints.load_trained(self.model if model is None else model, Path(resume_from_checkpoint))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """The files of one process, however many there are and whatever each of them holds."""
        state = whole_state(self.optimizer.state_dict())
        if self.args.should_save:
            torch.save(state, Path(output_dir) / "optimizer.pt")
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = torch.load(Path(checkpoint) / "optimizer.pt", map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(spread_state(state, self.optimizer))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    def _save_rng_state(self, output_dir: str) -> None:
        states = [streams_of(plain) for plain in processes.all_of(plain_streams(random_streams(self.args.device)))]
        if self.args.should_save:
            torch.save({**states[0], "others": states[1:]}, Path(output_dir) / "rng_state.pth")

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Each process goes on with its own stream; one that the checkpoint does not know begins its own."""
        if checkpoint is None:
            return
        with safe_globals():
            first = torch.load(Path(checkpoint) / "rng_state.pth", map_location="cpu", weights_only=True)
        states = [first, *first.get("others", ())]
        if self.args.process_index < len(states):
            restore_streams(states[self.args.process_index], self.args.device)


class Watcher(TrainerCallback):  # type: ignore[misc]
    """Hands the loop's progress out and stops a training whose loss is no longer a number."""

    def __init__(self, on_report: Callable[[StepReport], None], on_step: Callable[[int], None]) -> None:
        self.on_report = on_report
        self.on_step = on_step
        self.last_loss = float("nan")
        self._rows: Sequence[TokenRow] = ()
        self._batch_size = self._step = 0
        self._since = time.monotonic()

    def begin(self, rows: Sequence[TokenRow], plan: Plan, step: int) -> None:
        """Start the clock at a step, with the rows that will be read."""
        self._rows, self._batch_size, self._step = rows, plan.batch_size, step
        self._since = time.monotonic()

    def pause(self, seconds: float) -> None:
        """Take time that was not spent on training out of the count."""
        self._since += seconds

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Hand out the number of steps done."""
        self.on_step(state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Hand out a report, or stop when its loss is no number."""
        if not logs or "loss" not in logs:
            return
        nan = float("nan")
        report = StepReport(
            state.global_step,
            logs["loss"],
            logs["learning_rate"],
            logs.get("grad_norm", nan),
            accuracy=logs.get("accuracy", logs.get("mean_token_accuracy", nan)),  # the latter is TRL's name
            tokens_per_second=self._rate(state.global_step),
            peak_bytes=peak_bytes(args.device),
        )
        if not math.isfinite(report.loss):
            raise TrainError(
                f"the loss became {report.loss} at step {report.step}; lower train.learning_rate "
                f"(now {args.learning_rate:g}) or raise train.warmup_steps"
            )
        self.last_loss = report.loss
        self.on_report(report)

    def _rate(self, step: int) -> float:
        """Tokens read per second since the last report."""
        now = time.monotonic()
        read = sum(map(len, islice(self._rows, self._step * self._batch_size, step * self._batch_size)))
        seconds, self._step, self._since = now - self._since, step, now
        return read / seconds if read and seconds > 0 else float("nan")


class Keeper(TrainerCallback):  # type: ignore[misc]
    """What happens at a step boundary beside training: measure, save, stop early, end on a signal.

    Args:
        plan: when.
        folder: the checkpoints.
        watcher: knows the last loss, and is told of time that was not spent on training.
        evaluate: measures the model; ``None`` for no measurements.

    Attributes:
        tracker: the measurements and the stopping rule.
        signals: holds Ctrl-C and SIGTERM back while the loop runs.
        restored_step: steps that earlier processes did.
    """

    def __init__(self, plan: Plan, folder: Path, watcher: Watcher, evaluate: Evaluate | None) -> None:
        self.plan = plan
        self.folder = folder
        self.watcher = watcher
        self.evaluate = evaluate
        self.tracker = Tracker(plan.stopping)
        self.signals = Held()
        self.restored_step = 0
        self._leaving = False
        self._last_save = time.monotonic()

    def restore(self, model: PreTrainedModel) -> Path | None:
        """Find the newest sound checkpoint and take over what it knows beside the weights.

        Damaged newer ones are set aside, so that nothing counts them any more.
        """
        start, passed_over = checkpoints.newest_sound(self.folder)
        for sentence in passed_over:
            LOG.warning("%s", sentence)
        if start is not None:
            record = checkpoints.require_fit(start, model)
            self.restored_step = int(record["step"])
            self.watcher.last_loss = math.nan if record["loss"] is None else float(record["loss"])
            self.tracker.restore(record["stopping"])
            LOG.info("going on from %s", start)
        processes.wait_for_all()
        if processes.is_first():
            checkpoints.set_aside(self.folder, after=self.restored_step)
        if self.tracker.best_step is not None and checkpoints.problem(self._place(self.tracker.best_step)):
            LOG.warning("the best checkpoint, of step %d, is lost; the search begins anew", self.tracker.best_step)
            self.tracker.forget_best()
        return start

    def restore_best(self, model: PreTrainedModel, step: int) -> int | None:
        """Give the model its best weights, where they are kept.

        Returns:
            The step of the weights it has then; ``None`` where none are kept or nothing was measured.
        """
        rule, best = self.plan.stopping, self.tracker.best_step
        if rule is None or not rule.keep_best or best is None:
            return None
        if best != step:
            checkpoints.load_trained(model, self._place(best))
        return best

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        """Measure when it is time, then say whether to save and whether to stop."""
        step, plan = state.global_step, self.plan
        if plan.eval_steps and self.evaluate and (step % plan.eval_steps == 0 or step == plan.steps):
            improved = self._measure(step, model)
            control.should_save |= improved and plan.stopping is not None and plan.stopping.keep_best
        if self.tracker.stopped:
            control.should_training_stop = control.should_log = True
        self._leaving = processes.any_process(self.signals.arrived is not None)
        control.should_save |= self._leaving or self._is_due(step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave, when a signal asked for it."""
        if self._leaving:
            raise self.signals.interruption()

    def record(self, folder: Path, model: PreTrainedModel, step: int) -> dict[str, Any]:
        """What stands in the record of the checkpoint that is being written."""
        return checkpoints.record_of(
            folder,
            model,
            step=step,
            rows_read=step * self.plan.batch_size,
            loss=self.watcher.last_loss,
            stopping=self.tracker.state(),
        )

    def saved(self, step: int, *, writes: bool) -> None:
        """A checkpoint is in its place: delete those that are no longer kept."""
        if writes:
            best = self.tracker.best_step  # None without a rule
            checkpoints.prune(self.folder, newest=step, keep_last=self.plan.keep_last, best=best)
        self._last_save = time.monotonic()

    def explained(self, error: StorageError, step: int) -> StorageError:
        """The error of a checkpoint that could not be written, with what is left to go on from."""
        last, _ = checkpoints.newest_sound(self.folder)
        kept = f"{last.name} is whole" if last else "no earlier checkpoint was written"
        told = StorageError(f"{error} Training stopped after step {step}; {kept}: go on with --resume latest.")
        told.errno = error.errno
        return told

    def _measure(self, step: int, model: PreTrainedModel) -> bool:
        assert self.evaluate is not None
        began = time.monotonic()
        with undisturbed(model), readable(model):
            measured = self.evaluate(model)
        measurement = processes.from_first({"step": float(step), **measured})
        improved = self.tracker.add(measurement)
        LOG.info("step %d: held-out %s", step, ", ".join(f"{name} {value:.4f}" for name, value in measured.items()))
        self.watcher.pause(time.monotonic() - began)
        return improved

    def _is_due(self, step: int) -> bool:
        steps, minutes = self.plan.save_steps, self.plan.save_minutes
        if steps is None and minutes is None:
            return False
        late = minutes is not None and processes.any_process(time.monotonic() - self._last_save >= 60 * minutes)
        return step == self.plan.steps or (steps is not None and step % steps == 0) or late

    def _place(self, step: int) -> Path:
        return self.folder / f"{checkpoints.PREFIX}{step}"


def random_streams(device: torch.device) -> dict[str, Any]:
    """Where all random streams of this process stand."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def plain_streams(states: dict[str, Any]) -> dict[str, Any]:
    """Streams as JSON."""
    name, keys, *rest = states["numpy"]
    tensors: dict[str, Any] = {key: states[key].tolist() for key in ("cpu", "cuda") if key in states}
    return {"python": states["python"], "numpy": [name, keys.tolist(), *rest], **tensors}


def streams_of(plain: dict[str, Any]) -> dict[str, Any]:
    """What `plain_streams` wrote, as the libraries take it."""
    version, numbers, gauss = plain["python"]
    name, keys, *rest = plain["numpy"]
    held = [key for key in ("cpu", "cuda") if key in plain]
    tensors: dict[str, Any] = {key: torch.tensor(plain[key], dtype=torch.uint8) for key in held}
    legacy = (name, np.array(keys, dtype=np.uint32), *rest)
    return {"python": (version, tuple(numbers), gauss), "numpy": legacy, **tensors}


def restore_streams(states: dict[str, Any], device: torch.device) -> None:
    """Go back to where `random_streams` stood; of what the other device had, nothing is taken."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the model is in evaluation mode; its modes and all random streams are as before afterwards."""
    training = [module for module in model.modules() if module.training]
    streams = random.getstate(), np.random.get_state()
    devices = [model.device] if model.device.type == "cuda" else []
    # Compiled layers would be compiled again for the shapes of held-out rows.
    compiled = "torch._dynamo" in sys.modules
    eager = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    model.eval()
    try:
        with torch.random.fork_rng(devices), eager:
            yield
    finally:
        random.setstate(streams[0])
        np.random.set_state(streams[1])
        for module in training:
            module.training = True


def loop_options(plan: Plan, model: PreTrainedModel, folder: Path) -> dict[str, Any]:
    """The plan as keyword arguments of `TrainingArguments`, alike for every engine.

    Raises:
        ConfigError: unknown optimizer or schedule.
        MissingExtra: the optimizer's package is not installed.
    """
    on_cpu = model.device.type == "cpu"
    return {
        "output_dir": str(folder),
        "max_steps": plan.steps,
        "per_device_train_batch_size": plan.batch_size,
        **optimizer_options(plan),
        "max_grad_norm": plan.max_grad_norm,
        "use_cpu": on_cpu,
        "use_cache": model.config.use_cache,  # the trainer writes it into the model, which generates with it afterwards
        "seed": plan.seed,
        "logging_steps": min(plan.logging_steps, plan.steps),
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # the keeper says when
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def optimizer_options(plan: Plan) -> dict[str, Any]:
    """Optimizer and schedule of a plan as keyword arguments of `TrainingArguments`.

    Raises:
        ConfigError: unknown optimizer or schedule, or a setting that it does not have.
        MissingExtra: the optimizer's package is not installed.
    """
    try:
        check_name("train.optimizer", plan.optimizer, OPTIMIZERS)
        check_name("train.schedule", plan.schedule, SCHEDULES)
        args = read_args("optimizer", plan.optimizer, plan.optimizer_args, OPTIMIZERS[plan.optimizer])
        schedule = read_args("schedule", plan.schedule, plan.schedule_args, SCHEDULES[plan.schedule])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if plan.optimizer in BITSANDBYTES and find_spec("bitsandbytes") is None:
        raise MissingExtra(f"train.optimizer {plan.optimizer} (bitsandbytes)", "quant")
    own = plan.optimizer in GRAFT_OPTIMIZERS
    adam = {f"adam_{name}": value for name, value in args.items() if name in ("beta1", "beta2", "epsilon")}
    return {
        "learning_rate": plan.learning_rate,
        "weight_decay": plan.weight_decay,
        "optim": "adamw_torch_fused" if own else plan.optimizer,
        "optim_args": None if own else ",".join(f"{name}={value}" for name, value in args.items()),
        **adam,
        "lr_scheduler_type": plan.schedule,
        "lr_scheduler_kwargs": schedule,
        "warmup_steps": plan.warmup_steps,
    }


def own_optimizer(model: torch.nn.Module, plan: Plan, weights: Weights = Weights.PLAIN) -> torch.optim.Optimizer | None:
    """Graft's own optimizers, for weights that are kept so; ``None`` leaves the name to transformers."""
    if plan.optimizer not in GRAFT_OPTIMIZERS:
        return None
    args = read_args("optimizer", plan.optimizer, plan.optimizer_args, OPTIMIZERS[plan.optimizer])
    return build_optimizer(
        model,
        plan.optimizer,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        betas=(args.get("beta1", BETAS[0]), args.get("beta2", BETAS[1])),
        momentum=args.get("momentum", MOMENTUM),
        rounded=weights is Weights.ROUNDED,
    )
