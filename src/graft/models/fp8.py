"""Frozen linear layers in 8-bit floating point, forward and backward; the adapters beside them stay as they are.

A weight is stored once, as float8 e4m3 with one scale per output feature. Activations and gradients get one scale per
row, measured on the spot. Gradients are e4m3 too: with a scale per row three bits of mantissa are worth more than the
range of e5m2 (measured: docs/memory.md). The backward product sums over output features, where the weight's scales
stand; they are multiplied into the gradient before it is rounded, so that no second copy of the weight is needed.

Axes: M rows (tokens), K input features, N output features.

Source: Micikevicius et al. 2022, "FP8 Formats for Deep Learning"; scales per row as in `torch._scaled_mm`, whose
products run on the tensor cores of CUDA devices of compute capability 9 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graft.errors import ConfigError
from graft.models.targets import bare_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

E4M3 = torch.float8_e4m3fn
MULTIPLE = 16
"""Both sides of a matrix must be multiples of this for the tensor cores; other layers stay as they are."""

CAPABILITY = (9, 0)
"""Least compute capability: Hopper."""


def check_fp8(device: torch.device, capability: tuple[int, int] | None = None) -> None:
    """Refuse fp8 where it cannot be computed; called before weights are loaded.

    Args:
        device: where the model will be.
        capability: compute capability of the CUDA device; ``None`` to ask it.

    Raises:
        ConfigError: the device is no CUDA device of compute capability 9 or later.
    """
    found = device.type
    if device.type == "cuda":
        version = capability or torch.cuda.get_device_capability(device)
        if version >= CAPABILITY:
            return
        found = f"cuda of compute capability {version[0]}.{version[1]}"
    raise ConfigError(
        "model.precision is fp8, which needs a CUDA device of compute capability 9.0 or later (Hopper), but the device "
        f"is {found}; use model.precision: bfloat16"
    )


def to_fp8(model: PreTrainedModel) -> int:
    """Store the frozen linear layers in fp8, in place; the head, adapters and odd shapes stay.

    Args:
        model: frozen, with its adapters on it; they are trained in their own type.

    Returns:
        How many layers now hold fp8.

    Raises:
        ConfigError: none could.
    """
    head = model.get_output_embeddings()
    changed = 0
    adapted = {id(weight) for weight in bare_weights(model)}  # PEFT adds to these weights themselves
    for layer in model.modules():
        if type(layer) is nn.Linear and layer is not head and id(layer.weight) not in adapted and _fits(layer):
            _store(layer)
            changed += 1
    if not changed:
        raise ConfigError(
            f"model.precision is fp8, but no frozen linear layer of {model.name_or_path} has sides that are multiples "
            f"of {MULTIPLE}; use model.precision: bfloat16"
        )
    return changed


def _fits(layer: nn.Linear) -> bool:
    sides = (layer.in_features, layer.out_features)
    return not layer.weight.requires_grad and all(side % MULTIPLE == 0 for side in sides)


def _store(layer: nn.Linear) -> None:
    """Turn one layer into an `Fp8Linear` that holds the same weights, rounded."""
    weight_NK, scale_N1 = quantize_rows(layer.weight.detach())
    bias = layer.bias
    del layer.weight
    layer.__class__ = Fp8Linear
    layer.register_buffer("weight", weight_NK)
    layer.register_buffer("weight_scale", scale_N1)
    layer.bias = bias


class Fp8Linear(nn.Linear):
    """A frozen linear layer whose weight is e4m3 with one scale per output feature; made by `to_fp8`."""

    weight_scale: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply in fp8 and return bfloat16."""
        rows_MK = input.reshape(-1, self.in_features)
        result_MN: torch.Tensor = _Product.apply(rows_MK, self.weight, self.weight_scale)  # type: ignore[no-untyped-call]
        if self.bias is not None:
            result_MN = result_MN + self.bias.to(result_MN.dtype)
        return result_MN.reshape(*input.shape[:-1], self.out_features)


class _Product(torch.autograd.Function):
    """x Wᵀ with a frozen W. Nothing of x is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, rows_MK: torch.Tensor, weight_NK: torch.Tensor, scale_N1: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight_NK, scale_N1)
        ctx.type = rows_MK.dtype
        scaled_MK, scale_M1 = quantize_rows(rows_MK)
        return multiply(scaled_MK, scale_M1, weight_NK, scale_N1, fast=True)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        weight_NK, scale_N1 = ctx.saved_tensors
        scaled_MN, scale_M1 = quantize_rows(gradients[0] * scale_N1.t())
        ones_K1 = torch.ones(weight_NK.shape[1], 1, device=weight_NK.device)
        product_MK = multiply(scaled_MN, scale_M1, weight_NK.t().contiguous(), ones_K1, fast=False)
        return product_MK.to(ctx.type), None, None


def quantize_rows(matrix: torch.Tensor, kind: torch.dtype = E4M3) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row to 8 bits after scaling its largest magnitude to the largest number of the type.

    Args:
        matrix: (rows, columns), any floating type.
        kind: an 8-bit floating type.

    Returns:
        The rounded matrix, and float32 scales of shape (rows, 1) that undo the scaling. A row of zeros stays zeros.
    """
    largest = torch.finfo(kind).max
    # The largest is found in the matrix's own type, which is exact, and one float32 matrix is made in all.
    peak = torch.linalg.vector_norm(matrix, torch.inf, dim=1, keepdim=True).float()
    scale = peak.clamp_min(torch.finfo(torch.float32).tiny * largest) / largest
    return (matrix / scale).clamp_(-largest, largest).to(kind), scale


def multiply(
    left_MK: torch.Tensor,
    left_scale_M1: torch.Tensor,
    right_NK: torch.Tensor,
    right_scale_N1: torch.Tensor,
    *,
    fast: bool,
) -> torch.Tensor:
    """Left rightᵀ of two scaled 8-bit matrices, in bfloat16.

    Args:
        left_MK: the left matrix.
        left_scale_M1: its scales.
        right_NK: the right matrix.
        right_scale_N1: its scales.
        fast: let Hopper's tensor cores keep sums in the fewer bits of their own, which is faster; else in float32.
    """
    return torch._scaled_mm(
        left_MK,
        right_NK.t(),
        scale_a=left_scale_M1,
        scale_b=right_scale_N1.t().contiguous(),
        out_dtype=torch.bfloat16,
        use_fast_accum=fast,
    )
