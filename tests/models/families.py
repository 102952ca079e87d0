"""Toy models of every architecture that transformers knows, by the name of its configuration."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARY = 512

SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
    # width
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "dim": 32, "attention_hidden_size": 32, "lru_width": 32,
    "word_embed_proj_dim": 32, "hidden_size_per_layer_input": 8, "intermediate_size": 64, "ffn_hidden_size": 64,
    "n_inner": 64, "d_ff": 64, "ffn_dim": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    # depth
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "num_decoder_layers": 2,
    "encoder_layers": 2, "decoder_layers": 2, "layers": 2, "num_kv_shared_layers": 0,
    # attention
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "attention_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "d_kv": 8,
    "rotary_dim": 8, "partial_rotary_factor": 1.0, "max_position_embeddings": 512, "n_positions": 512,
    "attention_window_size": 64, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "index_n_heads": 2, "index_head_dim": 8, "index_topk": 64,
    # experts
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2,
    "num_experts_per_token": 2, "moe_k": 2, "moe_topk": 2, "moe_intermediate_size": 32, "n_shared_experts": 1,
    "num_shared_experts": 1, "shared_expert_intermediate_size": 32, "expert_ffn_hidden_size": 32, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "zero_expert_num": 1,
    # recurrent layers
    "state_size": 8, "time_step_rank": 4, "chunk_size": 16, "mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 16,
    "mamba_n_groups": 1, "mamba_expand": 2, "mamba_dt_rank": 4, "mamba_d_ssm": 64, "mamba_num_heads": 4,
    "mamba_head_dim": 16, "mamba_chunk_size": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    # no dropout
    **dict.fromkeys(
        ("attention_dropout", "attention_probs_dropout_prob", "hidden_dropout", "hidden_dropout_prob", "attn_pdrop",
         "resid_pdrop", "embd_pdrop", "dropout", "activation_dropout", "dropout_rate"), 0.0),
}  # fmt: skip
"""Every name that a configuration gives to a size; each takes what it knows."""

ONE_OF_EACH = {"layer_types": ["linear_attention", "full_attention"]}

OTHERWISE: dict[str, dict[str, Any]] = {
    "axk1": {"num_key_value_heads": 4},
    "bailing_hybrid": {**ONE_OF_EACH, "num_key_value_heads": 4},
    "bamba": {"attn_layer_indices": [1]},
    "deepseek_v2": {"num_key_value_heads": 4},
    "deepseek_v3": {"num_key_value_heads": 4},
    "deepseek_v32": {"num_key_value_heads": 4},
    "glm4_moe_lite": {"num_key_value_heads": 4},
    "glm_moe_dsa": {"num_key_value_heads": 4},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 64},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {"num_key_value_heads": 4},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "minicpm3": {"num_key_value_heads": 4},
    "qwen3_5_moe_text": ONE_OF_EACH,
    "qwen3_5_text": ONE_OF_EACH,
    "qwen3_next": ONE_OF_EACH,
    "recurrent_gemma": {"num_hidden_layers": 3, "num_key_value_heads": 1},
    "rwkv": {"context_length": 512},
    "xlstm": {"num_heads": 4, "chunk_size": 16},
    "youtu": {"num_key_value_heads": 4},
}
"""Where the sizes do not fit together, or a kind of layer would be missing."""

COMMON = (
    "deepseek_v3", "doge", "falcon_h1", "gemma3_text", "gpt2", "jamba", "lfm2", "llama", "mamba", "modernbert-decoder",
    "phi3", "qwen3", "qwen3_moe", "qwen3_next", "recurrent_gemma", "rwkv", "switch_transformers", "t5",
)  # fmt: skip
"""One of each kind; they are tested each time."""

PACKING = {"deepseek_v3", "gemma3_text", "gpt2", "llama", "modernbert-decoder", "phi3", "qwen3", "qwen3_moe"}
"""Those of them whose documents can share a row."""

OTHERS = (
    "afmoe", "apertus", "arcee", "aria_text", "axk1", "bailing_hybrid", "bamba", "bart", "bigbird_pegasus",
    "biogpt", "bitnet", "blenderbot", "blenderbot-small", "bloom", "codegen", "cohere", "cohere2", "cohere2_moe",
    "ctrl", "cwm", "deepseek_v2", "deepseek_v32", "diffllama", "dots1", "ernie4_5", "ernie4_5_moe", "exaone4",
    "exaone_moe", "falcon", "falcon_mamba", "flex_olmo", "flint", "gemma", "gemma2", "gemma3n_text", "gemma4_text",
    "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss",
    "gptj", "granite", "granite_swa", "granitemoe", "granitemoehybrid", "granitemoeshared", "helium", "hrm_text",
    "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3", "hyperclovax", "inkling2_text", "inkling_text", "internlm3",
    "iquestcoder", "jais2", "jetmoe", "kolibri1", "led", "lfm2_moe", "lfm3", "llama4_text", "longcat_flash",
    "longt5", "m2m_100", "mamba2", "marian", "mbart", "mellum", "mimo_v2_flash", "minicpm3", "minimax",
    "minimax_m2", "minimax_m3_vl_text", "ministral", "ministral3", "mistral", "mixtral", "mpt", "mt5", "nanochat",
    "nemotron", "nllb-moe", "olmo", "olmo2", "olmo3", "olmo_hybrid", "olmoe", "openai-gpt", "opt", "pegasus",
    "pegasus_x", "persimmon", "phi", "phimoe", "plbart", "qwen2", "qwen2_moe", "qwen3_5_moe_text", "qwen3_5_text",
    "seed_oss", "smollm3", "solar_open", "stablelm", "starcoder2", "umt5", "vaultgemma", "xglm", "xlstm", "youtu",
)  # fmt: skip


def toy_of(name: str, **changed: Any) -> PreTrainedModel:
    """A model with seeded random weights, large enough that its replies differ, in evaluation mode.

    Args:
        name: ``model_type`` of a configuration.
        **changed: settings of the configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = CONFIG_MAPPING[name]
    known = {*inspect.signature(kind.__init__).parameters, *getattr(kind, "attribute_map", {})}
    sizes = {key: value for key, value in SMALL.items() if key in known} | OTHERWISE.get(name, {}) | changed
    config = kind(**sizes)
    if config.is_encoder_decoder:
        config.decoder_start_token_id = config.eos_token_id
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(0)
    model = auto.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(2.0)
    return model
