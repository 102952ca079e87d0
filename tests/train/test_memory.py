from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import toy_model

from graft.errors import ConfigError, MissingExtra, TrainError
from graft.models.adapters import add_lora
from graft.models.forward import answer_logits, pad_rows
from graft.train import loop, memory
from graft.train.engine import fit
from graft.train.loop import optimizer_options
from graft.train.memory import Forecast, Memory, Usage, choose_budget, forecast, probe, set_checkpointing
from graft.train.plan import Hooks, Plan
from graft.types import TokenRow

PAD = 4090
PLAN = Plan(
    steps=4, batch_size=6, token_budget=200, learning_rate=1e-2, optimizer="adamw", schedule="linear", warmup_steps=1,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None, keep_last=2,
    layout="padded",
)  # fmt: skip


def some_rows(count: int, seed: int = 0, low: int = 3, high: int = 12) -> list[TokenRow]:
    rng = random.Random(seed)

    def ids() -> tuple[int, ...]:
        return tuple(rng.randrange(4000) for _ in range(rng.randint(low, high)))

    return [TokenRow(ids(), (*ids(), 4093)) for _ in range(count)]


def adapted(architecture: str, dropout: float = 0.0) -> torch.nn.Module:
    model = add_lora(toy_model(architecture), r=4, alpha=8, dropout=dropout, targets="all-linear", seed=0).train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


class Passes:
    """Forward and backward over rows as one micro-batch; knows how often it was asked."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.calls = 0

    def __call__(self, rows: Sequence[TokenRow]) -> None:
        self.calls += 1
        logits_NV, targets_N = answer_logits(self.model, *pad_rows(rows, PAD))
        torch.nn.functional.cross_entropy(logits_NV.float(), targets_N).backward()


def gradients(model: torch.nn.Module, rows: list[TokenRow]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    Passes(model)(rows)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def allocator_of(tokens: int, model: torch.nn.Module, failures: list[int], *, message: str = "") -> None:
    """From here on the model's layers run out of memory with more than so many tokens, as an allocator would."""

    def refuse(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].shape[:2].numel() > tokens:
            failures.append(args[0].shape[:2].numel())
            raise RuntimeError(message) if message else torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    bare.model.layers[-1].register_forward_pre_hook(refuse)


