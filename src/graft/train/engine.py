"""The training engine: token rows in, a trained model out.

One optimizer step is `batch_size` rows in the order given, over all processes; its loss is the mean cross-entropy over
all trained tokens of the step. The engine lays the rows of a step out as suits the device and cuts them into
micro-batches by a token budget, so the layout decides speed and memory, never the gradient.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import TrainingArguments

from graft.errors import TrainError
from graft.models.attention import has_kernel, packed_attention, why_not_packed
from graft.models.forward import (
    MicroBatch,
    Reading,
    answer_hidden,
    head_of,
    reading_of,
    start_id,
    trained_tokens,
)
from graft.models.lengths import length_limit
from graft.models.trial import bare
from graft.train import processes
from graft.train.compile import Compiled, decide, decoder_layers, missing_tools
from graft.train.layout import Layout
from graft.train.loop import GraftLoop, Watcher, check_rows, loop_options, own_optimizer, run_loop
from graft.train.loss import head_loss
from graft.train.memory import USED_SHARE, Memory, Usage, forecast, free_bytes, peak_bytes, token_budget
from graft.train.plan import SILENT, FitResult, Hooks, Plan, StepReport
from graft.train.precision import Arithmetic, LossScale, Weights, arithmetic, choose_arithmetic
from graft.train.self_check import check_engine
from graft.train.sharding import called_as, make_whole, shard, sums_gradients
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)

PACKS = ("cuda", "cpu")
"""Kinds of device on which ``layout: auto`` packs; MPS has neither the kernel nor a gain that was measured."""


_SEED_STRIDE = 1_000_003
"""Between the seeds of two processes, so that runs with neighbouring seeds share no stream."""


def fit(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    plan: Plan,
    *,
    pad_id: int,
    folder: Path,
    hooks: Hooks[StepReport] = SILENT,
) -> FitResult:
    """Train by Graft's own engine. Arguments, result and errors are those of `graft.train.backends.Fit`."""
    check_rows(rows, plan)
    check_trained(rows, seq2seq=model.config.is_encoder_decoder)
    watcher = Watcher(hooks.on_report, hooks.on_step)
    arguments = TrainingArguments(**loop_options(plan, model, folder))  # opens the group of processes
    sharded = _is_sharded(model, plan)
    with arithmetic(model, plan, folder, spread=sharded) as types:
        layout = choose_layout(model, rows, plan, pad_id, types)
        checked: dict[str, str] = {}
        if plan.self_check:
            layout, checked = check_engine(model, rows, plan, layout, types)
        if sharded:
            spread(model, types)
        trainer = _Engine(
            model=model,
            args=arguments,
            train_dataset=_Rows(rows),
            callbacks=[watcher],
            optimizers=(own_optimizer(model, plan, types.weights), None),
        )
        trainer.sharded = sharded
        trainer.prepare(plan, layout, rows, types)
        evaluate = types.as_scored(hooks.evaluate)
        try:
            result = run_loop(trainer, model, rows, watcher, folder, plan=plan, evaluate=evaluate)
            processes.wait_for_all()
            result = replace(result, facts=trainer.facts() | checked)
        finally:
            trainer.close()
        if sharded:
            trainer.release()
            make_whole(model, keeps=processes.is_first())
    return result


def spread(model: PreTrainedModel, types: Arithmetic) -> None:
    """Spread a model over the processes, and only then raise its weights: no GPU could hold all of them raised."""
    masters = types.weights is Weights.MASTERS
    shard(model, types.half if masters else None)
    types.raise_weights(casts_itself=masters)


def check_trained(rows: Sequence[TokenRow], *, seq2seq: bool) -> None:
    """Refuse rows that would train nothing.

    Raises:
        TrainError: a row has no trained token, or an encoder has nothing to read.
    """
    for index, row in enumerate(rows):
        if not trained_tokens(row, seq2seq=seq2seq):
            why = "its only token has none before it that could predict it" if row.completion else "it has no answer"
            raise TrainError(f"row {index} has no trained token: {why}; leave it out")
        if seq2seq and not row.prompt:
            raise TrainError(f"row {index} has no prompt, so an encoder-decoder has nothing to read; leave it out")


