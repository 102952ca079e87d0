"""What the engine compares with the model's own forward pass before it trains, and what it does where they differ."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import toy_model
from tests.models.families import toy_of

from graft.errors import TrainError
from graft.models import forward
from graft.models.adapters import add_lora
from graft.models.forward import Reading, reading_of
from graft.train import engine
from graft.train.layout import Layout
from graft.train.plan import Plan
from graft.train.self_check import check_engine
from graft.types import TokenRow

PLAN = Plan(
    steps=2, batch_size=4, token_budget=90, learning_rate=1e-3, optimizer="adamw", schedule="constant", warmup_steps=0,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None, keep_last=1,
)  # fmt: skip


def some_rows(count: int = 8) -> list[TokenRow]:
    rng = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 500) for _ in range(rng.randint(low, high)))

    return [TokenRow(ids(2, 25), ids(1, 9)) for _ in range(count)]


def packed(rows: list[TokenRow]) -> Layout:
    return Layout("packed", 0, longest=max(map(len, rows)), step_rows=4)


def checked(model: Any, layout: Layout | None = None, **changed: Any) -> tuple[Layout, float]:
    """The layout that is chosen and the relative error that is told."""
    rows = some_rows()
    way, facts = check_engine(model, rows, replace(PLAN, **changed), layout or packed(rows))
    return way, float(facts["checked"].removeprefix("relative error "))


def test_a_sound_engine_is_left_alone_and_its_error_told() -> None:
    for model in (toy_model(), add_lora(toy_model("llama"), r=4, alpha=8, dropout=0.1, targets="all-linear", seed=0)):
        before = {name: weight.clone() for name, weight in model.state_dict().items()}
        training, state = model.train().training, torch.get_rng_state()
        layout, error = checked(model)
        assert (layout.kind, model.training) == ("packed", training)
        assert error < 1e-5
        assert torch.equal(state, torch.get_rng_state())
        assert all(weight.grad is None for weight in model.parameters())
        assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_half_precision_is_checked_in_half_precision() -> None:
    layout, error = checked(toy_of("qwen3"), bfloat16=True)
    assert layout.kind == "packed"
    assert 1e-5 < error < 0.1


@pytest.mark.parametrize("name", ["lfm2", "mamba", "jamba"])
def test_a_state_that_leaks_is_padded(name: str, caplog: pytest.LogCaptureFixture) -> None:
    layout, error = checked(toy_of(name))  # as if the trial of packing had not seen it
    assert layout.kind == "padded"
    assert error < 1e-5
    assert "rows are padded instead of packed" in caplog.text


def test_a_mask_that_looks_ahead_is_read_row_by_row(caplog: pytest.LogCaptureFixture) -> None:
    model = toy_of("doge", keep_window_size=8)
    layout, error = checked(model)
    assert (layout.kind, reading_of(model)) == ("padded", Reading.WHOLE)
    assert error < 1e-5
    assert "rows are read one by one" in caplog.text


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("switch_transformers", {}),
        ("falcon_h1", {"lm_head_multiplier": 3.0}),
        ("gemma2", {"final_logit_softcapping": 1.0}),
        ("xlstm", {"output_logit_soft_cap": 1.0}),
    ],
)
def test_a_head_taken_for_a_layer_is_found(name: str, settings: dict[str, float]) -> None:
    model, rows = toy_of(name, **settings), some_rows()
    forward._READINGS[model] = Reading.LAYER  # a guess that is wrong
    layout = Layout("seq2seq" if model.config.is_encoder_decoder else "padded", 0)
    _, error = checked(model, layout)
    assert reading_of(model) is Reading.WHOLE
    assert error < 1e-5
    assert rows == some_rows()


def test_the_layer_that_differs_first_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy_of("qwen3")
    plain = model.model.layers[1].mlp.forward
    monkeypatch.setattr(
        model.model.layers[1].mlp, "forward",
        lambda hidden: plain(hidden) * (1.5 if model.config._attn_implementation == "graft_packed" else 1.0),
    )  # fmt: skip
    assert checked(model)[0].kind == "padded"
    assert "layer 1 differs first" in caplog.text


def test_a_model_that_never_reads_alike_is_refused() -> None:
    model = toy_of("qwen3")
    plain = model.model.layers[0].mlp.forward
    model.model.layers[0].mlp.forward = lambda hidden: plain(hidden) * (1 + torch.rand(()))
    with pytest.raises(
        TrainError, match=r"relative errors .* of the loss, .* of the gradient.*engine\.self_check: off"
    ):
        checked(model)


@pytest.mark.parametrize("on", [True, False])
def test_what_was_compared_stands_among_the_facts(on: bool, tmp_path: Path) -> None:
    result = engine.fit(toy_of("qwen3"), some_rows(), replace(PLAN, self_check=on), pad_id=0, folder=tmp_path)
    assert ("checked" in result.facts) is on
    assert not on or str(result.facts["checked"]).startswith("relative error ")


def test_the_check_changes_no_digit_of_the_training(tmp_path: Path) -> None:
    weights = []
    for on in (True, False):
        model = add_lora(toy_model(), r=4, alpha=8, dropout=0.1, targets="all-linear", seed=0)
        engine.fit(model, some_rows(), replace(PLAN, self_check=on), pad_id=0, folder=tmp_path / str(on))
        weights.append([weight.detach().clone() for weight in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