@pytest.mark.parametrize("message", ["", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"])
def test_out_of_memory_halves_the_budget_repeats_the_step_and_loses_nothing(
    tmp_path: Path, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = some_rows(24)
    small, tight = toy_model(), toy_model()
    fit(small, rows, replace(PLAN, token_budget=50), pad_id=PAD, folder=tmp_path / "small")
    failures: list[int] = []
    allocator_of(60, tight, failures, message=message)
    steps: list[int] = []
    losses: list[float] = []
    hooks = Hooks(on_step=steps.append, on_report=lambda report: losses.append(report.loss))
    result = fit(tight, rows, PLAN, pad_id=PAD, folder=tmp_path / "tight", hooks=hooks)
    assert failures
    assert steps == [1, 2, 3, 4]
    assert len(losses) == 4
    assert result.tokens == sum(map(len, rows))
    assert "token budget halved" in caplog.text
    for (name, ours), theirs in zip(tight.named_parameters(), small.parameters(), strict=True):
        assert (ours - theirs).abs().max() <= 1e-6, name


def test_a_repeated_step_draws_the_same_dropout() -> None:
    model, rows = adapted("qwen3", dropout=0.3), some_rows(4)
    torch.manual_seed(5)
    expected = gradients(model, rows)
    failed = 0

    def attempt(budget: int) -> None:
        nonlocal failed
        Passes(model)(rows)
        if not failed:
            failed = budget
            raise torch.OutOfMemoryError("CUDA out of memory")

    torch.manual_seed(5)
    model.zero_grad()
    kept = Memory(model, 1000)
    kept.run(attempt, rows)
    assert failed == 1000
    assert kept.tokens == sum(map(len, rows)) // 2
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.equal(parameter.grad, expected[name]), name


def test_another_process_that_ran_out_of_memory_has_this_one_repeat_too() -> None:
    answers, budgets = iter([True, False]), []
    model = toy_model()
    kept = Memory(model, 1000, agree=lambda failed: next(answers))

    def attempt(budget: int) -> None:
        assert all(parameter.grad is None for parameter in model.parameters())
        budgets.append(budget)
        Passes(model)(some_rows(2))

    kept.run(attempt, some_rows(4))
    assert budgets == [1000, 1000]  # the other one takes less, this one need not


def test_one_row_that_is_too_long_is_an_error_with_its_length_and_a_way_out(tmp_path: Path) -> None:
    rows = [*some_rows(23), TokenRow(tuple(range(90)), (5, 4093))]
    model = toy_model()
    allocator_of(60, model, [])
    with pytest.raises(TrainError, match=r"row of 92 tokens does not fit.*data\.max_length.*activation_checkpointing"):
        fit(model, rows, PLAN, pad_id=PAD, folder=tmp_path)


def test_an_update_without_memory_is_refused_with_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    told = r"update of step 1: adamw needs 1\.\d MB beside weights of .* gradients of .* are free; use .*adamw_8bit"
    with pytest.raises(TrainError, match=told):
        fit(toy_model(), some_rows(24), PLAN, pad_id=PAD, folder=tmp_path)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    def attempt(budget: int) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        Memory(toy_model(), 10).run(attempt, some_rows(2))


def test_a_single_row_that_does_not_fit_switches_checkpointing_on_where_it_may() -> None:
    model, rows = adapted("qwen3"), some_rows(1)
    kept, calls = Memory(model, 10, "auto"), []

    def attempt(budget: int) -> None:
        calls.append(kept.checkpoints)
        if not kept.checkpoints:
            raise torch.OutOfMemoryError("CUDA out of memory")
        Passes(model)(rows)

    kept.run(attempt, rows)
    assert calls == [False, True]
    kept.close()
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
def test_checkpointing_keeps_the_gradient_with_dropout_and_holds_less(architecture: str) -> None:
    rows = some_rows(8, low=30, high=40)
    kept, again = adapted(architecture, dropout=0.2), adapted(architecture, dropout=0.2)
    set_checkpointing(again, True)
    torch.manual_seed(3)
    plain = gradients(kept, rows)
    torch.manual_seed(3)
    recomputed = gradients(again, rows)
    for name, gradient in plain.items():
        assert (gradient - recomputed[name]).norm() <= 1e-5 * gradient.norm().clamp_min(1e-12), name
    needs = [probe(model, Passes(model), max(rows, key=len)).per_token for model in (kept, again)]
    assert needs[1] < needs[0]


def test_checkpointing_without_layers_to_compute_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match=r"engine\.activation_checkpointing is on, but qwen3"):
        Memory(model, 10, "on")


@pytest.mark.parametrize("long", [8, 60])
def test_the_measured_need_forecasts_a_pass_that_was_not_measured(long: int) -> None:
    model = adapted("llama")
    row = some_rows(1, low=long, high=long)[0]
    usage = probe(model, Passes(model), row)
    copies = 40
    model.zero_grad(set_to_none=True)
    with memory._LiveBytes((*model.parameters(), *model.buffers())) as live:
        Passes(model)([row] * copies)
    assert usage.constant + usage.per_token * copies * len(row) == pytest.approx(live.peak, rel=0.1)
    assert usage.seconds_per_token > 0


def test_a_measurement_leaves_gradients_and_random_state_as_they_were() -> None:
    model = adapted("qwen3", dropout=0.3)
    gradients(model, some_rows(3))
    before = {name: p.grad for name, p in model.named_parameters()}
    values = {name: g.clone() for name, g in before.items() if g is not None}
    state = torch.get_rng_state()
    probe(model, Passes(model), some_rows(1)[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is before[name] for name, p in model.named_parameters())
    assert all(torch.equal(before[name], value) for name, value in values.items())


def test_a_budget_of_auto_trains_to_the_same_bits_as_the_same_budget_given(tmp_path: Path) -> None:
    rows = some_rows(24)
    measured, given = adapted("qwen3", dropout=0.2), adapted("qwen3", dropout=0.2)
    fit(measured, rows, replace(PLAN, token_budget=None), pad_id=PAD, folder=tmp_path / "auto")
    fit(given, rows, replace(PLAN, token_budget=1_700), pad_id=PAD, folder=tmp_path / "given")
    assert all(torch.equal(a, b) for a, b in zip(measured.parameters(), given.parameters(), strict=True))


@pytest.mark.parametrize(
    ("device", "fits", "budget"),
    [
        ("cpu", 1_000_000, 1_700),  # what the cache holds is fastest
        ("cpu", 900, 900),
        ("cpu", 100, 300),  # at least the longest row
        ("cuda", 100_000, 98_304),  # 1.5 × 2¹⁶
        ("cuda", 90_000, 65_536),
        ("cuda", 10_000_000, 200_000),  # no more than a step holds
        ("cuda", 20, 300),
    ],
)
def test_the_budget_is_what_fits_and_what_is_fast(device: str, fits: int, budget: int) -> None:
    assert choose_budget(device, fits, longest=300, most=200_000) == budget


def test_the_forecast_counts_weights_adapters_gradients_and_optimizer_state_once() -> None:
    usage = Usage(constant=500.0, per_token=100.0, seconds_per_token=0.0)
    model = adapted("qwen3")
    sizes = [p.nbytes for p in model.parameters() if p.requires_grad]
    need = forecast(model, "adamw", usage)
    assert need.adapters == need.gradients == sum(sizes)
    assert need.optimizer == 2 * sum(sizes)
    assert need.weights + need.adapters == sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    assert forecast(model, "adamw_8bit", usage).optimizer == sum(sizes) // 2
    full = forecast(toy_model(), "adamw", usage)
    assert full.adapters == 0
    assert full.gradients <= full.weights
    assert Forecast(10**9, 0, 500, 1000, 1500, usage).tokens(free=10_000) == 50  # (0.85 × 10,000 − 3,500) / 100


def test_a_row_that_would_not_fit_is_checkpointed_from_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, rows = adapted("qwen3"), some_rows(6)
    usage = probe(model, Passes(model), max(rows, key=len))
    need = forecast(model, "adamw", usage)
    room = need.gradients + need.optimizer + usage.constant + usage.per_token * (len(max(rows, key=len)) - 1)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(room / memory.USED_SHARE))
    kept = Memory(model, 1_700, "auto")
    with caplog.at_level(logging.INFO):
        kept.plan_ahead(Passes(model), rows, step_rows=6, optimizer="adamw", fixed=False)
    assert kept.checkpoints
    assert "would not fit" in caplog.text
    kept.close()


def test_optimizers_of_bitsandbytes_need_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer_options(replace(PLAN, optimizer="adamw_8bit"))
    monkeypatch.setattr(loop, "find_spec", lambda name: None)
    optimizer_options(replace(PLAN, optimizer="adamw_torch_fused"))
    for optimizer in ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_32bit", "lion_8bit", "ademamix_8bit"):
        with pytest.raises(MissingExtra, match=r"pip install 'graft-lm\[quant\]'"):
            optimizer_options(replace(PLAN, optimizer=optimizer))
