"""Training a branch by reward: prompts are asked, and each task's own scorer says what a reply is worth."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from graft.data.chat import opens_thinking, render_prompt
from graft.data.thinking import split_thinking
from graft.data.tokens import encode
from graft.errors import DataError
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.examples import branch_examples
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.progress import TaskHandle
from graft.runs.metrics import MetricsLog
from graft.train.plan import FitResult, Measurement, Plan
from graft.types import Example, Score

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)


def fit_by_reward(
    lab: Lab,
    branch: Branch,
    model: PreTrainedModel,
    plan: Plan,
    *,
    folder: Path,
    log: MetricsLog,
    bar: TaskHandle,
    on_step: Callable[[int], None],
    evaluate: Callable[[PreTrainedModel], Measurement] | None,
) -> FitResult:
    """Train one branch by GRPO.

    Args:
        lab: draws the branch's examples, of which the gold answer is only shown to the scorer.
        branch: what is trained.
        model: its untrained model.
        plan: one step reads `plan.batch_size` prompts.
        folder: for checkpoints.
        log: gets a line per report.
        bar: shows the reward.
        on_step: told the number of steps done.
        evaluate: measures the held-out items during training; ``None`` for no measurements.

    Raises:
        DataError: a row is longer than ``data.max_length``, or there are too few.
        TrainError: the loss or a reward is no longer a number.
    """
    from graft.train.grpo import GrpoPlan, GrpoReport, fit_grpo, prompts_needed

    section = lab.recipe.grpo
    grpo = GrpoPlan(
        group_size=section.group_size,
        kl=section.kl,
        clip=section.clip,
        updates=section.updates,
        temperature=section.temperature,
        max_new_tokens=lab.recipe.sampling.max_new_tokens,
    )
    examples = list(branch_examples(lab, branch, prompts_needed(plan, grpo)))

    def report(step: GrpoReport) -> None:
        log.log(
            step=step.step,
            loss=step.loss,
            learning_rate=step.learning_rate,
            grad_norm=step.grad_norm,
            reward=step.reward,
            reward_std=step.reward_std,
            no_signal=step.no_signal,
            reply_tokens=step.reply_tokens,
            cut=step.cut,
            **({"kl": step.kl} if grpo.kl else {}),
            **({"clipped": step.clipped} if grpo.updates > 1 else {}),
        )
        LOG.info("%s step %d of %d: reward %.3f", branch.label, step.step, plan.steps, step.reward)
        bar.advance(0, reward=step.reward)

    return fit_grpo(
        model,
        prompt_ids(lab, examples),
        reward_of(lab, examples),
        plan,
        grpo,
        tokenizer=lab.tokenizer,
        folder=folder,
        on_report=report,
        on_step=on_step,
        evaluate=evaluate,
    )


def prompt_ids(lab: Lab, examples: list[Example]) -> list[tuple[int, ...]]:
    """The examples' prompts as token ids, the very ones that are scored.

    Raises:
        DataError: a row is longer than ``data.max_length``.
    """
    length, think = lab.recipe.data.max_length, lab.policy.thinking == "on"
    encoded = encode(lab.tokenizer, examples, max_length=length, policy=lab.policy, think=think)
    if encoded.dropped:
        raise DataError(
            f"data.max_length is {length} tokens, but {len(encoded.dropped)} of {len(examples)} prompts are longer "
            f"with their answers (first: {examples[encoded.dropped[0]].id}); raise it"
        )
    return [row.prompt for row in encoded.rows]


def reward_of(lab: Lab, examples: list[Example]) -> Callable[[int, str], float]:
    """What a reply is worth: the verdict of its task's scorer, and a little for an answer of the asked kind."""
    section, think = lab.recipe.grpo, lab.policy.thinking == "on"

    def reward(index: int, reply: str) -> float:
        example = examples[index]
        if think:
            rendered = render_prompt(lab.tokenizer, example.prompt or "", lab.policy, think=True)
            reply = split_thinking(reply, opened=opens_thinking(rendered)).answer
        score: Score = lab.book.load(example.task).score(example, reply)
        right = score.strict if section.reward == "strict" else score.lenient
        return float(right) + section.format_reward * score.parsed

    return reward
