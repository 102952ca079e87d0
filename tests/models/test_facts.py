"""Facts of a model from its config: sizes, experts and the memory forecast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.models.conftest import CAUSAL, MIXTURES, SEQ2SEQ

from graft.models.adapters import add_lora, count_parameters
from graft.models.facts import forecast_memory, model_facts
from graft.models.fields import expert_counts
from graft.models.loading import load_model

Folder = Callable[[str], Path]


@pytest.mark.parametrize("name", (*CAUSAL, *SEQ2SEQ, *MIXTURES))
def test_parameters_are_those_of_the_loaded_model(name: str, architecture_folder: Folder) -> None:
    folder = str(architecture_folder(name))
    facts, model = model_facts(folder), load_model(folder, device="cpu")
    assert facts.parameters == count_parameters(model)[0]
    assert facts.vocabulary == 4096
    assert facts.weight_bytes(4) == 4 * facts.parameters
    assert 0 < facts.embedding_share < 1
    assert facts.is_mixture == (name in MIXTURES)
    assert (facts.active_parameters < facts.parameters) == (name in MIXTURES)


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_are_found_in_the_config(name: str, architecture_folder: Folder) -> None:
    facts = model_facts(str(architecture_folder(name)))
    assert (facts.experts, facts.experts_per_token) == MIXTURES[name]


def test_active_parameters_are_counted_by_hand(architecture_folder: Folder) -> None:
    facts = model_facts(str(architecture_folder("qwen3_moe")))
    one_expert = 3 * 32 * 32  # gate, up and down
    assert facts.parameters - facts.active_parameters == 2 * 2 * one_expert  # two layers, two of four experts idle


def test_other_architectures_are_recognised_by_their_fields() -> None:
    assert expert_counts({"text_config": {"num_experts": 8, "num_experts_per_tok": 3}}) == (8, 3)
    assert expert_counts({"moe_num_experts": 16, "moe_k": 6}) == (16, 6)
    assert expert_counts({"num_experts": 0, "num_experts_per_tok": 2}) == (0, 0)
    assert expert_counts({"num_local_experts": 1}) == (0, 0)


def test_heads_context_and_layers_come_from_the_config(architecture_folder: Folder) -> None:
    facts = model_facts(str(architecture_folder("qwen3")))
    assert (facts.layers, facts.heads, facts.kv_heads, facts.context_length) == (2, 4, 2, 512)
    assert facts.embedding_parameters == 4096 * 32  # tied, so counted once
    gpt2 = model_facts(str(architecture_folder("gpt2")))
    assert (gpt2.layers, gpt2.heads, gpt2.kv_heads, gpt2.hidden_size, gpt2.context_length) == (2, 4, 4, 32, 512)
    bart = model_facts(str(architecture_folder("bart")))
    assert (bart.kind, bart.layers) == ("seq2seq", 4)


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2", "qwen3_moe", "deepseek_v3"])
def test_the_size_of_adapters_is_foretold(architecture_folder: Folder, architecture: str) -> None:
    folder = str(architecture_folder(architecture))
    model = add_lora(load_model(folder, device="cpu"), r=4, alpha=8.0, dropout=0.0, targets="all-linear", seed=0)
    assert count_parameters(model)[1] == 4 * model_facts(folder).linear_features


def test_training_everything_needs_more_than_adapters_and_those_more_than_scoring(architecture_folder: Folder) -> None:
    facts = model_facts(str(architecture_folder("llama")))
    full, lora, none = (
        forecast_memory(facts, dtype_bytes=2, trainable=count, tokens=1000)
        for count in (facts.parameters, 4 * facts.linear_features, 0)
    )
    assert full.total > lora.total > none.total
    assert full.training == 14 * facts.parameters  # weights grow by 2 bytes; gradient and two moments take 4 each
    rounded = forecast_memory(facts, dtype_bytes=2, trainable=facts.parameters, tokens=1000, rounded=True)
    assert rounded.training == 6 * facts.parameters
    assert none.training == 0
    small = forecast_memory(facts, dtype_bytes=2, quantize="nf4", tokens=1000)
    assert small.weights < none.weights
