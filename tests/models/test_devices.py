"""Automatic choices of device, number type and attention."""

from __future__ import annotations

import pytest
import torch

from graft.errors import ModelError
from graft.models import devices
from graft.models.devices import LARGE_MODEL, pick_attention, pick_device, pick_dtype

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def test_the_automatic_device_is_there() -> None:
    assert pick_device(pick_device("auto").type) == pick_device("auto")


@pytest.mark.parametrize(
    ("device", "native", "parameters", "expected"),
    [
        (CUDA, True, 0, torch.bfloat16),
        (CUDA, False, 0, torch.float32),
        (MPS, False, LARGE_MODEL, torch.float16),
        (CPU, True, LARGE_MODEL - 1, torch.float32),
        (CPU, True, LARGE_MODEL, torch.bfloat16),
        (CPU, False, LARGE_MODEL, torch.float32),
    ],
)
def test_the_automatic_type_follows_what_is_native(
    device: torch.device, native: bool, parameters: int, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: native)
    assert pick_dtype("auto", device, parameters) == expected
    assert pick_dtype("float16", device, parameters) == torch.float16


def test_bfloat16_is_measured_once() -> None:
    assert devices.bfloat16_speedup() > 0.0
    assert devices.bfloat16_speedup() == devices.bfloat16_speedup()


def test_attention_is_sdpa_only_where_it_pays_and_exists() -> None:
    assert pick_attention("auto", CUDA) == "sdpa"
    assert pick_attention("auto", CUDA, has_sdpa=False) == "eager"
    assert pick_attention("auto", CPU) == "eager"
    with pytest.raises(ModelError, match="only has eager"):
        pick_attention("sdpa", CPU, has_sdpa=False)
