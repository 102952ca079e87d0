"""How many tokens one forward and backward pass may hold: measured before the first step, halved when it was too many.

Nothing here changes a result: what is measured is undone (random state, gradients), and a step that ran out of memory
is repeated in smaller parts.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graft.errors import ConfigError, TrainError
from graft.runs.space import format_bytes, peak_memory
from graft.runs.space import is_out_of_memory as memory_is_out
from graft.train.plan import Plan, Switch
from graft.types import TokenRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)
Result = TypeVar("Result")

TOKEN_BUDGETS = {"cpu": 1_700, "cuda": 16_384}
"""Token budgets by kind of device where nothing was measured: on CPUs one that fits the cache."""

USED_SHARE = 0.85
"""Share of the free memory that is planned with; the rest is for fragments and what the forecast does not see."""

PROBE_TOKENS = {"cpu": 128, "cuda": 1_024}
"""Tokens of the smaller of the two measured passes; the other holds twice as many."""

STATE_NUMBERS = {"8bit": 0.5, "4bit": 0.25, "adafactor": 0.1, "sgd": 0.0, "lion": 1.0}
"""Optimizer state per parameter in numbers of its type, by a part of the optimizer's name; else AdamW's two."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What forward and backward passes were measured to need beside the weights.

    Attributes:
        constant: bytes that do not grow with the tokens.
        per_token: bytes per token.
        seconds_per_token: wall time per token; on CPUs with the time that counting bytes takes.
    """

    constant: float
    per_token: float
    seconds_per_token: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes that a training needs on its device.

    Attributes:
        weights: frozen and trained parameters and buffers of the model, adapters left out; they are there already.
        adapters: trained parameters beside a frozen model; they are there already.
        masters: what trained weights of 16 bits still grow by when they are raised to float32.
        gradients: of the trained parameters.
        optimizer: the optimizer's state.
        usage: what a pass needs, as measured.
    """

    weights: int
    adapters: int
    masters: int
    gradients: int
    optimizer: int
    usage: Usage

    @property
    def to_come(self) -> int:
        """What is allocated after the model, passes left out."""
        return self.masters + self.gradients + self.optimizer

    def tokens(self, free: int) -> int:
        """Most tokens of one pass that `USED_SHARE` of the free bytes hold beside what is still to be allocated."""
        left = USED_SHARE * free - self.to_come - self.usage.constant
        return max(0, int(left / max(self.usage.per_token, 1.0)))

    def __str__(self) -> str:
        parts = {"weights": self.weights, "adapters": self.adapters, "masters": self.masters}
        parts |= {
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations per 1,000 tokens": round(1000 * self.usage.per_token),
        }
        return ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items())


def token_budget(model: PreTrainedModel, plan: Plan) -> int:
    """Most tokens of one micro-batch, as the plan says or as suits the device, without measuring."""
    return plan.token_budget or TOKEN_BUDGETS.get(model.device.type, TOKEN_BUDGETS["cuda"])


