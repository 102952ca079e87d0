"""In which types a training computes, and in which the weights that it trains are kept while they move.

A number of 16 bits cannot take a small step: bfloat16 keeps 8 bits, so an update below a 512th of a weight is rounded
away, and float16 loses gradients below 6e-8. Trained weights of such a type are therefore raised to float32 while they
are trained, and computed with in 16 bits by autocasting. Where memory does not hold that, bfloat16 weights stay what
they are and are rounded at random, up or down by nearness, so that small steps count on average.

Source: Micikevicius et al. 2018, "Mixed Precision Training", section 3; Zamirai et al. 2020, "Revisiting BFloat16
Training", section 3 (stochastic rounding).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from graft.models.quantized import product_type
from graft.runs.space import format_bytes
from graft.train import processes
from graft.train.checkpoints import newest_sound, stored_types
from graft.train.memory import USED_SHARE, Usage, forecast, free_bytes, random_state, restore_random_state
from graft.train.plan import Evaluate, Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)

HALVES = (torch.bfloat16, torch.float16)

FIRST_SCALE = 2.0**16
"""What a loss in float16 is multiplied by at first."""

GOOD_STEPS = 2_000
"""Steps without overflow after which the scale is doubled."""


class Weights(Enum):
    """How trained weights are kept."""

    PLAIN = "as they are"
    MASTERS = "float32 masters"
    ROUNDED = "bfloat16, rounded stochastically"


@dataclass(slots=True)
class Arithmetic:
    """The types of one training.

    Attributes:
        model: what is trained.
        half: the type of 16 bits that products are computed in; ``None`` where they are in the type of the weights.
        weights: how trained weights are kept.
        scales: gradients pass through float16, so the loss has to be scaled.
        came_in: by name the type that each raised weight had, and gets back.
        casts_itself: the model casts its weights without autocasting, as one that is spread over processes does.
    """

    model: PreTrainedModel
    half: torch.dtype | None
    weights: Weights
    scales: bool
    came_in: dict[str, torch.dtype] = field(default_factory=dict)
    casts_itself: bool = False

    def autocast(self) -> AbstractContextManager[Any]:
        """Within the block products are computed as the training does."""
        wanted = self.half is not None and not self.casts_itself
        casts = wanted and (bool(self.came_in) or self.model.dtype != self.half)
        return torch.autocast(self.model.device.type, self.half or torch.bfloat16, enabled=casts)

    @property
    def name(self) -> str:
        """The type that products are computed in."""
        return str(self.half or self.model.dtype).removeprefix("torch.")

    def raise_weights(self, *, casts_itself: bool = False) -> None:
        """Turn trained weights of 16 bits into float32, in place, where masters are wanted.

        Args:
            casts_itself: the model is spread over processes, by `graft.train.sharding.shard` with `half`.
        """
        if self.weights is not Weights.MASTERS:
            return
        self.came_in = {name: weight.dtype for name, weight in _trained_halves(self.model)}
        self.casts_itself = casts_itself
        if casts_itself:
            self.model.float()  # which tells the parts of the spread model
            return
        for _, weight in _trained_halves(self.model):
            weight.data = weight.data.float()

    def lower_weights(self) -> None:
        """Give raised weights the type back that they came in."""
        for name, weight in self.model.named_parameters():
            if name in self.came_in:
                weight.data = weight.data.to(self.came_in[name])
        self.came_in = {}

    def as_scored(self, evaluate: Evaluate | None) -> Evaluate | None:
        """A measurement with the weights in the type that they are saved and scored in."""
        if evaluate is None or self.weights is not Weights.MASTERS:
            return evaluate

        def measure(model: PreTrainedModel) -> Any:
            with self._lowered():
                return evaluate(model)

        return measure

    @contextmanager
    def _lowered(self) -> Iterator[None]:
        held = {}
        if not self.casts_itself:
            held = {name: (p, p.data) for name, p in self.model.named_parameters() if name in self.came_in}
        try:
            for name, (weight, masters) in held.items():
                weight.data = masters.to(self.came_in[name])
            yield
        finally:
            for weight, masters in held.values():
                weight.data = masters


@contextmanager
def arithmetic(model: PreTrainedModel, plan: Plan, folder: Path, *, spread: bool = False) -> Iterator[Arithmetic]:
    """Within the block the weights are kept as they can be trained; afterwards they have the types that they came in.

    Args:
        model: what is trained.
        plan: its settings.
        folder: its checkpoints; a training that is taken up again keeps its weights as it did.
        spread: the model will be spread over processes, which raises the weights itself then.
    """
    types = choose_arithmetic(model, plan, folder, spread=spread)
    try:
        if not spread:
            types.raise_weights()
        yield types
    finally:
        types.lower_weights()


def choose_arithmetic(
    model: PreTrainedModel, plan: Plan, folder: Path | None = None, *, spread: bool = False
) -> Arithmetic:
    """What a training computes in and how it keeps its weights: masters where memory holds them."""
    half = torch.bfloat16 if plan.bfloat16 else model.dtype if model.dtype in HALVES else None
    scales = torch.float16 in (half, None if half else product_type(model))
    return Arithmetic(model, half, _kept(model, plan, folder, spread=spread), scales)


def _kept(model: PreTrainedModel, plan: Plan, folder: Path | None, *, spread: bool) -> Weights:
    trained = [weight for _, weight in _trained_halves(model)]
    if not trained:
        return Weights.PLAIN
    if spread or plan.optimizer != "adamw" or any(weight.dtype != torch.bfloat16 for weight in trained):
        return Weights.MASTERS
    start = None if folder is None else newest_sound(folder)[0]
    if start is not None:
        return Weights.MASTERS if "F32" in stored_types(start) else Weights.ROUNDED
    need, free = forecast(model, plan.optimizer, Usage(0.0, 0.0, 0.0)), free_bytes(model.device)
    if not processes.any_process(need.to_come > USED_SHARE * free):
        return Weights.MASTERS
    LOG.warning(
        "float32 masters with gradients and optimizer need %s, but %s of memory are free: weights and optimizer stay "
        "bfloat16 and are rounded stochastically", format_bytes(need.to_come), format_bytes(free),
    )  # fmt: skip
    return Weights.ROUNDED


def _trained_halves(model: PreTrainedModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((n, p) for n, p in model.named_parameters() if p.requires_grad and p.dtype in HALVES)


class LossScale:
    """The factor that keeps gradients in float16's range; a step that overflows is done again with half of it.

    Attributes:
        value: the factor, a power of two, so that it changes no digit.
        good: steps since it last changed.
    """

    def __init__(self) -> None:
        self.value = FIRST_SCALE
        self.good = 0

    def run(self, model: PreTrainedModel, attempt: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Do one step until its gradients are finite; they are those of the loss itself then.

        Args:
            model: what is trained.
            attempt: makes the gradients of the loss times `value` and returns the loss first. A loss that is itself no
                number is not tried again.
        """
        state = random_state(model.device)
        while True:
            told = attempt()
            finite = self._take_out(model)
            if finite or not torch.isfinite(told[0]) or self.value <= 1.0:
                break
            self.value, self.good = self.value / 2, 0
            LOG.info(
                "a gradient overflowed in float16; its scale is halved to %g, and the step is repeated", self.value
            )
            model.zero_grad(set_to_none=True)
            restore_random_state(model.device, state)
        self.good += 1
        if self.good >= GOOD_STEPS:
            self.value, self.good = self.value * 2, 0
        return told

    def _take_out(self, model: PreTrainedModel) -> bool:
        """Divide all gradients by the factor; whether they are finite in all processes."""
        held = [weight.grad for weight in model.parameters() if weight.grad is not None]
        parts = [grad.to_local() if hasattr(grad, "to_local") else grad for grad in held]
        for part in parts:
            part.div_(self.value)
        finite = bool(torch.stack([part.isfinite().all() for part in parts]).all()) if parts else True
        return not processes.any_process(not finite)

    def save(self, folder: Path) -> None:
        """Write it as `torch.amp.GradScaler` would, so that every engine can go on with it."""
        state = {"scale": self.value, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": GOOD_STEPS,
                 "_growth_tracker": self.good}  # fmt: skip
        torch.save(state, folder / "scaler.pt")

    def load(self, folder: Path) -> None:
        """Go on with a saved one; where there is none, begin."""
        if (folder / "scaler.pt").is_file():
            state = torch.load(folder / "scaler.pt", weights_only=True)
            self.value, self.good = float(state["scale"]), int(state["_growth_tracker"])
