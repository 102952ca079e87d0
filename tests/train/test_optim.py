"""Which parameter goes to which optimizer, and that the two together behave as one."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from tests.conftest import toy_model
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LinearLR
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from graft.errors import ConfigError
from graft.models.adapters import add_lora
from graft.train.optim import MuonAdamW, build_optimizer


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.lm_head = nn.Linear(6, 7, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.hidden(self.embed_tokens(ids)).tanh())
        logits: torch.Tensor = self.lm_head(hidden)
        return logits

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


def toy() -> Toy:
    torch.manual_seed(0)
    return Toy()


def train(model: nn.Module, optimizer: Optimizer, steps: int, scheduler: Any = None) -> None:
    ids = torch.arange(7)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids), ids.roll(1)).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}


def test_only_hidden_matrices_go_to_muon() -> None:
    model = toy()
    optimizer = build_optimizer(model, "muon", learning_rate=1e-2)
    assert isinstance(optimizer, MuonAdamW)
    assert names(model, optimizer.param_groups[0]["params"]) == {"hidden.weight"}


def test_every_trainable_parameter_is_in_exactly_one_group() -> None:
    model = toy()
    model.norm.requires_grad_(False)
    for name in ("adamw", "muon"):
        groups = build_optimizer(model, name, learning_rate=1e-2).param_groups
        held = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_vectors_are_not_decayed_and_tables_are() -> None:
    model = toy()
    for group in build_optimizer(model, "muon", learning_rate=1e-2, weight_decay=0.3).param_groups:
        is_matrix = {parameter.ndim >= 2 for parameter in group["params"]}
        assert is_matrix == {group["weight_decay"] == 0.3}


def test_lora_alone_is_trained_by_adamw() -> None:
    model = add_lora(toy_model("qwen3"), r=2, alpha=4, dropout=0.0, targets="all-linear", seed=0, dora=True)
    assert type(build_optimizer(model, "muon", learning_rate=1e-2)) is AdamW


@pytest.mark.parametrize(
    ("name", "settings", "matrices"),
    [
        ("gpt2", {"n_embd": 8, "n_layer": 1, "n_head": 2}, {"c_attn", "c_proj", "c_fc"}),  # not wte, wpe; Conv1D
        ("gpt_neox", {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
         {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),  # not embed_in, embed_out
        ("mamba", {"hidden_size": 8, "state_size": 4, "num_hidden_layers": 1},
         {"in_proj", "x_proj", "dt_proj", "out_proj"}),  # not A_log, a matrix of rates; not conv1d
        ("t5", {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2},
         {"q", "k", "v", "o", "wi", "wo"}),  # not shared, relative_attention_bias
    ],
)  # fmt: skip
def test_muon_gets_matrices_by_what_they_are_not_by_their_names(
    name: str, settings: dict[str, int], matrices: set[str]
) -> None:
    config = CONFIG_MAPPING[name](vocab_size=16, tie_word_embeddings=name == "gpt2", **settings)
    kind = AutoModelForSeq2SeqLM if name == "t5" else AutoModelForCausalLM
    model = kind.from_config(config)
    optimizer = build_optimizer(model, "muon", learning_rate=1e-2)
    assert {key.split(".")[-2] for key in names(model, optimizer.param_groups[0]["params"])} == matrices


def test_muon_turns_any_matrix_gradient_into_a_step_of_the_stated_size() -> None:
    model = nn.Linear(64, 64, bias=False)
    before = model.weight.detach().clone()
    optimizer = build_optimizer(model, "muon", learning_rate=1e-2)
    model.weight.grad = 1e-3 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    step = model.weight.detach() - before
    assert step.square().mean().sqrt().item() == pytest.approx(0.2 * 1e-2, rel=0.2)  # 0.2 is AdamW's usual update RMS


def test_the_rest_steps_as_plain_adamw_does() -> None:
    mixed, plain = toy(), toy()
    train(mixed, build_optimizer(mixed, "muon", learning_rate=1e-2), 1)
    train(plain, build_optimizer(plain, "adamw", learning_rate=1e-2), 1)
    torch.testing.assert_close(mixed.embed_tokens.weight, plain.embed_tokens.weight, rtol=0, atol=0)
    assert not torch.equal(mixed.hidden.weight, plain.hidden.weight)


def test_training_lowers_the_loss() -> None:
    model, ids = toy(), torch.arange(7)
    before = nn.functional.cross_entropy(model(ids), ids.roll(1)).item()
    train(model, build_optimizer(model, "muon", learning_rate=2e-2), 40)
    assert nn.functional.cross_entropy(model(ids), ids.roll(1)).item() < 0.5 * before


def test_a_scheduler_moves_both_parts() -> None:
    model = toy()
    optimizer = build_optimizer(model, "muon", learning_rate=1e-2)
    scheduler = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=2)
    train(model, optimizer, 2, scheduler)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0] * len(optimizer.param_groups)
    frozen = copy.deepcopy(model.state_dict())
    train(model, optimizer, 1)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, frozen[name], rtol=0, atol=0)


def test_a_resumed_training_is_bit_for_bit_the_uninterrupted_one() -> None:
    straight = toy()
    train(straight, build_optimizer(straight, "muon", learning_rate=1e-2), 6)

    broken = toy()
    optimizer = build_optimizer(broken, "muon", learning_rate=1e-2)
    train(broken, optimizer, 3)
    file = io.BytesIO()
    torch.save({"model": broken.state_dict(), "optimizer": optimizer.state_dict()}, file)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    resumed = toy()
    resumed.load_state_dict(saved["model"])
    again = build_optimizer(resumed, "muon", learning_rate=1e-2)
    again.load_state_dict(saved["optimizer"])
    train(resumed, again, 3)

    for name, value in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_the_state_dict_holds_a_state_for_every_parameter() -> None:
    model = toy()
    optimizer = build_optimizer(model, "muon", learning_rate=1e-2)
    train(model, optimizer, 1)
    assert len(optimizer.state_dict()["state"]) == sum(1 for _ in model.parameters())


def test_a_misspelt_optimizer_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'muon'"):
        build_optimizer(toy(), "muno", learning_rate=1e-2)
