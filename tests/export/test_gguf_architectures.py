"""Toy models of every architecture, exported and run by a real llama.cpp: the same replies, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from graft.data.chat import ChatPolicy
from graft.errors import ModelError
from graft.export.agreement import greedy_rows
from graft.export.folder import save_model
from graft.export.gguf.write import write_gguf
from graft.types import Sampling

pytest.importorskip("xllamacpp", reason="needs the extra export")

SIZES: dict[str, Any] = {
    "vocab_size": 4096, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": None, "eos_token_id": 4093,
    "pad_token_id": 4090,
}  # fmt: skip
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
GPT2 = {"vocab_size": 4096, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "eos_token_id": 4093}
CONFIGS: dict[str, PreTrainedConfig] = {
    "qwen3": Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=True),
    "llama": LlamaConfig(**SIZES, attention_bias=True),
    "llama-3": LlamaConfig(**SIZES, rope_parameters=LLAMA3, tie_word_embeddings=True),
    "llama-linear": LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    "qwen2": Qwen2Config(**SIZES),
    "gemma2": Gemma2Config(**SIZES, **GEMMA),
    "gemma3": Gemma3TextConfig(**SIZES | {"num_hidden_layers": 7}, **GEMMA),
    "phi3": Phi3Config(**SIZES),
    "phi3-partial": Phi3Config(
        **SIZES, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    ),
    "gpt2": GPT2Config(**GPT2),
    "qwen3-moe": Qwen3MoeConfig(
        **SIZES, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True
    ),
    "mixtral": MixtralConfig(**SIZES, num_local_experts=4),
}
FAST = ("llama",)


def lively(config: PreTrainedConfig) -> PreTrainedModel:
    """A model in which every weight matters, those of norms and biases too."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * (0.3 if weight.ndim == 1 else 0.15))
    return model


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CONFIGS]
)
def test_llama_cpp_replies_as_transformers_does(name: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    from graft.export.server import served

    model = lively(CONFIGS[name])
    save_model(model, tokenizer, ChatPolicy(), Sampling(), tmp_path)
    notes = write_gguf(tmp_path, tmp_path / "model.gguf", "f32", name="toy")
    assert len(notes) == 1
    prompts = [tuple(range(100, 140)), (11, 12, 13), tuple(range(900, 930))]
    rows = greedy_rows(model, tokenizer, prompts)
    with served(tmp_path / "model.gguf", context=256) as server:
        found = [tuple(server.continued(list(row.prompt), 24)["tokens"]) for row in rows]
    assert found == [row.completion for row in rows]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Qwen3Config(**SIZES, head_dim=8, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
         r"its rotary scaling is 'dynamic'"),
        (Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=16, max_window_layers=0),
         "it attends to 16 tokens at most"),
        (LlamaConfig(**SIZES, hidden_act="gelu"), "its activation is gelu, and llama.cpp takes silu"),
        (LlamaConfig(**SIZES, mlp_bias=True), "feed-forward layers have biases"),
        (Qwen3MoeConfig(**SIZES, num_experts=4), "norm_topk_prob is false"),
        (Qwen3MoeConfig(**SIZES, num_experts=4, norm_topk_prob=True, mlp_only_layers=[0]), "layers have no experts"),
        (Gemma2Config(**SIZES, head_dim=8), "query_pre_attn_scalar is 256, and llama.cpp takes 8"),
        (Gemma3TextConfig(**SIZES, **GEMMA, layer_types=["full_attention"] * 2), "in every 6th layer alone"),
        (GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True), "its attention is scaled in another way"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_llama_cpp_computes_otherwise_is_refused(config: PreTrainedConfig, words: str) -> None:
    from graft.export.gguf.architectures import find_architecture

    with pytest.raises(ModelError, match=words):
        find_architecture(config)


def test_an_unknown_architecture_names_the_way_round() -> None:
    from transformers import FalconConfig

    from graft.export.gguf.architectures import find_architecture

    with pytest.raises(ModelError, match=r"a GGUF of falcon cannot be made here.*convert_hf_to_gguf\.py"):
        find_architecture(FalconConfig())
