"""The engine proves itself on rows of this training, before its first step and whenever it is taken up again.

The longest row, the shortest and one drawn at random: their loss and its gradient through the model's own forward
pass, one row after the other, against those of the engine's layout, head and attention. Nothing else compares the two;
where they differ the engine goes a slower way, and where no way is right it does not train.
"""

from __future__ import annotations

import logging
import math
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from graft.errors import TrainError
from graft.models.attention import packed_attention
from graft.models.forward import MicroBatch, answer_hidden, head_of, read_whole, rows_batch, whole_logits
from graft.models.head import Head
from graft.models.trial import FAILURES, difference, evaluating, rounding
from graft.train import processes
from graft.train.compile import decoder_layers
from graft.train.layout import Layout
from graft.train.loss import head_loss
from graft.train.precision import Arithmetic, choose_arithmetic
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from graft.train.plan import Plan

LOG = logging.getLogger(__name__)

ALLOWED = {torch.float64: (1e-7, 1e-6), torch.float32: (5e-5, 3e-4)}
"""Relative errors of the loss and of the gradient that are rounding, by type of computation."""

COARSE = (0.02, 0.3)
"""The same in half precision and on weights of few bits, where a router may choose another expert."""

NEVER = (math.inf, math.inf)
"""The errors of what fails."""

TRAINED = 256
"""Most tokens of a row whose loss is compared, the last ones: all logits of a long row would not fit."""

NUMBERS = 2**22
"""Most entries of the gradient that are compared: those of the smallest tensors, which stand in every layer."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Loss in nats, summed over the rows, and the gradient of some tensors end to end."""

    loss: float
    gradient: torch.Tensor

    def error(self, right: Figures) -> tuple[float, float]:
        """Relative errors of the loss and of the gradient."""
        moved = (self.gradient - right.gradient).norm() / right.gradient.norm().clamp_min(1e-30)
        return abs(self.loss - right.loss) / max(abs(right.loss), 1e-30), float(moved)


def check_engine(
    model: PreTrainedModel, rows: Sequence[TokenRow], plan: Plan, layout: Layout, types: Arithmetic | None = None
) -> tuple[Layout, dict[str, str]]:
    """The fastest layout that gives the loss and the gradient of the model's own forward pass.

    Args:
        model: the model as it will be trained; unchanged afterwards, but for how it is read.
        rows: the rows of the training.
        plan: its settings.
        layout: how rows would be laid out.
        types: the types that the training computes in; ``None`` for those of the model as it is.

    Returns:
        The layout, and for the records what was compared.

    Raises:
        TrainError: no layout does.
    """
    types = types or choose_arithmetic(model, plan)
    chosen, allowed = _some_rows(rows, plan.seed), _allowed(types)
    right: Figures | None = None
    told = NEVER
    with evaluating(model):
        for way in _ways(model, layout, lambda way: _where(types, chosen, plan, way)):
            fits = True
            try:
                right = right or _plainly(types, chosen, plan, layout.pad_id)
                if not math.isfinite(right.loss):  # the first step says so
                    return layout, {"checked": f"not checked: the model's own loss is {right.loss}"}
                told = _compare(types, chosen, plan, way, right)
            except torch.OutOfMemoryError as error:
                LOG.warning("the engine is not checked against the model's own forward pass: %s", error)
                fits = False
            if processes.any_process(not fits):
                return layout, {"checked": "not checked: out of memory"}
            if not processes.any_process(not all(map(operator.le, told, allowed))):  # NaN fails
                return way, {"checked": f"relative error {max(told):.0e}"}
    raise TrainError(
        f"{type(model).__name__} gives another loss each time it reads the same rows (relative errors {told[0]:.2g} of "
        f"the loss, {told[1]:.2g} of the gradient), so it cannot be trained; engine.self_check: off trains it anyway"
    )


def check_losses(
    types: Arithmetic,
    rows: Sequence[TokenRow],
    plan: Plan,
    losses: Callable[[Sequence[TokenRow]], torch.Tensor],
    *,
    pad_id: int,
    whose: str,
    temperature: float = 1.0,
) -> dict[str, str]:
    """Hold another engine's loss and gradient against the model's own forward pass.

    Args:
        types: the types that the training computes in.
        rows: the rows of the training.
        plan: its settings; nothing is compared where they say so.
        losses: the sum of the other engine's losses of rows, in nats, with a gradient.
        pad_id: what padding is.
        whose: the other engine.
        temperature: divides the logits in that engine.

    Returns:
        For the records what was compared.

    Raises:
        TrainError: they differ.
    """
    if not plan.self_check:
        return {}
    model, chosen = types.model, _some_rows(rows, plan.seed)

    def found() -> Iterator[torch.Tensor]:
        with types.autocast():
            yield losses(chosen)

    with evaluating(model):
        right = _plainly(types, chosen, plan, pad_id, temperature)
        told = _figures(model, found()).error(right)
    if math.isfinite(right.loss) and not all(map(operator.le, told, _allowed(types))):
        raise TrainError(
            f"{whose} does not compute what {type(model).__name__} does: the relative error of its loss is "
            f"{told[0]:.2g}, of its gradient {told[1]:.2g}; engine.self_check: off trains it anyway"
        )
    return {"checked": f"relative error {max(told):.0e}"}


def _ways(model: PreTrainedModel, layout: Layout, where: Callable[[Layout], str]) -> Iterator[Layout]:
    """Layouts from the fastest to the plainest; each is asked for when the one before has failed."""
    yield layout
    if layout.kind == "packed":
        LOG.warning("rows are padded instead of packed: packed, their loss or gradient is not the model's own%s",
                    where(layout))  # fmt: skip
        layout = replace(layout, kind="padded", fixed=False, kernel=False)
        yield layout
    LOG.warning("rows are read one by one, which is slower: in a batch their loss or gradient is not the model's own%s",
                where(layout))  # fmt: skip
    read_whole(model)
    yield layout


def _where(types: Arithmetic, rows: Sequence[TokenRow], plan: Plan, layout: Layout) -> str:
    """Which layer of a row that is laid out alone differs first; as the end of a sentence."""
    model, row = types.model, rows[:1]
    try:
        with torch.no_grad():
            plain = _by_layer(types, lambda: whole_logits(model, rows_batch(model, row, layout.pad_id)))
            laid = _by_layer(types, lambda: list(_engine_losses(types, _laid_out(model, row, layout), plan, layout)))
    except FAILURES:
        return ""
    for number, (right, found) in enumerate(zip(plain, laid, strict=False)):
        if found.shape[-2:] != right.shape[-2:] or difference(found, right) > rounding(model):
            return f"; layer {number} differs first"
    return "; no layer differs where a row is alone"


def _by_layer(types: Arithmetic, read: Callable[[], Any]) -> list[torch.Tensor]:
    """What each layer gives."""
    found: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(keep) for layer in decoder_layers(types.model)]
    try:
        with types.autocast():
            read()
    finally:
        for handle in handles:
            handle.remove()
    return found


def _laid_out(model: PreTrainedModel, rows: Sequence[TokenRow], layout: Layout) -> list[MicroBatch]:
    """Rows as the engine reads them, the first, which is the longest, alone and the others together."""
    if layout.kind == "packed":
        return layout.micro_batches(rows, max(len(rows[0]), sum(map(len, rows[1:]))))
    return [rows_batch(model, group, layout.pad_id) for group in (rows[:1], rows[1:]) if group]


def _some_rows(rows: Sequence[TokenRow], seed: int) -> list[TokenRow]:
    """The longest row, the shortest and a random one, each once."""
    found = (max(rows, key=len), min(rows, key=len), random.Random(seed).choice(rows))
    return [_end(row) for row in dict.fromkeys(found)]


def _end(row: TokenRow) -> TokenRow:
    """The same tokens, of which no more than the last ones are trained."""
    if len(row.completion) <= TRAINED:
        return row
    return TokenRow(row.prompt + row.completion[:-TRAINED], row.completion[-TRAINED:])


def _allowed(types: Arithmetic) -> tuple[float, float]:
    if types.half or getattr(types.model, "is_quantized", False):
        return COARSE
    return ALLOWED.get(types.model.dtype, COARSE)


def _plainly(types: Arithmetic, rows: Sequence[TokenRow], plan: Plan, pad_id: int, temperature: float = 1.0) -> Figures:
    """By the model's own forward pass, row by row."""
    model = types.model

    def losses() -> Iterator[torch.Tensor]:
        for row in rows:
            batch = rows_batch(model, [row], pad_id)
            with types.autocast():
                logits_NV = whole_logits(model, batch) / temperature
                yield head_loss(Head(torch.nn.Identity()), logits_NV, batch.targets_N, allowed=plan.allowed_ids)[0]

    return _figures(model, losses())


def _compare(
    types: Arithmetic, rows: Sequence[TokenRow], plan: Plan, layout: Layout, right: Figures
) -> tuple[float, float]:
    """Relative errors of the engine's figures; infinite where it fails."""
    batches = _laid_out(types.model, rows, layout)
    try:
        found = _figures(types.model, _engine_losses(types, batches, plan, layout))
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        LOG.warning("%s rows fail on this model: %s", layout.kind, error)
        return NEVER
    return found.error(right)


def _engine_losses(
    types: Arithmetic, batches: Sequence[MicroBatch], plan: Plan, layout: Layout
) -> Iterator[torch.Tensor]:
    model = types.model
    with packed_attention(model) if layout.kind == "packed" else nullcontext():
        for batch in batches:
            there = batch.to(model.device)
            with types.autocast():
                hidden_ND = answer_hidden(model, there)
                yield head_loss(head_of(model), hidden_ND, there.targets_N, allowed=plan.allowed_ids)[0]


def _figures(model: PreTrainedModel, losses: Iterator[torch.Tensor]) -> Figures:
    """Loss and gradient summed over the passes."""
    tensors = _compared(model)
    total, gradient = 0.0, torch.zeros(sum(tensor.numel() for tensor in tensors), device=model.device)
    for loss in losses:
        parts = torch.autograd.grad(loss, tensors, allow_unused=True)
        flat = [torch.zeros_like(t) if g is None else g for g, t in zip(parts, tensors, strict=True)]
        gradient += torch.cat([part.flatten().float() for part in flat])
        total += float(loss.detach())
    return Figures(total, gradient)


def _compared(model: PreTrainedModel) -> list[Any]:
    """The smallest trainable tensors."""
    chosen: list[Any] = []
    held = 0
    for tensor in sorted((p for p in model.parameters() if p.requires_grad), key=lambda p: p.numel()):
        if chosen and held + tensor.numel() > NUMBERS:
            break
        chosen.append(tensor)
        held += tensor.numel()
    return chosen
