"""Which weights get adapters, per architecture; each toy is random, two or three layers, and runs on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as T
from peft import PeftModel
from safetensors.torch import load_file

from graft.errors import ModelError
from graft.models.adapters import add_lora, portable_name, save_adapter
from graft.models.targets import find_targets, told, uncovered

SETTINGS: dict[str, Any] = {"r": 2, "alpha": 4.0, "dropout": 0.0, "targets": "all-linear", "seed": 0}
SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
STATES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
MLP = {"gate_proj", "up_proj", "down_proj"}
FUSED = {"gate_up_proj", "down_proj"}

CASES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "llama": (lambda: T.LlamaConfig(**SIZES), ATTENTION | MLP),
    "gpt2": (lambda: T.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64),
             {"c_attn", "c_proj", "c_fc"}),
    "phi3": (lambda: T.Phi3Config(**SIZES), {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
    "t5": (lambda: T.T5Config(vocab_size=96, d_model=32, d_ff=48, num_layers=2, num_heads=4, d_kv=8),
           {"q", "k", "v", "o", "wi", "wo"}),
    "qwen3_moe": (lambda: T.Qwen3MoeConfig(**SIZES, head_dim=8, **EXPERTS), ATTENTION | FUSED),
    "qwen2_moe": (lambda: T.Qwen2MoeConfig(**SIZES, **EXPERTS, shared_expert_intermediate_size=16, mlp_only_layers=[0]),
                  ATTENTION | FUSED | MLP),
    "mixtral": (lambda: T.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2), ATTENTION | FUSED),
    "gpt_oss": (lambda: T.GptOssConfig(**SIZES, head_dim=8, num_local_experts=4, num_experts_per_tok=2),
                ATTENTION | FUSED),
    "deepseek_v3": (lambda: T.DeepseekV3Config(
                        **SIZES, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                        n_shared_experts=1, first_k_dense_replace=1, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4,
                        qk_nope_head_dim=4, v_head_dim=8, n_group=1, topk_group=1),
                    {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"} | FUSED | MLP),
    "granitemoe": (lambda: T.GraniteMoeConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2),
                   ATTENTION | FUSED),
    "mamba": (lambda: T.MambaConfig(**STATES), {"in_proj", "x_proj"}),
    "falcon_mamba": (lambda: T.FalconMambaConfig(**STATES), {"in_proj", "x_proj"}),
    "mamba2": (lambda: T.Mamba2Config(**STATES, num_heads=8, head_dim=8, n_groups=2, chunk_size=8), {"in_proj"}),
    "jamba": (lambda: T.JambaConfig(**SIZES, num_experts=4, num_experts_per_tok=2, attn_layer_period=2,
                                    attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
                                    mamba_d_state=4, use_mamba_kernels=False),
              ATTENTION | FUSED | MLP | {"in_proj", "x_proj", "out_proj"}),
    "lfm2": (lambda: T.Lfm2Config(**SIZES, full_attn_idxs=[1]),
             {"q_proj", "k_proj", "v_proj", "out_proj", "in_proj", "w1", "w2", "w3"}),
    "rwkv": (lambda: T.RwkvConfig(vocab_size=96, context_length=64, hidden_size=32, num_hidden_layers=2),
             {"key", "value", "receptance"}),
}  # fmt: skip


def toy(name: str) -> Any:
    torch.manual_seed(0)
    config = CASES[name][0]()
    auto = T.AutoModelForSeq2SeqLM if config.is_encoder_decoder else T.AutoModelForCausalLM
    return auto.from_config(config).eval()


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(3, 75).reshape(4, 18)
    given = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {"use_cache": False}
    return model(input_ids=ids, **given).logits


def moved(model: Any) -> Any:
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("name", CASES)
def test_every_layer_that_is_asked_for_has_an_adapter_and_every_adapter_is_trained(name: str) -> None:
    found = find_targets(toy(name), "all-linear")
    assert {weight.removesuffix(".weight").rsplit(".", 1)[-1] for weight in found.weights} == CASES[name][1]
    model = moved(add_lora(toy(name), **SETTINGS)).train()
    logits(model).square().sum().backward()
    idle = [key for key, value in model.named_parameters() if value.requires_grad and not value.grad.any()]
    assert idle == []
    assert sum("lora_A" in key for key, value in model.named_parameters()) == len(found.weights)


@pytest.mark.parametrize("name", CASES)
def test_peft_alone_gives_the_same_logits_from_the_saved_adapter(name: str, tmp_path: Path) -> None:
    model = moved(add_lora(toy(name), **SETTINGS)).eval()
    assert not torch.allclose(logits(model), logits(toy(name)), atol=1e-4)
    save_adapter(model, tmp_path)
    again = PeftModel.from_pretrained(toy(name), str(tmp_path)).eval()
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=1e-5)


def test_the_share_without_an_adapter_is_told_per_kind() -> None:
    counts = uncovered(add_lora(toy("deepseek_v3"), **SETTINGS))
    assert counts == {
        "embeddings": (96 * 32, 96 * 32), "attention": (0, 2 * (8 * 32 + 32 * 8 + 12 * 32 + 48 * 8 + 32 * 32)),
        "dense MLP": (0, 3 * 48 * 32), "experts": (0, 4 * 3 * 16 * 32), "router": (4 * 32, 4 * 32),
        "shared experts": (0, 3 * 16 * 32), "head": (96 * 32, 96 * 32),
    }  # fmt: skip
    sentence = told(uncovered(add_lora(toy("qwen3_moe"), **{**SETTINGS, "targets": ["q_proj", "v_proj"]})))
    assert sentence == (
        "adapters reach no kind of weights whole; without one stay 87.6% of the weights: embeddings 100%, "
        "attention 50%, experts 100%, router 100%, head 100%"
    )
    mamba = uncovered(add_lora(toy("mamba"), **SETTINGS))
    assert mamba["recurrent"][0] == 2 * (64 * 4 + 64 * 4 + 64 * 2 + 32 * 64)  # A_log, conv1d, dt_proj, out_proj


@pytest.mark.parametrize("name", ["deepseek_v3", "mixtral", "qwen2_moe"])
def test_dropout_and_dora_on_experts_are_refused_with_both_ways_out(name: str) -> None:
    for change, way in (({"dropout": 0.1}, r"dropout=0"), ({"dora": True}, r"dora=false")):
        with pytest.raises(
            ModelError, match=rf"adapter\.d.* is .*experts of {name} .*set adapter\.{way}, or leave"
        ) as refused:
            add_lora(toy(name), **{**SETTINGS, **change})
    offered = str(refused.value).rsplit("[", 1)[1].removesuffix("]").split(", ")
    add_lora(toy(name), **{**SETTINGS, "dropout": 0.1, "dora": True, "targets": offered})


def test_the_usual_names_mean_the_experts_too() -> None:
    usual = find_targets(toy("qwen3_moe"), ["q_proj", "gate_proj", "up_proj", "down_proj"])
    layers = [f"model.layers.{layer}" for layer in range(2)]
    assert usual.modules == tuple(f"{layer}.self_attn.q_proj" for layer in layers)
    assert usual.parameters == tuple(
        f"{layer}.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj") for layer in layers
    )
    assert find_targets(toy("mixtral"), "experts").modules == ()
    assert len(find_targets(toy("deepseek_v3"), ["mlp.gate_proj"]).weights) == 1
    assert len(find_targets(toy("deepseek_v3"), ["gate_proj"]).weights) == 3


def test_a_name_that_is_not_there_or_that_the_model_goes_past_is_refused() -> None:
    with pytest.raises(ModelError, match=r"names 'query', but no linear layer of llama .* Known: down_proj, gate_proj"):
        add_lora(toy("llama"), **{**SETTINGS, "targets": ["q_proj", "query"]})
    with pytest.raises(ModelError, match=r"names 'dt_proj', but mamba goes past that layer .*leave it out"):
        add_lora(toy("mamba"), **{**SETTINGS, "targets": ["in_proj", "dt_proj"]})


def test_experts_of_a_bfloat16_mixture_keep_float32_factors() -> None:
    model = moved(add_lora(toy("qwen3_moe").bfloat16(), **SETTINGS)).train()
    logits(model).float().square().sum().backward()
    trained = [value for value in model.parameters() if value.requires_grad]
    assert {value.dtype for value in trained} == {value.grad.dtype for value in trained} == {torch.float32}


def test_a_saved_adapter_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    toy("llama").save_pretrained(tmp_path / "bases" / "tiny")
    base = T.AutoModelForCausalLM.from_pretrained(tmp_path / "bases" / "tiny")
    save_adapter(add_lora(base, **SETTINGS), tmp_path / "adapter")
    for file in (tmp_path / "adapter").glob("*.*"):
        assert str(tmp_path).encode() not in file.read_bytes(), file
    assert '"base_model_name_or_path": "tiny"' in (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert len(load_file(tmp_path / "adapter" / "adapter_model.safetensors")) == 2 * 2 * 7


def test_a_base_is_recorded_by_the_name_that_it_has_everywhere(tmp_path: Path) -> None:
    from graft import sprout

    snapshot = tmp_path / "hub" / "models--Qwen--Qwen3-0.6B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    names = {str(sprout.path()): "sprout", "Qwen/Qwen3-0.6B": "Qwen/Qwen3-0.6B", str(snapshot): "Qwen/Qwen3-0.6B"}
    assert {name: portable_name(name) for name in names} == names
    assert portable_name("/gone/models/mine") == "mine"
