"""Reinforcement learning with verifiable rewards: group-relative policy optimisation (GRPO) through TRL.

TRL computes advantages, loss and updates. It never sees a text: prompts come as token ids, rendered by `graft.data`,
replies are drawn by the backend that also writes the replies of an evaluation, and what a reply is worth is asked of
the caller. So the model is trained on the very prompts, end-of-turn ids and texts that it is scored on.

Source: Shao et al. 2024, "DeepSeekMath", section 4.1 (groups, clipping, KL estimator); Yu et al. 2025, "DAPO", section
3.3 (the loss is the mean over all reply tokens of the step, as everywhere in Graft).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

from graft.errors import TrainError
from graft.models.backends.transformers import TransformersBackend
from graft.train.loop import GraftLoop, Watcher, loop_options, own_optimizer, run_loop
from graft.train.memory import token_budget
from graft.train.plan import SILENT, FitResult, Hooks, Plan
from graft.train.precision import Arithmetic, arithmetic
from graft.train.self_check import check_losses
from graft.train.trl_engine import as_it_was, fused_losses, mixed_precision
from graft.types import Completion, Prompt, Sampling, TokenRow

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # `rollout_func` is what keeps TRL away from our prompts

from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_REPLY_FACTS = {
    "reward": "reward",
    "reward_std": "reward_std",
    "no_signal": "frac_reward_zero_std",
    "reply_tokens": "completions/mean_length",
    "cut": "completions/clipped_ratio",
}
"""What a report says of the replies, with TRL's name of it."""