def choose_layout(
    model: PreTrainedModel, rows: Sequence[TokenRow], plan: Plan, pad_id: int, types: Arithmetic | None = None
) -> Layout:
    """The layout that plan, architecture and device allow; says so where it is not the one that was asked for.

    Args:
        model: the model as it will be trained.
        rows: the rows of the training.
        plan: its settings.
        pad_id: what padding is.
        types: the types that the training computes in; ``None`` for those of the model as it is.
    """
    kind = model.device.type
    if model.config.is_encoder_decoder:
        if plan.layout == "packed":
            LOG.warning("rows are padded instead of packed: the model is an encoder-decoder")
        return Layout("seq2seq", pad_id, start_id=start_id(model, pad_id))
    joins = length_limit(bare(model)) is None  # else a token is read otherwise when more follows
    if plan.layout == "padded" or (plan.layout == "auto" and kind not in PACKS):
        return Layout("padded", pad_id, joins=joins)
    longest = max(map(len, rows))
    whole, kernel = reading_of(model) is Reading.WHOLE, has_kernel(model.device)
    types = types or choose_arithmetic(model, plan)
    with types.autocast() if kernel else nullcontext():  # the kernel knows 16 bits only; all else is tried exactly
        why = "they are read one by one" if whole else why_not_packed(model, longest)
    if why:
        LOG.warning("rows are padded instead of packed: %s", why)
        return Layout("padded", pad_id, joins=joins)
    steps = range(0, len(rows), plan.batch_size)
    return Layout(
        "packed",
        pad_id,
        fixed=kernel or plan.compile == "on",
        kernel=kernel,
        longest=longest,
        largest=max(sum(map(len, rows[start : start + plan.batch_size])) for start in steps),
        step_rows=plan.batch_size,
        joins=joins,
    )


def _is_sharded(model: PreTrainedModel, plan: Plan) -> bool:
    """Whether the model is spread over the processes."""
    if not processes.is_distributed() or plan.parallel == "ddp":
        return False
    if plan.parallel == "fsdp":
        return True
    if model.device.type != "cuda" or getattr(model, "is_quantized", False) or not processes.can_spread(plan.optimizer):
        return False
    need = forecast(model, plan.optimizer, Usage(0.0, 0.0, 0.0))
    fits = need.to_come < USED_SHARE * free_bytes(model.device)
    return processes.any_process(not fits)


