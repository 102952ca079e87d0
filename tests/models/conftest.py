"""Model folders of many architectures with tiny random weights, each built once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SIZES = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
GROUPED = {"num_key_value_heads": 2, "eos_token_id": 4093, "pad_token_id": 4090, "bos_token_id": None}
T5_SIZES = {"vocab_size": 4096, "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}
BART_SIZES = {
    "vocab_size": 4096,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}

CAUSAL = ("qwen2", "qwen3", "llama", "gemma", "phi", "gpt2")
SEQ2SEQ = ("t5", "bart", "switch_transformers")
ENCODERS = ("bert", "roberta", "deberta-v2")
MIXTURES = {"qwen3_moe": (4, 2), "mixtral": (4, 2), "deepseek_v3": (4, 2), "switch_transformers": (4, 1)}
"""Architectures with their experts, and how many of them a token visits."""

SETTINGS: dict[str, dict[str, object]] = {
    "qwen2": {**SIZES, **GROUPED},
    "qwen3": {**SIZES, **GROUPED, "head_dim": 8, "tie_word_embeddings": True},
    "llama": {**SIZES, **GROUPED},
    "llama@wide": {**SIZES, **GROUPED, "hidden_size": 128, "intermediate_size": 256},
    "gemma": {**SIZES, **GROUPED, "head_dim": 8},
    "phi": {**SIZES, **GROUPED},
    "gpt2": {"vocab_size": 4096, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "t5": T5_SIZES,
    "bart": BART_SIZES,
    "switch_transformers": {**T5_SIZES, "num_experts": 4, "num_sparse_encoder_layers": 1,
                            "num_sparse_decoder_layers": 1},
    "bert": SIZES,
    "roberta": SIZES,
    "deberta-v2": SIZES,
    "qwen3_moe": {**SIZES, **GROUPED, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2,
                  "moe_intermediate_size": 32},
    "mixtral": {**SIZES, **GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": {**SIZES, **GROUPED, "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
                    "moe_intermediate_size": 32, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
                    "first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
                    "qk_nope_head_dim": 8, "v_head_dim": 8},
}  # fmt: skip


@pytest.fixture(scope="session")
def architecture_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from an architecture's name to a folder with a toy model of it."""
    made: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in made:
            import torch
            from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

            auto = AutoModelForSeq2SeqLM if name in SEQ2SEQ else AutoModelForCausalLM
            auto = AutoModelForMaskedLM if name in ENCODERS else auto
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp(name)
            auto.from_config(AutoConfig.for_model(name.partition("@")[0], **SETTINGS[name])).save_pretrained(folder)
            made[name] = folder
        return made[name]

    return build
