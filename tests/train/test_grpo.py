"""GRPO on the embedded model: what TRL trains on, what a reward gets, resuming, and the reference of the KL term."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from graft import tasks
from graft.data.borders import borders_of
from graft.data.chat import render_prompt
from graft.data.tokens import encode
from graft.errors import TrainError
from graft.models.adapters import add_lora
from graft.models.loading import load_model
from graft.tasks.words.split import package_sets
from graft.train.plan import Hooks, Plan

pytest.importorskip("trl", reason="GRPO needs the extra trl")
from graft.train.grpo import GrpoPlan, GrpoReport, fit_grpo, prompts_needed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from graft.types import Example

TASK = tasks.load("count", package_sets(train=300, eval=50, seed=0))
GRPO = GrpoPlan(group_size=4, kl=0.0, clip=0.2, updates=1, temperature=1.0, max_new_tokens=4)


def plan(**changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "steps": 3,
        "batch_size": 2,
        "token_budget": None,
        "learning_rate": 5e-4,
        "optimizer": "adamw",
        "schedule": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bfloat16": False,
        "seed": 3,
        "logging_steps": 1,
        "save_steps": None,
        "keep_last": 1,
    }
    return Plan(**{**settings, **changes})


@pytest.fixture
def sprout() -> PreTrainedModel:
    return load_model("sprout", device="cpu")


def examples(count: int) -> list[Example]:
    return list(TASK.examples("train", limit=count, seed=0))


def prompts(tokenizer: PreTrainedTokenizerBase, count: int) -> list[tuple[int, ...]]:
    return [row.prompt for row in encode(tokenizer, examples(count), max_length=256).rows]


def right(index: int, reply: str) -> float:
    return float(TASK.score(examples(8)[index], reply).lenient)


class Spy:
    """Keeps the rows that a model is trained on: real tokens with their labels."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.rows: list[tuple[list[int], list[int]]] = []
        model.model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: Any, args: Any, options: dict[str, Any]) -> None:
        if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
            return
        for ids, mask in zip(options["input_ids"], options["attention_mask"], strict=True):
            self.rows.append((ids[mask.bool()].tolist(), mask.tolist()))


def test_trl_trains_on_exactly_our_prompt_ids_and_on_the_end_of_turn(
    sprout: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    asked = prompts(tokenizer, 2)
    assert tokenizer.decode(asked[0]) == render_prompt(tokenizer, examples(1)[0].prompt or "")
    spy = Spy(sprout)
    alone = plan(steps=1, self_check=False)  # whose rows would be seen too
    fit_grpo(sprout, asked, right, alone, GRPO, tokenizer=tokenizer, folder=tmp_path)
    assert len(spy.rows) == 2 * 4
    (end,) = borders_of(tokenizer).end
    for ids, _ in spy.rows:
        (start,) = {prompt for prompt in asked if tuple(ids[: len(prompt)]) == prompt}
        reply = ids[len(start) :]
        assert 1 <= len(reply) <= 4
        assert reply[-1] == end or len(reply) == 4
    assert any(ids[-1] == end for ids, _ in spy.rows)


def test_every_prompt_of_a_step_is_answered_by_a_whole_group(
    sprout: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    asked: list[int] = []
    reports: list[GrpoReport] = []

    def reward(index: int, reply: str) -> float:
        asked.append(index)
        return right(index, reply)

    result = fit_grpo(
        sprout, prompts(tokenizer, 6), reward, plan(), GRPO, tokenizer=tokenizer, folder=tmp_path,
        hooks=Hooks(on_report=reports.append),
    )  # fmt: skip
    assert [Counter(asked[start : start + 8]) for start in (0, 8, 16)] == [{0: 4, 1: 4}, {2: 4, 3: 4}, {4: 4, 5: 4}]
    assert [report.step for report in reports] == [1, 2, 3]
    assert all(0.0 <= report.reward <= 1.0 and report.reply_tokens >= 1.0 for report in reports)
    assert result.steps == 3
    assert result.facts["replies"] == 24
    assert result.facts["final_reward"] == reports[-1].reward


def test_a_resumed_training_ends_with_the_very_same_weights(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    def train(folder: Path, stop_at: int | None = None) -> PreTrainedModel:
        model = load_model("sprout", device="cpu")

        def on_step(step: int) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        fit_grpo(
            model, prompts(tokenizer, 8), right, plan(steps=4, save_steps=2), GRPO, tokenizer=tokenizer, folder=folder,
            hooks=Hooks(on_step=on_step),
        )  # fmt: skip
        return model

    whole = train(tmp_path / "whole").state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", stop_at=3)
    resumed = train(tmp_path / "stopped").state_dict()
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


@pytest.mark.parametrize("adapter", [False, True])
def test_the_divergence_is_measured_from_the_model_as_it_was_handed_over(
    sprout: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, adapter: bool
) -> None:
    with torch.no_grad():
        sprout.model.norm.weight.mul_(0.5)  # a model that no name could load again
    model = add_lora(sprout, r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0) if adapter else sprout
    reports: list[GrpoReport] = []
    grpo = GrpoPlan(group_size=4, kl=0.1, clip=0.2, updates=1, temperature=1.0, max_new_tokens=4)
    fit_grpo(
        model, prompts(tokenizer, 6), right, plan(learning_rate=3e-3), grpo, tokenizer=tokenizer, folder=tmp_path,
        hooks=Hooks(on_report=reports.append),
    )  # fmt: skip
    assert reports[0].kl == pytest.approx(0.0, abs=1e-6)
    assert reports[2].kl > 1e-4


def test_several_updates_reuse_a_batch_of_replies(
    sprout: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    grpo = GrpoPlan(group_size=4, kl=0.0, clip=0.01, updates=2, temperature=1.0, max_new_tokens=4)
    assert prompts_needed(plan(), grpo) == 4
    reports: list[GrpoReport] = []
    result = fit_grpo(
        sprout, prompts(tokenizer, 4), lambda index, reply: float(reply == "2"),
        plan(learning_rate=3e-3), grpo, tokenizer=tokenizer, folder=tmp_path, hooks=Hooks(on_report=reports.append),
    )  # fmt: skip
    assert result.facts["replies"] == 2 * 8
    assert [report.clipped > 0 for report in reports] == [False, True, False]


def test_training_leaves_the_model_ready_to_be_scored(
    sprout: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    fit_grpo(sprout, prompts(tokenizer, 2), right, plan(steps=1), GRPO, tokenizer=tokenizer, folder=tmp_path)
    assert not sprout.training
    assert "forward" not in vars(sprout)
    assert sprout.config.use_cache


def test_wrong_counts_and_rewards_that_are_no_numbers_are_refused(
    sprout: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    with pytest.raises(TrainError, match=r"^3 steps of GRPO need 6 prompts, but got 5$"):
        fit_grpo(sprout, prompts(tokenizer, 5), right, plan(), GRPO, tokenizer=tokenizer, folder=tmp_path)
    with pytest.raises(TrainError, match="the reward of a reply to prompt 0 is nan"):
        fit_grpo(
            sprout, prompts(tokenizer, 2), lambda index, reply: math.nan, plan(steps=1), GRPO, tokenizer=tokenizer,
            folder=tmp_path,
        )  # fmt: skip