@dataclass(frozen=True, slots=True)
class GrpoPlan:
    """What GRPO needs beside the plan of the training.

    Attributes:
        group_size: replies per prompt, at least 2; their mean reward is the baseline.
        kl: weight of the KL divergence from the untrained model; 0 keeps no reference.
        clip: the probability ratio is clipped to 1 ± this, in (0, 1).
        updates: optimizer steps on each batch of replies, at least 1.
        temperature: divides the logits before a token is drawn, above 0.
        max_new_tokens: longest reply in tokens.
    """

    group_size: int
    kl: float
    clip: float
    updates: int
    temperature: float
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class GrpoReport:
    """What GRPO tells about the steps since its last report; all but the first four are means over their replies.

    Attributes:
        step: optimizer steps done.
        loss: the clipped objective with its KL term, negative; near 0 by construction, so no measure of success.
        learning_rate: of the last step.
        grad_norm: of the last step, before clipping.
        reward: mean reward.
        reward_std: standard deviation of the rewards within a group.
        no_signal: share of the groups whose rewards were all equal, in [0, 1]; they teach nothing.
        reply_tokens: length of a reply in tokens, with its end-of-turn token.
        cut: share of the replies that were cut at the token limit, in [0, 1].
        kl: divergence from the untrained model in nats per token; NaN where its weight is 0.
        clipped: share of the tokens whose ratio was clipped, in [0, 1]; 0 with one update per batch.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    kl: float
    clipped: float
    reward: float
    reward_std: float
    no_signal: float
    reply_tokens: float
    cut: float


def prompts_needed(plan: Plan, grpo: GrpoPlan) -> int:
    """Prompts that the whole training reads; every batch of replies serves for `updates` steps."""
    return math.ceil(plan.steps / grpo.updates) * plan.batch_size


def fit_grpo(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    reward: Callable[[int, str], float],
    plan: Plan,
    grpo: GrpoPlan,
    *,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    hooks: Hooks[GrpoReport] = SILENT,
) -> FitResult:
    """Train a model to write replies of higher reward, from its newest complete checkpoint if there is one.

    A step reads `plan.batch_size` prompts and draws `grpo.group_size` replies for each. A resumed training draws the
    replies that the uninterrupted one would have drawn, if it stopped between two batches of replies.

    Args:
        model: a causal language model; its trainable parameters are trained, in place.
        prompts: rendered prompts as token ids, `prompts_needed` of them, in training order.
        reward: what a reply is worth: index of the prompt and text of the reply to a number.
        plan: steps, prompts per step, optimizer, checkpoints.
        grpo: groups, clipping, sampling.
        tokenizer: decodes replies; names end-of-turn and padding.
        folder: for checkpoints.
        hooks: what it tells and asks on the way.

    Raises:
        TrainError: wrong number of prompts, a reward that is no number, or a loss that is no longer finite.
        StorageError: a checkpoint cannot be written.
    """
    wanted = prompts_needed(plan, grpo)
    if len(prompts) != wanted:
        raise TrainError(f"{plan.steps} steps of GRPO need {wanted} prompts, but got {len(prompts)}")
    rollout = _Rollout(model, tokenizer, prompts, plan, grpo)
    watcher, rewards = Watcher(lambda report: None, hooks.on_step), _RewardWatcher(hooks.on_report)
    with as_it_was(model), arithmetic(model, plan, folder) as types:
        reference = deepcopy(model) if grpo.kl and not hasattr(model, "peft_config") else None
        trainer = _GrpoLoop(
            model=model,
            reward_funcs=[_rewards(reward, rollout)],
            args=_config(model, prompts, plan, grpo, folder, types),
            train_dataset=Dataset.from_dict({"prompt": [str(index) for index in range(len(prompts))]}),
            processing_class=tokenizer,
            callbacks=[watcher, rewards],
            optimizers=(own_optimizer(model, plan, types.weights), None),
            rollout_func=rollout,
        )
        _keep_reference(trainer, reference, grpo)
        checked = _check(types, prompts, plan, grpo, pad_id=int(tokenizer.pad_token_id))
        evaluate = types.as_scored(hooks.evaluate)
        result = run_loop(trainer, model, (), watcher, folder, plan=plan, evaluate=evaluate)
    tokens = int(trainer.state.num_input_tokens_seen)
    facts = {**result.facts, **checked, "final_reward": rewards.last, "replies": rollout.replies}
    read = min(result.steps * plan.batch_size, len(prompts))
    return replace(result, rows=read, tokens=tokens, trained_tokens=rollout.tokens, facts=facts)


def _check(
    types: Arithmetic, prompts: Sequence[Sequence[int]], plan: Plan, grpo: GrpoPlan, *, pad_id: int
) -> dict[str, str]:
    """Hold the probabilities that TRL makes of prompts against the model's own."""
    rows = [TokenRow(tuple(ids[:1]), tuple(ids[1:])) for ids in prompts if len(ids) > 1]
    losses = partial(fused_losses, types.model, pad_id=pad_id)
    whose, heat = "TRL, which GRPO is trained by,", grpo.temperature
    return check_losses(types, rows, plan, losses, pad_id=pad_id, whose=whose, temperature=heat) if rows else {}


class _Rollout:
    """Draws the replies of a step; TRL hands it row numbers and gets ids."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        plan: Plan,
        grpo: GrpoPlan,
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.plan = plan
        self.grpo = grpo
        self.backend = TransformersBackend(model, tokenizer, batch_size=plan.batch_size * grpo.group_size)
        self.last: list[Completion] = []
        self.replies = 0
        self.tokens = 0

    def __call__(self, rows: Sequence[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """One reply for each row; a row stands here as often as its group is large."""
        ids = [tuple(self.prompts[int(row)]) for row in rows]
        self.model.eval()
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.plan.bfloat16):
            self.last = self.backend.generate([Prompt((), row) for row in ids], self._sampling(trainer))
        self.model.train()
        self.replies += len(rows)
        self.tokens += sum(len(reply.token_ids) for reply in self.last)
        return {"prompt_ids": ids, "completion_ids": [reply.token_ids for reply in self.last], "logprobs": None}

    def _sampling(self, trainer: GRPOTrainer) -> Sampling:
        """Draws that depend on the seed, the process and the number of steps done, so that resuming repeats them."""
        drawn = trainer.state.global_step * trainer.accelerator.num_processes + trainer.accelerator.process_index
        return Sampling(
            temperature=self.grpo.temperature,
            max_new_tokens=self.grpo.max_new_tokens,
            seed=(self.plan.seed << 32) + drawn,
        )


def _rewards(reward: Callable[[int, str], float], rollout: _Rollout) -> Callable[..., list[float]]:
    """The reward as TRL calls it; the texts are the backend's, decoded as in an evaluation."""

    def reward_of_replies(prompts: Sequence[str], **_: Any) -> list[float]:
        worth = [float(reward(int(row), reply.text)) for row, reply in zip(prompts, rollout.last, strict=True)]
        for row, value in zip(prompts, worth, strict=True):
            if not math.isfinite(value):
                raise TrainError(f"the reward of a reply to prompt {row} is {value}; a reward must be a number")
        return worth

    return reward_of_replies


