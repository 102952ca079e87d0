"""What llama.cpp computes of each architecture, and what it would compute otherwise, which is refused by name.

Source: llama.cpp, `convert_hf_to_gguf.py` and `src/models/`; which of it is right was found by comparing replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graft.errors import ModelError

SMOOTH = ("default", "linear", "llama3")
"""Rotary scalings that are written; the others are refused."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a model of transformers becomes one of llama.cpp.

    Attributes:
        name: llama.cpp's name of it.
        activation: the only one that llama.cpp computes.
        permuted: the rows of q and k are written in pairs, as llama.cpp's rotary layout has them.
        shift: what is added to the weights of norms, which transformers stores around zero.
        transposed: linear weights are stored as (inputs, outputs).
    """

    name: str
    activation: str
    permuted: bool = False
    shift: float = 0.0
    transposed: bool = False


ARCHITECTURES: Mapping[str, Architecture] = {
    "gemma2": Architecture("gemma2", "gelu_pytorch_tanh", shift=1.0),
    "gemma3_text": Architecture("gemma3", "gelu_pytorch_tanh", shift=1.0),
    "gpt2": Architecture("gpt2", "gelu_new", transposed=True),
    "llama": Architecture("llama", "silu", permuted=True),
    "mixtral": Architecture("llama", "silu", permuted=True),
    "phi3": Architecture("phi3", "silu"),
    "qwen2": Architecture("qwen2", "silu"),
    "qwen3": Architecture("qwen3", "silu"),
    "qwen3_moe": Architecture("qwen3moe", "silu"),
}
"""By ``model_type``."""


def find_architecture(config: Any) -> Architecture:
    """The architecture of a config.

    Raises:
        ModelError: llama.cpp does not compute it, or not as this config says.
    """
    found = ARCHITECTURES.get(config.model_type)
    if found is None:
        raise ModelError(
            f"a GGUF of {config.model_type} cannot be made here; it is made of {', '.join(sorted(ARCHITECTURES))}. "
            "Export it with --to merged, and convert that with llama.cpp: python convert_hf_to_gguf.py FOLDER"
        )
    for reason in _differences(config, found):
        raise ModelError(f"llama.cpp would compute this {config.model_type} otherwise: {reason}; use --to merged")
    return found


def _differences(config: Any, found: Architecture) -> Iterator[str]:
    """What a config asks for that llama.cpp does not do."""
    asked = {name: getattr(config, name, None) for name in ("hidden_act", "hidden_activation", "activation_function")}
    named = asked["hidden_activation"] or asked["hidden_act"] or asked["activation_function"]
    if named != found.activation:
        yield f"its activation is {named}, and llama.cpp takes {found.activation}"
    kind = _rope(config).get("rope_type", "default")
    if kind not in SMOOTH:
        yield f"its rotary scaling is {kind!r}, and {', '.join(SMOOTH)} are written"
    if getattr(config, "mlp_bias", False):
        yield "its feed-forward layers have biases"
    if found.name != "llama" and getattr(config, "attention_bias", False):
        yield "its attention has biases"
    if not found.name.startswith(("gemma", "phi3")) and _window(config):
        yield f"it attends to {_window(config):,} tokens at most, and llama.cpp to all"
    yield from _differences_of_experts(config)
    yield from _differences_of_gemma(config)
    yield from _differences_of_gpt2(config)


def _differences_of_experts(config: Any) -> Iterator[str]:
    if config.model_type == "qwen3_moe":
        if not config.norm_topk_prob:
            yield "norm_topk_prob is false, and llama.cpp always lets the chosen experts' weights sum to 1"
        if config.decoder_sparse_step != 1 or config.mlp_only_layers:
            yield "some of its layers have no experts"


def _differences_of_gemma(config: Any) -> Iterator[str]:
    if not config.model_type.startswith("gemma"):
        return
    if config.query_pre_attn_scalar != config.head_dim:
        yield f"query_pre_attn_scalar is {config.query_pre_attn_scalar}, and llama.cpp takes {config.head_dim}"
    if getattr(config, "use_bidirectional_attention", None):
        yield "its attention looks ahead"
    period = 2 if config.model_type == "gemma2" else 6
    pattern = ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(layers_of(config))]
    if list(config.layer_types) != pattern:
        yield f"its layers do not attend to all tokens in every {period}th layer alone"
    if config.model_type == "gemma3_text" and (config.attn_logit_softcapping or config.final_logit_softcapping):
        yield "its logits are capped"


def _differences_of_gpt2(config: Any) -> Iterator[str]:
    if config.model_type == "gpt2":
        if not config.scale_attn_weights or config.scale_attn_by_inverse_layer_idx:
            yield "its attention is scaled in another way"
        if not config.tie_word_embeddings:
            yield "its output layer is not its embedding"


def layers_of(config: Any) -> int:
    """Number of blocks."""
    return int(getattr(config, "num_hidden_layers", 0) or config.n_layer)


def _window(config: Any) -> int:
    """Tokens that a layer attends to; 0 for all."""
    if not getattr(config, "use_sliding_window", True):
        return 0
    return int(getattr(config, "sliding_window", None) or 0)


def _rope(config: Any) -> Mapping[str, Any]:
    """Rotary settings, those of the layers that attend to all tokens."""
    found = getattr(config, "rope_parameters", None) or {}
    chosen: Mapping[str, Any] = found.get("full_attention", found)
    return chosen


def write_settings(writer: Any, config: Any, found: Architecture) -> None:
    """Write everything but the tokenizer that llama.cpp needs to compute a model.

    Args:
        writer: a `gguf.GGUFWriter`.
        config: the model's own.
        found: its architecture.
    """
    heads = config.num_attention_heads
    writer.add_block_count(layers_of(config))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(heads)
    writer.add_vocab_size(config.vocab_size)
    if found.name == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _write_rope(writer, config, width)
    _write_experts(writer, config)
    if found.name.startswith(("gemma", "phi3")) and _window(config):
        writer.add_sliding_window(_window(config))
    if found.name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _write_rope(writer: Any, config: Any, width: int) -> None:
    import gguf

    rope = _rope(config)
    writer.add_rope_dimension_count(int(width * rope.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(rope["rope_theta"])
    if "sliding_attention" in config.rope_parameters:
        writer.add_rope_freq_base_swa(config.rope_parameters["sliding_attention"]["rope_theta"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def _write_experts(writer: Any, config: Any) -> None:
    count = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    if not count:
        return
    writer.add_expert_count(count)
    writer.add_expert_used_count(config.num_experts_per_tok)
    if config.model_type == "qwen3_moe":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)


def frequency_factors(config: Any) -> list[float] | None:
    """What Llama 3 divides its rotary frequencies by; ``None`` for every other scaling.

    Source: transformers, `modeling_rope_utils._compute_llama3_parameters`.
    """
    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    import math

    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    length = rope["original_max_position_embeddings"]
    factors = []
    for index in range(0, width, 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (index / width)
        smooth = min(1.0, max(0.0, (length / wave - low) / (high - low)))
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors
