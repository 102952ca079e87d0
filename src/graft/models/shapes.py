"""Sizes of real models by name, for measuring speed and memory without their weights. No torch until one is built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graft import sprout

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a Qwen3 architecture that decide its cost.

    Attributes:
        hidden: width of the residual stream.
        intermediate: width inside the feed-forward layers.
        layers: number of layers.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: width of a head.
        vocabulary: number of tokens.
        tied: embedding and head are one matrix.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool

    @property
    def backbone(self) -> int:
        """Parameters without embedding and head."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads) + 2 * self.head_dim
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters; a tied matrix counts once."""
        return self.backbone + (1 if self.tied else 2) * self.hidden * self.vocabulary

    def useful_flops(self, tokens: int, trained_tokens: int) -> float:
        """Floating-point operations that training adapters on a frozen model cannot do without.

        Two per parameter and token forward, two for the gradient that flows back; the head only where a token is
        trained. Padding, recomputation, attention scores and the adapters themselves are not counted.
        """
        return 4.0 * self.backbone * tokens + 4.0 * self.hidden * self.vocabulary * trained_tokens

    def memory(self, tokens: int, bytes_per_number: int) -> int:
        """Rough bytes of training adapters: weights, and activations of ``tokens`` tokens kept for the way back."""
        per_token = self.layers * (16 * self.hidden + 4 * self.intermediate)
        return bytes_per_number * (self.parameters + tokens * per_token)


SHAPE_NAMES = ("sprout", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-14b")

_QWEN3 = {
    "qwen3-0.6b": Shape(1024, 3072, 28, 16, 8, 128, 151_936, tied=True),
    "qwen3-1.7b": Shape(2048, 6144, 28, 16, 8, 128, 151_936, tied=True),
    "qwen3-4b": Shape(2560, 9728, 36, 32, 8, 128, 151_936, tied=True),
    "qwen3-14b": Shape(5120, 17_408, 40, 40, 8, 128, 151_936, tied=False),
}


def named_shape(name: str) -> Shape:
    """The shape of that name, one of `SHAPE_NAMES`."""
    if name != "sprout":
        return _QWEN3[name]
    config = json.loads((sprout.path() / "config.json").read_text(encoding="utf-8"))
    return Shape(
        config["hidden_size"],
        config["intermediate_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["num_key_value_heads"],
        config["head_dim"],
        config["vocab_size"],
        tied=config["tie_word_embeddings"],
    )


def random_model(shape: Shape, *, device: torch.device, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """A model of that shape with seeded random weights, on its device, in evaluation mode."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    return model.eval()
