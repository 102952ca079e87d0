"""What the machine computes with, for the record."""

from __future__ import annotations

from typing import Any


def accelerator() -> dict[str, Any] | None:
    """Name, count and memory of the accelerator, or ``None`` on a machine that has only its CPU."""
    import torch

    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        return {"kind": "cuda", "name": facts.name, "count": torch.cuda.device_count(), "bytes": facts.total_memory}
    if torch.backends.mps.is_available():
        return {"kind": "mps", "name": "Apple GPU", "count": 1, "bytes": torch.mps.recommended_max_memory()}
    return None
