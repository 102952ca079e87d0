"""Models in which a long text changes how others of the same pass are read: positions scaled by the longest of them.

Such a text goes through the model alone, and what the model remembers of lengths is forgotten before.
Source: Ding et al. 2024, "LongRoPE"; dynamic NTK scaling as in transformers' `modeling_rope_utils`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SCALED = ("longrope", "dynamic")
"""Kinds of rotary positions whose frequencies depend on the longest text of a pass."""


def length_limit(model: Any) -> int | None:
    """The longest text in tokens that changes no other.

    Args:
        model: without its adapters' wrapper.

    Returns:
        ``None`` where no text does.
    """
    config = model.config.get_text_config(decoder=True)
    limits = [
        int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
        for rope in _rotations(getattr(config, "rope_parameters", None))
        if any(kind in str(rope.get("rope_type")) for kind in SCALED)
    ]
    return min(limits, default=None)


def _rotations(settings: Any) -> Iterator[Mapping[str, Any]]:
    """The settings of rotary positions, one for all layers or one for each kind of layer."""
    if not isinstance(settings, Mapping):
        return
    yield settings
    for part in settings.values():
        yield from _rotations(part)


def forget_lengths(model: Any) -> None:
    """Let the next pass be read as if it were the first.

    Dynamic scaling keeps the frequencies of the longest text so far until a short one comes.
    """
    for module in model.modules():
        for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
            setattr(module, name, 0)