class _RewardWatcher(TrainerCallback):  # type: ignore[misc]
    """Hands out what TRL logs of the rewards; steps on replies that were drawn before repeat what is known of them."""

    def __init__(self, on_report: Callable[[GrpoReport], None]) -> None:
        self.on_report = on_report
        self.replies: dict[str, float] = {}

    @property
    def last(self) -> float:
        """The last reported mean reward."""
        return self.replies.get("reward", math.nan)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Hand out a report when the log is that of training steps."""
        if not logs or "loss" not in logs:
            return
        if "reward" in logs:
            self.replies = {name: float(logs[key]) for name, key in _REPLY_FACTS.items()}
        self.on_report(
            GrpoReport(
                step=state.global_step,
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                grad_norm=logs.get("grad_norm", math.nan),
                kl=logs.get("kl", math.nan),
                clipped=logs.get("clip_ratio/region_mean", math.nan),
                **self.replies,
            )
        )


class _GrpoLoop(GraftLoop, GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO with Graft's checkpoints, in TRL's order of groups, without model cards and without reports home."""

    _get_train_sampler = GRPOTrainer._get_train_sampler

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Graft writes its own."""


def _keep_reference(trainer: _GrpoLoop, reference: PreTrainedModel | None, grpo: GrpoPlan) -> None:
    """Set the KL term up from the model as it was handed over.

    TRL would load the reference anew by the model's name, which says nothing of random or local weights; with adapters
    it switches them off instead.
    """
    trainer.beta = grpo.kl
    if reference is not None:
        add_fused_lm_head(reference, temperature=grpo.temperature)
        trainer.ref_model = trainer.accelerator.prepare_model(reference, evaluation_mode=True)


def _config(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    plan: Plan,
    grpo: GrpoPlan,
    folder: Path,
    types: Arithmetic,
) -> GRPOConfig:
    replies = plan.batch_size * grpo.group_size
    size = _replies_at_once(replies, max(map(len, prompts)) + grpo.max_new_tokens, token_budget(model, plan))
    options = loop_options(plan, model, folder) | {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": replies // size,
    }
    return GRPOConfig(
        **options,
        **mixed_precision(plan, types),
        gradient_checkpointing=plan.activation_checkpointing == "on",
        num_generations=grpo.group_size,
        max_completion_length=grpo.max_new_tokens,
        temperature=grpo.temperature,
        beta=0.0,  # the reference is Graft's: see `_keep_reference`
        epsilon=grpo.clip,
        num_iterations=grpo.updates,
        loss_type="dapo",
        shuffle_dataset=False,
        router_aux_loss_coef=0.0,
    )


def _replies_at_once(replies: int, longest: int, budget: int) -> int:
    """Replies of one forward pass: the largest equal part of a step that stays within the token budget."""
    parts = (size for size in range(replies, 0, -1) if replies % size == 0)
    return next((size for size in parts if size * longest <= budget), 1)
