from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from tests.conftest import toy_model
from tests.models.families import toy_of

pytest.importorskip("trl", reason="needs pip install 'graft-lm[trl]'")

from graft.errors import ConfigError, TrainError
from graft.models.adapters import add_lora
from graft.runs.manifest import MARKER
from graft.train import engine, trl_engine
from graft.train.plan import FitResult, Hooks, Plan, StepReport
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAD = 4090
STEPS = 10
PLAN = Plan(
    steps=STEPS, batch_size=6, token_budget=60, learning_rate=3e-3, optimizer="adamw", schedule="cosine",
    warmup_steps=2, weight_decay=0.01, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None,
    keep_last=2,
)  # fmt: skip


def some_rows(count: int) -> list[TokenRow]:
    """Rows of 2 to 22 tokens, eleven different ones in turn; every fifth has no prompt."""
    rng = random.Random(1)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4000) for _ in range(rng.randint(low, high)))

    rows = [TokenRow(ids(3, 12) if index % 5 else (), (*ids(1, 9), 4093)) for index in range(11)]
    return [rows[index % 11] for index in range(count)]


def model(kind: str, architecture: str = "qwen3") -> PreTrainedModel:
    toy = toy_model(architecture)
    return add_lora(toy, r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0) if kind == "lora" else toy


def trained(
    name: str, kind: str, folder: Path, plan: Plan = PLAN, architecture: str = "qwen3"
) -> tuple[list[StepReport], FitResult, PreTrainedModel]:
    reports: list[StepReport] = []
    fit = {"native": engine.fit, "trl": trl_engine.fit}[name]
    toy = model(kind, architecture)
    result = fit(
        toy, some_rows(plan.rows), plan, pad_id=PAD, folder=folder / name, hooks=Hooks(on_report=reports.append)
    )
    return reports, result, toy


@pytest.mark.parametrize(
    ("kind", "optimizer", "weights"),
    [("lora", "adamw", 1e-4), ("full", "adamw", 1e-4), ("full", "muon", 0.05)],  # Muon orthogonalises in bfloat16
)
def test_native_equals_trl_step_for_step(kind: str, optimizer: str, weights: float, tmp_path: Path) -> None:
    plan = replace(PLAN, optimizer=optimizer)
    native, native_result, native_model = trained("native", kind, tmp_path, plan)
    theirs, trl_result, trl_model = trained("trl", kind, tmp_path, plan)
    assert [report.step for report in native] == [report.step for report in theirs] == list(range(1, STEPS + 1))
    for ours, other in zip(native, theirs, strict=True):
        assert ours.loss == pytest.approx(other.loss, abs=1e-4)
        assert ours.learning_rate == other.learning_rate
        assert ours.grad_norm == pytest.approx(other.grad_norm, rel=1e-2 if optimizer == "muon" else 1e-3)
    assert native[-1].loss < native[0].loss - 0.05  # something was learned
    for (name, start), a, b in zip(
        model(kind).named_parameters(), native_model.parameters(), trl_model.parameters(), strict=True
    ):
        assert (a - b).norm() <= weights * (a - start).norm(), name
    assert (native_result.tokens, native_result.trained_tokens) == (trl_result.tokens, trl_result.trained_tokens)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3-moe"])
def test_other_architectures_agree_too(architecture: str, tmp_path: Path) -> None:
    plan = replace(PLAN, steps=3)
    native, _, _ = trained("native", "full", tmp_path, plan, architecture)
    theirs, _, _ = trained("trl", "full", tmp_path, plan, architecture)
    assert [r.loss for r in native] == pytest.approx([r.loss for r in theirs], abs=1e-4)


@pytest.mark.parametrize("budget", [1, 44, 10_000])
def test_trls_parts_of_a_step_never_change_its_losses(budget: int, tmp_path: Path) -> None:
    native, _, _ = trained("native", "lora", tmp_path, replace(PLAN, steps=3))
    theirs, _, _ = trained("trl", "lora", tmp_path, replace(PLAN, steps=3, token_budget=budget))
    assert [r.loss for r in native] == pytest.approx([r.loss for r in theirs], abs=1e-5)


def test_a_step_is_cut_into_equal_parts_within_the_budget() -> None:
    rows = [TokenRow((), tuple(range(10)))] * 12
    sizes = {budget: trl_engine.rows_at_once(rows, replace(PLAN, batch_size=12), budget) for budget in
             (5, 10, 25, 59, 60, 1000)}  # fmt: skip
    assert sizes == {5: 1, 10: 1, 25: 2, 59: 4, 60: 6, 1000: 12}


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3-moe"])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("name", ["native", "trl"])
def test_either_leaves_a_plain_model_behind(architecture: str, bfloat16: bool, name: str, tmp_path: Path) -> None:
    before = toy_model(architecture)
    _, _, after = trained(name, "full", tmp_path, replace(PLAN, steps=1, bfloat16=bfloat16), architecture)
    assert "forward" not in vars(after)
    assert not after.training
    assert after.config.to_dict() == before.config.to_dict()
    assert after.generation_config.to_dict() == before.generation_config.to_dict()
    assert after(torch.tensor([[1, 2, 3]])).logits.dtype == torch.float32


