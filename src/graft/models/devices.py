"""Where a model runs, in which type of number, with which attention."""

from __future__ import annotations

import math
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING

from graft.errors import ModelError, choices

if TYPE_CHECKING:
    import torch

ATTENTIONS = ("eager", "sdpa")
"""Attention implementations that can be asked for; `auto` chooses between them."""

LARGE_MODEL = 1_000_000_000
"""Parameters from which `dtype: auto` halves the weights on a CPU that computes bfloat16 at least as fast."""

_PROBE = 256
"""Edge of the matrices that are multiplied to measure bfloat16; about a millisecond of work."""


def pick_device(wanted: str) -> torch.device:
    """The device to run on; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ModelError: the wanted device is not there, or there is no device of that name.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, present in there.items() if present))
    if wanted not in there:
        raise ModelError(
            f"model.device is {wanted!r}, but there is no such device. {choices(wanted, ('auto', *there))}"
        )
    if not there[wanted]:
        present = ", ".join(name for name, has in there.items() if has)
        raise ModelError(f"model.device is {wanted}, but this machine offers {present}; use auto")
    return torch.device(wanted)


def pick_dtype(wanted: str, device: torch.device, parameters: int = 0) -> torch.dtype:
    """The type of the weights in memory.

    Args:
        wanted: a type's name, or `auto`: bfloat16 on CUDA where it is native, float16 on MPS, float32 elsewhere; on a
            CPU bfloat16 for a model of `LARGE_MODEL` parameters, if it is measured to compute that as fast.
        device: where the model will be.
        parameters: how many it has; 0 when unknown.

    Raises:
        ModelError: there is no such type.
    """
    import torch

    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if wanted != "auto":
        if wanted not in types:
            raise ModelError(f"model.dtype is {wanted!r}, but it must be a type. {choices(wanted, ('auto', *types))}")
        return types[wanted]
    if device.type == "mps":
        return torch.float16
    large = device.type == "cuda" or parameters >= LARGE_MODEL
    return torch.bfloat16 if large and computes_bfloat16(device) else torch.float32


def pick_attention(wanted: str, device: torch.device, *, has_sdpa: bool = True) -> str:
    """The attention implementation: `auto` is sdpa on CUDA, eager elsewhere (short rows run faster so on CPUs).

    Args:
        wanted: ``auto``, ``eager`` or ``sdpa``.
        device: where the model will be.
        has_sdpa: the architecture knows sdpa; without it `auto` never chooses it.

    Raises:
        ModelError: there is no such implementation, or the architecture lacks it.
    """
    if wanted == "auto":
        return "sdpa" if device.type == "cuda" and has_sdpa else "eager"
    if wanted not in ATTENTIONS:
        raise ModelError(
            f"model.attention is {wanted!r}, but there is no such attention. {choices(wanted, ('auto', *ATTENTIONS))}"
        )
    if wanted == "sdpa" and not has_sdpa:
        raise ModelError("model.attention is sdpa, but this architecture only has eager attention; use auto or eager")
    return wanted


def computes_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 arithmetic is native, so that autocasting to it pays."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cpu" and bool(native) and bfloat16_speedup() >= 1.0


@cache
def bfloat16_speedup() -> float:
    """Measured speed of a bfloat16 matrix product on this CPU, as a multiple of float32; measured once per process."""
    import torch

    def fastest(dtype: torch.dtype) -> float:
        matrix = torch.ones(_PROBE, _PROBE, dtype=dtype)
        best = math.inf
        for _ in range(8):
            start = perf_counter()
            torch.mm(matrix, matrix)
            best = min(best, perf_counter() - start)
        return best

    fastest(torch.bfloat16)  # the first products set the kernels up
    return fastest(torch.float32) / fastest(torch.bfloat16)
