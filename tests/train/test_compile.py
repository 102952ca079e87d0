from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import toy_model

from graft.errors import ConfigError, TrainError
from graft.models.adapters import add_lora
from graft.models.forward import answer_logits
from graft.train import compile as compiling
from graft.train.compile import Compiled, decide, decoder_layers, missing_tools
from graft.train.engine import fit
from graft.train.memory import set_checkpointing
from graft.train.plan import Plan
from graft.types import TokenRow

PLAN = Plan(
    steps=4, batch_size=6, token_budget=64, learning_rate=1e-3, optimizer="adamw", schedule="linear", warmup_steps=1,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None, keep_last=2,
)  # fmt: skip

KNOWN = {"layers": 36, "shapes": 1, "steps": 1000, "step_seconds": 1.0, "tools": None}


def adapted(architecture: str = "qwen3") -> torch.nn.Module:
    model = add_lora(toy_model(architecture), r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0).train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def passes(model: torch.nn.Module, width: int = 16) -> Callable[[], None]:
    ids_BT = torch.arange(2 * width).reshape(2, width) % 97

    def work() -> None:
        logits_NV, targets_N = answer_logits(model, ids_BT, ids_BT)
        torch.nn.functional.cross_entropy(logits_NV.float(), targets_N).backward()

    return work


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    passes(model)()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, gradient in first.items():
        assert (gradient - second[name]).norm() <= 1e-5 * gradient.norm(), name


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Capture, guards and differentiation as always, but without generating code: seconds instead of minutes."""
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_a_long_training_on_cuda_is_compiled_and_the_estimate_is_told() -> None:
    decision = decide("auto", "cuda", **KNOWN)
    assert decision.compiles
    assert decision.why == "compiling 36 layers, about 38 s, pays from 95 steps"


@pytest.mark.parametrize(
    ("device", "change", "why"),
    [
        ("cuda", {"steps": 94}, "pays from 95 steps; there are 94"),
        ("cuda", {"shapes": None}, "no fixed shapes"),
        ("cuda", {"tools": "triton is missing"}, "triton is missing"),
        ("cpu", {}, "on cpu it does not pay"),
    ],
)
def test_what_does_not_pay_is_not_compiled(device: str, change: dict[str, object], why: str) -> None:
    decision = decide("auto", device, **{**KNOWN, **change})
    assert not decision.compiles
    assert why in decision.why


def test_compiling_that_was_asked_for_without_a_compiler_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    tools = missing_tools("cpu")
    with pytest.raises(ConfigError, match=r"engine\.compile is on, but there is no C\+\+ compiler: install g\+\+"):
        decide("on", "cpu", **{**KNOWN, "tools": tools})
    assert not decide("off", "cpu", **{**KNOWN, "tools": tools}).compiles


def test_captured_layers_have_the_gradient_of_plain_ones_and_leave_no_trace(traced_only: None) -> None:
    model = adapted()
    plain, names = gradients(model), list(model.state_dict())
    compiled = Compiled(model, shapes=1)
    assert compiled.warm_up(passes(model), required=True)
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    assert_alike(plain, gradients(model))
    assert list(model.state_dict()) == names
    before = compiling._versions()
    compiled.close()
    assert_alike(plain, gradients(model))
    assert compiling._versions() == before
    assert all(layer._compiled_call_impl is None for layer in decoder_layers(model))


def test_checkpointed_layers_are_captured_too(traced_only: None) -> None:
    model = adapted("gpt2")
    plain = gradients(model)
    set_checkpointing(model, True)
    compiled = Compiled(model, shapes=1)
    assert compiled.warm_up(passes(model), required=True)
    assert_alike(plain, gradients(model))
    compiled.close()


def test_a_recompile_after_the_warm_up_is_told_with_its_cause(
    traced_only: None, caplog: pytest.LogCaptureFixture
) -> None:
    model = adapted()
    compiled = Compiled(model, shapes=1)
    compiled.warm_up(passes(model), required=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            compiled.run(passes(model), {(2, 16)})
        assert "compiled again" not in caplog.text
        model.eval()  # what a guard sees
        compiled.run(passes(model), {(2, 16)})
    compiled.close()
    assert re.search(r"compiled again after the warm-up: \d+/\d+: .*mismatch", caplog.text)


def test_shapes_beyond_the_fixed_ones_run_uncompiled(traced_only: None, caplog: pytest.LogCaptureFixture) -> None:
    model = adapted()
    compiled = Compiled(model, shapes=1)
    compiled.warm_up(passes(model), required=True)
    compiled.run(passes(model), {(2, 16)})
    before = compiling._versions()
    with caplog.at_level(logging.WARNING):
        compiled.run(passes(model, width=20), {(2, 20)})
    compiled.close()
    assert compiling._versions() == before
    assert "beyond the 1 fixed" in caplog.text


def test_layers_that_cannot_be_captured_whole_are_compiled_in_parts(
    traced_only: None, caplog: pytest.LogCaptureFixture
) -> None:
    model = adapted()
    plain = gradients(model)
    for layer in decoder_layers(model):
        layer.mlp.register_forward_hook(lambda module, args, output: torch._dynamo.graph_break())
    compiled = Compiled(model, shapes=1)
    assert compiled.warm_up(passes(model), required=True)
    assert_alike(plain, gradients(model))
    compiled.close()
    assert "cannot be compiled as a whole" in caplog.text


@pytest.mark.parametrize("required", [True, False])
def test_a_failing_compiler_stops_only_who_asked_for_it(
    required: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(graph: object, inputs: object) -> None:
        raise OSError("cc1plus was killed")

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", broken)
    model = adapted()
    plain = gradients(model)
    compiled = Compiled(model, shapes=1)
    if required:
        with pytest.raises(TrainError, match=r"cc1plus was killed.*engine\.compile: off"):
            compiled.warm_up(passes(model), required=True)
    else:
        assert not compiled.warm_up(passes(model), required=False)
        assert "cc1plus was killed" in caplog.text
    assert_alike(plain, gradients(model))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_generated_code_has_the_gradient_of_the_plain_layers() -> None:
    model = adapted()
    plain = gradients(model)
    compiled = Compiled(model, shapes=1)
    assert compiled.warm_up(passes(model), required=True)
    assert_alike(plain, gradients(model))
    compiled.close()


@pytest.mark.slow
def test_an_engine_that_compiles_trains_like_one_that_does_not(
    traced_only: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, compiled = adapted(), adapted()
    rows = [TokenRow(tuple(range(3 + n % 5)), (*range(50, 55 + n % 7), 4093)) for n in range(24)]
    told = fit(plain, rows, PLAN, pad_id=4090, folder=tmp_path / "plain")
    names = [*compiled.state_dict()]
    result = fit(compiled, rows, replace(PLAN, compile="on"), pad_id=4090, folder=tmp_path / "compiled")
    assert result.facts["compiled"] is True
    assert told.facts["compiled"] is False
    assert result.final_loss == pytest.approx(told.final_loss, rel=1e-4)
    assert [*compiled.state_dict()] == names
    assert "compiled again" not in caplog.text
    assert all(layer._compiled_call_impl is None for layer in decoder_layers(compiled))
