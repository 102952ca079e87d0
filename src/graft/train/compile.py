"""Compiling the decoder layers, when that pays: `torch.compile` per layer, one version per fixed row shape.

Layers are compiled in place, so no name in a state dict changes, and all layers of one kind share the compiled code.
The gradient is that of the uncompiled layers up to rounding.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException, Unsupported

from graft.errors import ConfigError, TrainError
from graft.models.attention import keep_out_of_graphs
from graft.train.memory import random_state, restore_random_state, undone
from graft.train.plan import Switch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)
Result = TypeVar("Result")

SECONDS_PER_SHAPE = 20.0
"""Rough time of compiling one layer, forward and backward, for one row shape."""

SECONDS_PER_LAYER = 0.5
"""Rough time that every further layer of the same kind takes, per row shape."""

SAVED_SHARE = 0.4
"""Share of a step's time that compiled layers save: 16,633 against 27,572 tokens/s (Qwen3-4B, LoRA, one H200)."""

MOST_RECOMPILES = 8
"""Steps that may compile anew after the warm-up; then something changes all the time, and compiling costs more."""

BACKEND = "inductor"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the layers are compiled, and why.

    Attributes:
        compiles: whether.
        why: a sentence for the log.
    """

    compiles: bool
    why: str


def decide(
    switch: Switch, device: str, *, layers: int, shapes: int | None, steps: int, step_seconds: float, tools: str | None
) -> Decision:
    """Decide from what is known before the first step.

    Args:
        switch: ``engine.compile``.
        device: ``cuda``, ``cpu`` or ``mps``.
        layers: decoder layers.
        shapes: fixed row shapes of the layout; ``None`` where every micro-batch has a shape of its own.
        steps: steps that are still to be done.
        step_seconds: measured time of a step that is not compiled.
        tools: what is missing for compiling, as `missing_tools` says it; ``None`` if nothing.

    Raises:
        ConfigError: compiling was asked for and cannot be had.
    """
    if switch == "off":
        return Decision(False, "layers are not compiled: engine.compile is off")
    if switch == "on":
        if tools:
            raise ConfigError(f"engine.compile is on, but {tools}; or use engine.compile: off")
        return Decision(True, f"compiling {layers} layers: engine.compile is on")
    if device != "cuda":
        return Decision(False, f"layers are not compiled: on {device} it does not pay")
    if tools:
        return Decision(False, f"layers are not compiled: {tools}")
    if shapes is None:
        return Decision(False, "layers are not compiled: the rows have no fixed shapes")
    seconds = shapes * (SECONDS_PER_SHAPE + SECONDS_PER_LAYER * layers)
    pays_from = math.ceil(seconds / max(SAVED_SHARE * step_seconds, 1e-9))
    if steps < pays_from:
        told = f"{layers} layers would take about {seconds:.0f} s, which pays from {pays_from} steps; there are {steps}"
        return Decision(False, f"layers are not compiled: {told}")
    return Decision(True, f"compiling {layers} layers, about {seconds:.0f} s, pays from {pays_from} steps")


def missing_tools(device: str) -> str | None:
    """What compiling lacks on this machine and how to get it; ``None`` if nothing."""
    if device == "mps":
        return "Apple GPUs are not supported by it"
    if device == "cuda" and find_spec("triton") is None:
        return "triton is missing: pip install triton"
    names = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    if not any(name and shutil.which(name) for name in names):
        return "there is no C++ compiler: install g++ (apt-get install g++) or clang"
    return None


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The layers that are compiled, in the model's order."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


class Compiled:
    """The compiled layers of a model, from the first compilation to the end of the training.

    Args:
        model: its decoder layers are compiled in place.
        shapes: fixed row shapes; a layer is never compiled for more of them.
    """

    def __init__(self, model: PreTrainedModel, shapes: int) -> None:
        import torch._dynamo as dynamo

        keep_out_of_graphs()
        self.model = model
        self.layers = decoder_layers(model)
        self._seen: set[Hashable] = set()
        self._again = 0
        self._shapes = shapes
        # Layers of one kind may differ in constants, and the first one's input has no gradient: a version for each.
        limit = (shapes + 2) * (len(self.layers) + 1)
        self._limits = dynamo.config.patch(recompile_limit=limit, accumulated_recompile_limit=max(256, 2 * limit))
        self._limits.__enter__()
        self._set(whole=True)

    def _set(self, *, whole: bool) -> None:
        for layer in self.layers:
            layer.compile(fullgraph=whole, dynamic=False, backend=BACKEND)

    def warm_up(self, attempt: Callable[[], object], *, required: bool) -> bool:
        """Compile by one forward and backward pass, which is undone.

        Args:
            attempt: the pass.
            required: the user asked for compiling; else a failure only means that the layers stay as they are.

        Returns:
            Whether the layers are compiled now.

        Raises:
            TrainError: compiling is required and fails.
        """
        from torch._inductor.exc import InductorError

        for whole in (True, False):
            if not whole:
                self._set(whole=False)
            try:
                with undone(self.model):
                    attempt()
                return True
            except Unsupported as error:
                LOG.warning("a layer cannot be compiled as a whole, so in parts: %s", _start(error))
            except (TorchDynamoException, InductorError) as error:
                told = _start(error)
                break
        else:
            told = "its code cannot be captured"
        self.close()
        if required:
            raise TrainError(f"engine.compile is on, but compiling the layers failed: {told}; use engine.compile: off")
        LOG.warning("layers are not compiled: %s", told)
        return False

    def run(self, attempt: Callable[[], Result], shapes: set[Hashable]) -> Result:
        """Do a part of the training; warn when it compiled anew what had been compiled before.

        Args:
            attempt: forward and backward passes.
            shapes: the shapes of their inputs. The first pass of a shape may compile; a shape beyond the fixed ones
                uses what is compiled or runs uncompiled.
        """
        spare = len(shapes | self._seen) <= self._shapes
        stance = "default" if spare or shapes <= self._seen else "eager_on_recompile"
        before, state = _versions(), random_state(self.model.device)
        told = ""
        try:
            with torch.compiler.set_stance(stance):
                result = attempt()
        except FailOnRecompileLimitHit as error:
            told = _start(error.__cause__ or error)
        if told:
            LOG.warning("the layers were compiled again too often and run uncompiled from here on: %s", told)
            self.close()
            self.model.zero_grad(set_to_none=True)
            restore_random_state(self.model.device, state)
            return attempt()
        if stance == "eager_on_recompile":
            LOG.warning(
                "rows of shapes beyond the %d fixed ones ran uncompiled: %s", self._shapes, sorted(shapes, key=str)
            )
            return result
        if _versions() > before and shapes <= self._seen:
            LOG.warning("the layers were compiled again after the warm-up: %s", _cause(_versions() - before))
            self._again += 1
            if self._again == MOST_RECOMPILES:
                LOG.warning("compiled again %d times; the layers run uncompiled from here on", self._again)
                self.close()
        self._seen |= shapes
        return result

    def close(self) -> None:
        """Leave the model as it was before."""
        for layer in self.layers:
            layer._compiled_call_impl = None
        if self.layers:
            self._limits.__exit__(None, None, None)
        self.layers = []


def _versions() -> int:
    """Graphs compiled in this process so far."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def _cause(versions: int) -> str:
    """Why the last compilations happened, in PyTorch's words."""
    from torch._dynamo.utils import get_compilation_metrics

    told = [entry.recompile_reason for entry in get_compilation_metrics() if entry.recompile_reason]
    reasons = "; ".join(dict.fromkeys(" ".join(reason.split()) for reason in told[-versions:]))
    return reasons[:400] or "PyTorch gives no reason; run with TORCH_LOGS=recompiles"


def _start(told: object) -> str:
    """The first two lines of a message that PyTorch fills pages with."""
    lines = [line.strip() for line in str(told).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(told).__name__