class _Rows(Dataset[TokenRow]):
    def __init__(self, rows: Sequence[TokenRow]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenRow:
        return self.rows[index]


def _as_they_are(rows: list[TokenRow]) -> dict[str, list[TokenRow]]:
    return {"rows": rows}


class _Engine(GraftLoop):
    """The loop around Graft's own layout and loss."""

    plan: Plan
    layout: Layout
    types: Arithmetic
    scale: LossScale | None
    memory: Memory
    compiled: Compiled | None = None
    sharded = False

    def prepare(self, plan: Plan, layout: Layout, rows: Sequence[TokenRow], types: Arithmetic) -> None:
        """Find the token budget, and compile where it pays.

        Raises:
            ConfigError: compiling was asked for and cannot be had.
            TrainError: not even one row fits, or compiling fails.
        """
        self.plan, self.layout, self.types = plan, layout, types
        self.scale = LossScale() if types.scales else None
        self._trained, self._right = 0, torch.zeros(())
        model, agree = self.model, _cannot_repeat if self.sharded else processes.any_process
        budget = token_budget(model, plan)
        self.memory = Memory(model, budget, plan.activation_checkpointing, agree, processes.least)
        if processes.is_distributed():
            self._prepare_processes()
        fixed = plan.token_budget is not None
        timed = plan.compile == "auto" and model.device.type == "cuda"
        if self.sharded and model.device.type == "cpu":
            return
        if not fixed or plan.activation_checkpointing == "auto" or timed:
            self.memory.plan_ahead(
                self._attempt, rows, step_rows=plan.batch_size, optimizer=plan.optimizer, fixed=fixed,
                raises=types.weights is not Weights.ROUNDED,
            )  # fmt: skip
        self._compile(rows)

    def _prepare_processes(self) -> None:
        """Begin with the same weights and with random streams of one's own."""
        # Gradients are summed here, once a step and over all parameters alike, so nothing is to wrap the model.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        if not self.sharded:
            processes.same_weights(self.model.parameters())
        if self.args.process_index:
            torch.manual_seed(self.plan.seed + _SEED_STRIDE * self.args.process_index)

    def _attempt(self, rows: Sequence[TokenRow]) -> None:
        """One pass over rows as one micro-batch."""
        self._step(rows, sum(map(len, rows)), trained=1)

    def _compile(self, rows: Sequence[TokenRow]) -> None:
        plan, device = self.plan, self.model.device.type
        if plan.compile == "off" or self.sharded:
            if plan.compile == "on":
                LOG.warning("layers are not compiled: engine.parallel is fsdp")
            return
        shapes = len(self.layout.sizes(self.memory.tokens)) if self.layout.fixed else None
        seconds = self.memory.usage.seconds_per_token * self.layout.largest if self.memory.usage else 0.0
        layers = len(decoder_layers(self.model))
        decision = decide(
            plan.compile, device, layers=layers, shapes=shapes, steps=plan.steps, step_seconds=seconds,
            tools=missing_tools(device),
        )  # fmt: skip
        LOG.info("%s", decision.why)
        if decision.compiles:
            compiled = Compiled(self.model, (shapes or 1) + 1)
            first = rows[: plan.batch_size]
            warm = compiled.warm_up(
                lambda: self._step(first, self.memory.tokens, trained=1), required=plan.compile == "on"
            )  # fmt: skip
            self.compiled = compiled if warm else None

    def get_train_dataloader(self) -> DataLoader[TokenRow]:
        """All rows of a step for every process; each takes its share itself."""
        return DataLoader(
            self.train_dataset,
            batch_size=self.plan.batch_size,
            sampler=self._get_train_sampler(),
            collate_fn=_as_they_are,
        )

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Gradients of one step; the loss of the whole step, over all processes."""
        rows: list[TokenRow] = inputs["rows"]
        seq2seq = self.layout.kind == "seq2seq"
        trained = sum(trained_tokens(row, seq2seq=seq2seq) for row in rows)
        mine = processes.share_of(rows, self.args.process_index, self.args.world_size)
        spare = min(rows, key=len)

        def attempt() -> torch.Tensor:
            told = self.memory.run(lambda tokens: self._step(mine, tokens, trained, spare), mine or [spare])
            if processes.is_distributed():
                if not self.sharded:
                    processes.sum_gradients(self.model.parameters())
                processes.sum_up(told)
            return told

        told = self.scale.run(self.model, attempt) if self.scale else attempt()
        self._trained += trained
        self._right = self._right.to(told.device) + told[1]
        return told[0].to(torch.float32)

    def _step(self, rows: Sequence[TokenRow], tokens: int, trained: int, spare: TokenRow | None = None) -> torch.Tensor:
        """Forward and backward passes over rows within a token budget.

        Args:
            rows: this process's rows of the step.
            tokens: the budget.
            trained: trained tokens of the step; the sum of all losses is divided by it.
            spare: what is read, without effect, in passes that only other processes need.

        Returns:
            The loss over ``trained``, and the number of tokens predicted right, as float64 of shape (2,).
        """
        batches = self.layout.micro_batches(rows, tokens) if rows else []
        own = len(batches)
        if self.sharded and spare is not None:  # every pass gathers the layers, in all processes at once
            batches += self.layout.micro_batches([spare], tokens) * (processes.most(own) - own)
        with packed_attention(self.model) if self.layout.kind == "packed" else nullcontext():
            if self.compiled is None:
                return self._passes(batches, own, trained)
            shapes: set[Hashable] = {tuple(batch.ids_BT.shape) for batch in batches}
            return self.compiled.run(lambda: self._passes(batches, own, trained), shapes)

    def _passes(self, batches: Sequence[MicroBatch], own: int, trained: int) -> torch.Tensor:
        """There and back through each micro-batch; those after the first ``own`` count for nothing."""
        device = self.model.device
        sums = torch.zeros(2, device=device, dtype=torch.float64 if device.type != "mps" else torch.float32)
        for index, batch in enumerate(batches):
            if self.sharded:
                sums_gradients(self.model, index == len(batches) - 1)
            with self.types.autocast():
                loss, right = self._loss(batch.to(device))
            part = loss / trained * (index < own)
            (part * self.scale.value if self.scale else part).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack([part.detach().to(sums.dtype), right.to(sums.dtype) * (index < own)])
        return sums

    def _loss(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the losses of a micro-batch, and the number of tokens predicted right."""

        def work(batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor]:
            hidden_ND = answer_hidden(self.model, batch)
            return head_loss(head_of(self.model), hidden_ND, batch.targets_N, allowed=self.plan.allowed_ids)

        if not self.sharded:
            return work(batch)
        with called_as(self.model, work):
            loss, right = self.model(batch)
        return loss, right

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        return norm.full_tensor() if self.sharded else norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the share of trained tokens that were the most probable ones since the last report."""
        if "loss" in logs and self._trained:
            logs["accuracy"] = float(self._right) / self._trained
            self._trained, self._right = 0, torch.zeros(())
        super().log(logs, start_time)

    def _save_scaler(self, output_dir: str) -> None:
        if self.scale and self.args.should_save:
            self.scale.save(Path(output_dir))

    def _load_scaler(self, checkpoint: str | None) -> None:
        if self.scale and checkpoint is not None:
            self.scale.load(Path(checkpoint))

    def facts(self) -> dict[str, int | float | str | bool]:
        """How it was done."""
        kinds = {"packed": "varlen" if self.layout.kernel else "per-document"}
        return {
            "layout": "padded" if self.layout.kind == "seq2seq" else self.layout.kind,
            "attention": kinds.get(self.layout.kind, str(self.model.config._attn_implementation)),
            "token_budget": self.memory.tokens,
            "activation_checkpointing": self.memory.checkpoints,
            "compiled": self.compiled is not None,
            "device": self.model.device.type,
            "precision": self.types.name,
            "trained_weights": self.types.weights.value,
            "peak_bytes": peak_bytes(self.model.device),
            "processes": self.args.world_size,
            **({"parallel": "fsdp" if self.sharded else "ddp"} if self.args.world_size > 1 else {}),
        }

    def close(self) -> None:
        """Leave the model as it came."""
        if self.compiled is not None:
            self.compiled.close()
        self.memory.close()

    def release(self) -> None:
        """Let go of the optimizer, whose place the whole weights need."""
        self.accelerator.free_memory()
        self.optimizer = self.lr_scheduler = self.callback_handler.optimizer = None


def _cannot_repeat(failed: bool) -> bool:
    """Stop where a step cannot be repeated: the other processes stand in the middle of its passes.

    Raises:
        TrainError: memory ran out here.
    """
    if failed:
        raise TrainError(
            "out of memory, and with engine.parallel: fsdp a step cannot be repeated in smaller parts; lower "
            "engine.token_budget, set engine.activation_checkpointing: on, or use more GPUs"
        )
    return False
