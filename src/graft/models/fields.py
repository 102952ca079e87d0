"""What the configs of architectures call the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graft.models.source import text_config

EXPERT_COUNTS = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "num_moe_experts",
    "num_routed_experts",
)
"""Config fields that give the number of experts of a layer."""

EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "top_k_experts")
"""Config fields that give how many of them a token visits; without one it is one, as in Switch."""

CONTEXTS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
"""Config fields that give the longest context."""


def first_number(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The first of these fields that holds a number, or 0."""
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)


def expert_counts(config: Mapping[str, Any]) -> tuple[int, int]:
    """Experts of a layer and how many of them a token visits, from any architecture's config; zeros when dense."""
    text = text_config(config)
    experts = first_number(text, EXPERT_COUNTS)
    if experts < 2:
        return 0, 0
    return experts, first_number(text, EXPERTS_PER_TOKEN) or 1