def test_bfloat16_losses_stay_close(tmp_path: Path) -> None:
    plan = replace(PLAN, bfloat16=True)
    native, _, _ = trained("native", "lora", tmp_path, plan)
    theirs, _, _ = trained("trl", "lora", tmp_path, plan)
    assert [r.loss for r in native] == pytest.approx([r.loss for r in theirs], abs=0.02)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_training_by_trl_that_was_cut_short_ends_in_the_same_weights(kind: str, tmp_path: Path) -> None:
    plan = replace(PLAN, steps=6, save_steps=2)
    _, _, whole = trained("trl", kind, tmp_path / "whole", plan)

    def stop_at(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    folder = tmp_path / "cut"
    cut = model(kind)
    with pytest.raises(KeyboardInterrupt):
        trl_engine.fit(cut, some_rows(36), plan, pad_id=PAD, folder=folder, hooks=Hooks(on_step=stop_at))
    assert "forward" not in vars(cut)
    kept = sorted(path.name for path in folder.glob("checkpoint-*") if (path / MARKER).is_file())
    assert kept == ["checkpoint-2", "checkpoint-4"]
    continued, steps = model(kind), list[int]()
    trl_engine.fit(continued, some_rows(36), plan, pad_id=PAD, folder=folder, hooks=Hooks(on_step=steps.append))
    assert steps == [5, 6]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), continued.parameters(), strict=True))


def test_a_training_begun_by_trl_is_continued_by_graft(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=6, save_steps=4, schedule="constant")
    rows = some_rows(36)

    def stop(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trl_engine.fit(model("lora"), rows, plan, pad_id=PAD, folder=tmp_path / "native", hooks=Hooks(on_step=stop))
    continued, _, _ = trained("native", "lora", tmp_path, plan)
    whole, _, _ = trained("native", "lora", tmp_path / "whole", plan)
    assert [r.step for r in continued] == [5, 6]
    assert [r.loss for r in continued] == pytest.approx([r.loss for r in whole[-2:]], abs=1e-4)


def test_a_head_that_trl_guesses_wrong_is_refused_before_the_first_step(tmp_path: Path) -> None:
    capped, rows = toy_of("recurrent_gemma", logits_soft_cap=0.5), [TokenRow((3, 4, 5), (6, 7)), TokenRow((8,), (9,))]
    plan = replace(PLAN, steps=1, batch_size=2, warmup_steps=0)
    with pytest.raises(TrainError, match=r"TRL does not compute what RecurrentGemmaForCausalLM does.*self_check: off"):
        trl_engine.fit(capped, rows, plan, pad_id=0, folder=tmp_path)


@pytest.mark.slow
def test_what_trl_computes_is_compared_and_stored(tmp_path: Path) -> None:
    rows = some_rows(6)
    result = trl_engine.fit(model("full"), rows, replace(PLAN, steps=1), pad_id=PAD, folder=tmp_path)
    assert float(str(result.facts["checked"]).removeprefix("relative error ")) < 1e-5


def test_bad_input_is_refused_as_by_graft(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="10 steps need 55 to 60 rows, but got 54"):
        trl_engine.fit(model("lora"), some_rows(54), PLAN, pad_id=PAD, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"train\.optimizer is 'adamv'.*Did you mean 'adamw'"):
        trained("trl", "lora", tmp_path, replace(PLAN, optimizer="adamv"))
    broken = model("full")
    with torch.no_grad():
        broken.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(TrainError, match=r"loss became nan at step 1.*lower train\.learning_rate"):
        trl_engine.fit(broken, some_rows(60), PLAN, pad_id=PAD, folder=tmp_path)


def test_what_trl_cannot_train_is_said_in_one_line(tmp_path: Path) -> None:
    on_head = add_lora(toy_model("llama"), r=4, alpha=8, dropout=0.0, targets=["lm_head"], seed=0)
    with pytest.raises(TrainError, match=r"TRL refuses this training: .*lm_head.*use engine\.name: native"):
        trl_engine.fit(on_head, some_rows(60), PLAN, pad_id=PAD, folder=tmp_path)


def test_trl_without_padding_trains_the_same(tmp_path: Path) -> None:
    plan, rows = replace(PLAN, steps=3), some_rows(18)
    losses = {}
    for padding_free in (False, True):
        reports: list[StepReport] = []
        folder = tmp_path / str(padding_free)
        trl_engine.fit(model("lora"), rows, plan, pad_id=PAD, folder=folder, hooks=Hooks(on_report=reports.append),
                       padding_free=padding_free)  # fmt: skip
        losses[padding_free] = [report.loss for report in reports]
    assert losses[True] == pytest.approx(losses[False], abs=1e-4)