def forecast(model: PreTrainedModel, optimizer: str, usage: Usage, *, raises: bool = True) -> Forecast:
    """What training this model with this optimizer needs.

    Args:
        model: the model; weights of 16 bits may have been raised already.
        optimizer: its name.
        usage: what a pass needs.
        raises: trained weights of 16 bits are raised to float32; without, gradients and state have their type.
    """
    parameters = list(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    sizes = sum(map(_held_bytes, parameters)) + sum(buffer.nbytes for buffer in model.buffers())
    held = sum(map(_held_bytes, trained))
    grown = sum(_held_bytes(p) * (max(4, p.itemsize) // p.itemsize if raises else 1) for p in trained)
    adapters = held if len(trained) < len(parameters) else 0
    return Forecast(sizes - adapters, adapters, grown - held, grown, round(state_share(optimizer) * grown), usage)


def _held_bytes(parameter: torch.nn.Parameter) -> int:
    """What this process holds of a parameter, which may be spread over several."""
    part = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return int(part.nbytes)


def state_share(optimizer: str) -> float:
    """Numbers of state per trained parameter that an optimizer keeps, by its name."""
    return next((numbers for part, numbers in STATE_NUMBERS.items() if part in optimizer), 2.0)


def choose_budget(device: str, fits: int, *, longest: int, most: int) -> int:
    """The token budget of a device that can hold so many tokens.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``. A CPU is fastest with what its cache holds, so it never takes more.
        fits: tokens that the memory holds.
        longest: tokens of the longest row.
        most: tokens of the largest step.

    Returns:
        On CPUs 1,700 or what fits; elsewhere the largest power of two, or one and a half of it, that fits, and no
        more than a step holds. At least the longest row.
    """
    if device == "cpu":
        return max(longest, min(TOKEN_BUDGETS["cpu"], fits))
    power = 1 << max(0, fits.bit_length() - 1)
    rounded = power * 3 // 2 if power * 3 // 2 <= fits else power
    return max(longest, min(rounded, most))


def probe(model: PreTrainedModel, attempt: Callable[[Sequence[TokenRow]], object], row: TokenRow) -> Usage:
    """Measure two passes over copies of one row, one with twice the tokens of the other, and undo them.

    Args:
        model: in the state in which it will be trained.
        attempt: one forward and backward pass over rows as one micro-batch.
        row: the longest row; cut where it is longer than the measured pass.

    Raises:
        torch.OutOfMemoryError: not even that fits.
    """
    tokens = PROBE_TOKENS.get(model.device.type, PROBE_TOKENS["cuda"])
    row = _cut(row, tokens)
    copies = max(1, tokens // len(row))
    with undone(model):
        if model.device.type == "cuda":
            attempt([row])  # what is allocated once, is allocated here
            model.zero_grad(set_to_none=True)
        small, _ = _measured(model, lambda: attempt([row] * copies))
        model.zero_grad(set_to_none=True)
        large, seconds = _measured(model, lambda: attempt([row] * (2 * copies)))
    per_token = max(0.0, (large - small) / (copies * len(row)))
    return Usage(max(0.0, small - per_token * copies * len(row)), per_token, seconds / (2 * copies * len(row)))


def _cut(row: TokenRow, tokens: int) -> TokenRow:
    """The start of a long row's prompt and completion, in the same proportion."""
    if len(row) <= tokens:
        return row
    prompt = len(row.prompt) * tokens // len(row)
    return TokenRow(row.prompt[:prompt], row.completion[: tokens - prompt])


def _measured(model: PreTrainedModel, work: Callable[[], object]) -> tuple[int, float]:
    """Most bytes that a piece of work held at once beside what was there, and its seconds."""
    started = perf_counter()
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
        torch.cuda.reset_peak_memory_stats(model.device)
        before = torch.cuda.memory_allocated(model.device)
        started = perf_counter()
        work()
        torch.cuda.synchronize(model.device)
        return torch.cuda.max_memory_allocated(model.device) - before, perf_counter() - started
    with _LiveBytes((*model.parameters(), *model.buffers())) as live:
        work()
    return live.peak, perf_counter() - started


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive; CPUs keep no such statistics themselves."""

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.held: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._hold(leaf.untyped_storage())
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.known or key in self.held:
            return
        self.held[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.now -= self.held.pop(key, 0)


@contextmanager
def undone(model: PreTrainedModel) -> Iterator[None]:
    """Leave random state and gradients as they were, whatever is computed inside."""
    state = random_state(model.device)
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        model.zero_grad(set_to_none=True)
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        restore_random_state(model.device, state)


def random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """States of the generators that dropout draws from."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def restore_random_state(device: torch.device, state: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    """Go back to a state of `random_state`."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had; on CUDA what PyTorch holds back for itself counts as free."""
    if device.type == "cuda":
        held_back = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held_back
    return int(psutil.virtual_memory().available)  # an Apple GPU shares it


def peak_bytes(device: torch.device) -> int:
    """Most memory held at once since the process began: by tensors on CUDA, else by the whole process; 0 if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or memory_is_out(error)


def can_checkpoint(model: PreTrainedModel) -> bool:
    """Whether the architecture can compute its activations again on the way back."""
    return bool(_bare(model).supports_gradient_checkpointing)


def set_checkpointing(model: PreTrainedModel, on: bool) -> None:
    """Switch activation checkpointing of the decoder layers on or off. The gradient stays the same.

    Raises:
        ConfigError: the architecture has none.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
    """
    bare = _bare(model)
    if on and not can_checkpoint(model):
        raise ConfigError(
            f"engine.activation_checkpointing is on, but {bare.config.model_type} has no layers that can be computed "
            "again; use off"
        )
    renamed = hasattr(bare, "activation_checkpointing_enable")  # transformers is renaming it
    name = "activation_checkpointing" if renamed else "gradient_checkpointing"
    if on:
        getattr(bare, f"{name}_enable")(**{f"{name}_kwargs": {"use_reentrant": False}})
    elif can_checkpoint(model):
        getattr(bare, f"{name}_disable")()


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class Memory:
    """The token budget of a training: what it is, and what happens when it was too much.

    Args:
        model: what is trained.
        tokens: the budget to begin with.
        checkpointing: ``auto`` computes activations again once a single row does not fit; ``on`` does from the start.
        agree: whether any process failed, given whether this one did; all processes repeat a step together.
        least: the smallest of the numbers of all processes; all take the budget of the one with the least memory.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokens: int,
        checkpointing: Switch = "off",
        agree: Callable[[bool], bool] = lambda failed: failed,
        least: Callable[[int], int] = lambda number: number,
    ) -> None:
        self.model = model
        self.tokens = tokens
        self.checkpoints = checkpointing == "on"
        self.may_checkpoint = checkpointing == "auto" and can_checkpoint(model)
        self.agree = agree
        self.least = least
        self.usage: Usage | None = None
        if self.checkpoints:
            set_checkpointing(model, True)

    def plan_ahead(
        self,
        attempt: Callable[[Sequence[TokenRow]], object],
        rows: Sequence[TokenRow],
        *,
        step_rows: int,
        optimizer: str,
        fixed: bool,
        raises: bool = True,
    ) -> None:
        """Measure a pass and set the budget by it.

        Args:
            attempt: one forward and backward pass over rows as one micro-batch.
            rows: all rows of the training.
            step_rows: rows of an optimizer step.
            optimizer: its name, which tells how much it keeps.
            fixed: the budget was given: only find out whether activations must be computed again.
            raises: as in `forecast`.

        Raises:
            TrainError: not even the measured pass fits.
        """
        longest = max(rows, key=len)
        most = max(sum(map(len, rows[at : at + step_rows])) for at in range(0, len(rows), step_rows))
        while True:
            self.usage = self.run(lambda _: probe(self.model, attempt, longest), [longest])
            need = forecast(self.model, optimizer, self.usage, raises=raises)
            fits = self.least(need.tokens(free_bytes(self.model.device)))
            if fits >= len(longest) or not self.may_checkpoint:
                break
            self._checkpoint(f"the longest row of {len(longest)} tokens would not fit")
        if not fixed:
            self.tokens = choose_budget(self.model.device.type, fits, longest=len(longest), most=most)
        if fits < len(longest):
            LOG.warning("the longest row of %d tokens may not fit: %s", len(longest), need)
        LOG.info("token budget %d; %s", self.tokens, need)

    def run(self, attempt: Callable[[int], Result], rows: Sequence[TokenRow]) -> Result:
        """Do one step within the budget; without memory, halve the budget and do the same step again.

        Args:
            attempt: does all of the step but the optimizer's update, given a token budget.
            rows: the rows of the step.

        Raises:
            TrainError: one row alone is too much.
        """
        state = random_state(self.model.device)
        while True:
            told = ""
            try:
                result = attempt(self.tokens)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                told = str(error) or "out of memory"  # the error itself would keep the tensors of the failed pass alive
            if not self.agree(bool(told)):
                return result
            self.model.zero_grad(set_to_none=True)
            if self.model.device.type == "cuda":
                torch.cuda.empty_cache()
            restore_random_state(self.model.device, state)
            if told:
                self._take_less(rows, told)
            self.tokens = self.least(self.tokens)

    def _take_less(self, rows: Sequence[TokenRow], told: str) -> None:
        longest, held = max(map(len, rows)), sum(map(len, rows))
        if min(self.tokens, held) > longest:
            self.tokens = max(1, min(self.tokens, held) // 2)
            LOG.warning("out of memory; token budget halved to %d, and the step is repeated", self.tokens)
        elif self.may_checkpoint:
            self._checkpoint("out of memory with a single row")
        else:
            ways = "" if self.checkpoints or not can_checkpoint(self.model) else "engine.activation_checkpointing, "
            raise TrainError(
                f"a row of {longest} tokens does not fit into the memory of {self.model.device.type}; lower "
                f"data.max_length, or use {ways}adapter.kind=lora, model.quantize=nf4 or a smaller model "
                f"({told.splitlines()[0]})"
            )

    def _checkpoint(self, why: str) -> None:
        self.may_checkpoint, self.checkpoints = False, True
        set_checkpointing(self.model, True)
        LOG.warning("%s; activations are computed again from here on (activation checkpointing)", why)

    def close(self) -> None:
        """Leave the model without activation checkpointing."""
        if self.checkpoints:
            set_checkpointing(self.model, False)
