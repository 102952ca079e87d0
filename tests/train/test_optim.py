"""Which parameter goes to which optimizer, and that the two together behave as one."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LinearLR

from graft.errors import ConfigError
from graft.train.optim import MuonAdamW, build_optimizer


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(7, 4)
        self.hidden = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.lora_A = nn.Linear(6, 2, bias=False)
        self.lm_head = nn.Linear(6, 7, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.hidden(self.embed_tokens(ids)).tanh())
        logits: torch.Tensor = self.lm_head(hidden) + self.lora_A(hidden).sum()
        return logits


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
    model = toy().requires_grad_(False)
    model.lora_A.requires_grad_(True)
    assert type(build_optimizer(model, "muon", learning_rate=1e-2)) is AdamW


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
