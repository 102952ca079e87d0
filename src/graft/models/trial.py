"""What every trial of a model shares: two tiny prompts, how it may fail, and how large a difference is rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHORT, LONG = (3, 1, 4), (5, 2, 6, 5, 3, 5, 1, 2)
"""Prompts in ids that every vocabulary has; the short one gets much padding beside the long one."""

ROUNDING = {torch.float64: 1e-6, torch.float32: 2e-3}
"""Largest change of logits, relative to the largest of them, that is rounding, by type of the weights; else 0.1."""

FAILURES = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, NotImplementedError)
"""How a trial fails on a model that cannot do what is tried."""


def bare(model: PreTrainedModel) -> Any:
    """The model inside its adapters, whose own signature hides that of the model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Within the block the model is in evaluation mode; afterwards each of its modules is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def difference(found: torch.Tensor, right: torch.Tensor) -> float:
    """Largest difference of finite entries, relative to the largest right one; infinite where it is not a number."""
    real = right.isfinite()
    expected, actual = right[real].double(), found[real].double()
    moved = float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    return moved if math.isfinite(moved) else math.inf


def rounding(model: PreTrainedModel) -> float:
    """The largest `difference` of two ways to the same logits that is rounding."""
    coarse = getattr(model, "is_quantized", False) or torch.is_autocast_enabled(model.device.type)
    return 0.1 if coarse else ROUNDING.get(model.dtype, 0.1)
