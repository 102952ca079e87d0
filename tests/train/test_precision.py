"""Weights of 16 bits move, gradients stay in range, and a resumed training keeps its bits."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import toy_model

from graft.errors import ConfigError
from graft.models.adapters import add_lora
from graft.train import precision, trl_engine
from graft.train.engine import fit
from graft.train.memory import Usage, forecast
from graft.train.plan import Hooks, Plan
from graft.train.precision import FIRST_SCALE, LossScale, Weights, arithmetic, choose_arithmetic
from graft.types import TokenRow

PAD = 4090
PLAN = Plan(
    steps=8, batch_size=4, token_budget=64, learning_rate=5e-5, optimizer="adamw", schedule="constant", warmup_steps=0,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=True, seed=0, logging_steps=1, save_steps=None, keep_last=2,
)  # fmt: skip


def some_rows(count: int = 32) -> list[TokenRow]:
    rng = random.Random(0)
    return [TokenRow(tuple(rng.randrange(4000) for _ in range(5)), (rng.randrange(40), 4093)) for _ in range(count)]


def model_in(dtype: torch.dtype) -> torch.nn.Module:
    return toy_model().to(dtype)


def way(model: torch.nn.Module) -> torch.Tensor:
    """How far every weight has gone from where it began."""
    start = model_in(torch.bfloat16)
    return torch.cat(
        [(a.double() - b.double()).flatten() for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    )


@pytest.fixture(scope="module")
def exact_way(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The same for a training in float32 from the same weights."""
    model = model_in(torch.bfloat16).float()
    fit(model, some_rows(), PLAN, pad_id=PAD, folder=tmp_path_factory.mktemp("exact"))
    return way(model)


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory in which float32 masters would not fit."""
    monkeypatch.setattr(precision, "free_bytes", lambda device: 1)


def along(model: torch.nn.Module, exact_way: torch.Tensor) -> float:
    """How far the weights have gone on the way that they would go in float32, as a share of it."""
    return float((way(model) @ exact_way / (exact_way @ exact_way)).detach())


@pytest.mark.parametrize("engine", [fit, pytest.param(trl_engine.fit, marks=pytest.mark.slow)])
def test_full_fine_tuning_in_bfloat16_goes_as_far_as_in_float32(
    engine: Callable[..., object], exact_way: torch.Tensor, tmp_path: Path
) -> None:
    model = model_in(torch.bfloat16)
    engine(model, some_rows(), PLAN, pad_id=PAD, folder=tmp_path)
    assert along(model, exact_way) == pytest.approx(1.0, abs=0.1)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_where_masters_do_not_fit_bfloat16_is_rounded_stochastically(
    no_room: None, exact_way: torch.Tensor, tmp_path: Path
) -> None:
    model = model_in(torch.bfloat16)
    result = fit(model, some_rows(), PLAN, pad_id=PAD, folder=tmp_path)
    assert result.facts["trained_weights"] == Weights.ROUNDED.value
    assert along(model, exact_way) == pytest.approx(1.0, abs=0.1)


def test_other_optimizers_keep_masters_whatever_the_memory(no_room: None) -> None:
    assert choose_arithmetic(model_in(torch.bfloat16), replace(PLAN, optimizer="muon")).weights is Weights.MASTERS
    assert choose_arithmetic(model_in(torch.float16), replace(PLAN, bfloat16=False)).weights is Weights.MASTERS


def test_adapters_and_float32_weights_are_left_as_they_are(tmp_path: Path) -> None:
    lora = add_lora(model_in(torch.bfloat16), r=2, alpha=4, dropout=0.0, targets="all-linear", seed=0)
    for model in (lora, model_in(torch.float32)):
        before = {name: weight.dtype for name, weight in model.named_parameters()}
        with arithmetic(model, PLAN, tmp_path) as types:
            assert types.weights is Weights.PLAIN
            assert {name: weight.dtype for name, weight in model.named_parameters()} == before


def test_tied_weights_stay_tied_and_measurements_see_what_will_be_saved(tmp_path: Path) -> None:
    model = model_in(torch.bfloat16)
    with arithmetic(model, PLAN, tmp_path) as types:
        assert model.lm_head.weight is model.model.embed_tokens.weight
        with torch.no_grad():
            model.lm_head.weight += 1e-4
        masters = model.lm_head.weight.clone()
        measure = types.as_scored(lambda seen: {"half": float(seen.lm_head.weight.dtype == torch.bfloat16)})
        assert measure is not None
        assert measure(model) == {"half": 1.0}
        assert torch.equal(model.lm_head.weight, masters)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, masters.bfloat16())


def test_masters_stand_in_the_forecast_before_and_after_they_are_made(tmp_path: Path) -> None:
    model, usage = model_in(torch.bfloat16), Usage(0.0, 0.0, 0.0)
    numbers = sum(weight.numel() for weight in model.parameters())
    before = forecast(model, "adamw", usage)
    assert (before.masters, before.gradients, before.optimizer) == (2 * numbers, 4 * numbers, 8 * numbers)
    rounded = forecast(model, "adamw", usage, raises=False)
    assert (rounded.masters, rounded.gradients, rounded.optimizer) == (0, 2 * numbers, 4 * numbers)
    with arithmetic(model, PLAN, tmp_path):
        after = forecast(model, "adamw", usage)
    assert (after.masters, after.to_come) == (0, before.to_come - before.masters)


@pytest.mark.parametrize("kept", ["masters", "rounded", pytest.param("float16", marks=pytest.mark.slow)])
def test_a_resumed_training_of_16_bits_ends_in_the_same_bits(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kept == "rounded":
        monkeypatch.setattr(precision, "free_bytes", lambda device: 1)
    dtype = torch.float16 if kept == "float16" else torch.bfloat16
    plan = replace(PLAN, steps=4, save_steps=2, learning_rate=1e-3, bfloat16=kept != "float16")
    straight, resumed = model_in(dtype), model_in(dtype)
    fit(straight, some_rows(16), plan, pad_id=PAD, folder=tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-4")
    monkeypatch.setattr(precision, "free_bytes", lambda device: 10**12 if kept == "rounded" else 1)
    done: list[int] = []
    fit(resumed, some_rows(16), plan, pad_id=PAD, folder=tmp_path, hooks=Hooks(on_step=done.append))
    assert done == [3, 4]
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("adapted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_float16_trains_as_float32_does(adapted: bool, tmp_path: Path) -> None:
    told: dict[torch.dtype, list[float]] = {}
    for dtype in (torch.float32, torch.float16):
        model = model_in(dtype)
        if adapted:
            model = add_lora(model, r=2, alpha=4, dropout=0.0, targets="all-linear", seed=0)
        losses: list[float] = []
        hooks = Hooks(on_report=lambda report, losses=losses: losses.append(report.loss))
        plan = replace(PLAN, steps=4, bfloat16=False, learning_rate=1e-3)
        fit(model, some_rows(16), plan, pad_id=PAD, folder=tmp_path / str(dtype), hooks=hooks)
        told[dtype] = losses
    assert told[torch.float16] == pytest.approx(told[torch.float32], rel=2e-3)


def test_a_gradient_that_overflows_is_made_again_with_half_the_scale() -> None:
    model, scale, asked = torch.nn.Linear(2, 1), LossScale(), []
    model.device = torch.device("cpu")

    def attempt() -> torch.Tensor:
        asked.append((scale.value, float(torch.rand(()))))
        model.weight.grad = torch.full((1, 2), 3.0 * scale.value if scale.value < FIRST_SCALE / 2 else torch.inf)
        return torch.ones(2)

    scale.run(model, attempt)
    assert [value for value, _ in asked] == [FIRST_SCALE, FIRST_SCALE / 2, FIRST_SCALE / 4]
    assert len({drawn for _, drawn in asked}) == 1  # dropout draws the same again
    assert torch.equal(model.weight.grad, torch.full((1, 2), 3.0))


def test_a_loss_that_is_no_number_is_not_tried_for_ever() -> None:
    model, scale = torch.nn.Linear(2, 1), LossScale()
    model.device = torch.device("cpu")
    model.weight.grad = torch.full((1, 2), torch.nan)
    assert torch.isnan(scale.run(model, lambda: torch.full((2,), torch.nan))[0])


def test_trl_says_that_it_cannot_scale_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16, which TRL trains on GPUs only"):
        trl_engine.fit(model_in(torch.float16), some_rows(), replace(PLAN, bfloat16=False), pad_id=PAD, folder=tmp_path)
