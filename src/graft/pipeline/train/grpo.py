"""Training a branch by reward: prompts are asked, and each task's own scorer says what a reply is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graft.data.chat import opens_thinking, render_prompt
from graft.data.thinking import split_thinking
from graft.data.tokens import encode, spelled_out
from graft.errors import DataError
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.examples import branch_examples
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.progress import Progress
from graft.runs.directory import RunDirectory
from graft.train.plan import FitResult, Hooks, Plan
from graft.types import Example, Score

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from graft.train.grpo import GrpoPlan, GrpoReport


@dataclass(frozen=True, slots=True)
class ByReward:
    """A training on rewards.

    Attributes:
        lab: draws the examples, of which the gold answer is only shown to the scorer.
        branch: what is trained.
        plan: groups, clipping, sampling.
    """

    lab: Lab
    branch: Branch
    plan: GrpoPlan

    drawn = ()
    shown = "reward"

    @property
    def steps(self) -> int:
        """Optimizer steps, as the recipe says."""
        return self.lab.steps

    def fit(self, model: PreTrainedModel, plan: Plan, folder: Path, hooks: Hooks[GrpoReport]) -> FitResult:
        """Train by GRPO; one step reads `plan.batch_size` prompts.

        Raises:
            DataError: a row is longer than ``data.max_length``, or there are too few.
            TrainError: the loss or a reward is no longer a number.
        """
        from graft.train.grpo import fit_grpo, prompts_needed

        lab = self.lab
        drawn = branch_examples(lab, self.branch, prompts_needed(plan, self.plan))
        examples = [spelled_out(lab.tokenizer, example, lab.policy) for example in drawn]
        prompts, reward = prompt_ids(lab, examples), reward_of(lab, examples)
        return fit_grpo(model, prompts, reward, plan, self.plan, tokenizer=lab.tokenizer, folder=folder, hooks=hooks)

    def numbers(self, report: GrpoReport) -> dict[str, float]:
        """A report as values of the log; what this plan does not have is left out."""
        absent = {"step", *(() if self.plan.kl else ("kl",)), *(() if self.plan.updates > 1 else ("clipped",))}
        return {name: value for name, value in asdict(report).items() if name not in absent}


def by_reward(run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, progress: Progress) -> ByReward:
    """The recipe's plan for rewards; nothing is drawn before it is fitted."""
    from graft.train.grpo import GrpoPlan

    section = lab.recipe.grpo
    plan = GrpoPlan(
        group_size=section.group_size,
        kl=section.kl,
        clip=section.clip,
        updates=section.updates,
        temperature=section.temperature,
        max_new_tokens=lab.recipe.sampling.max_new_tokens,
    )
    return ByReward(lab, branch, plan)


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
        score: Score = lab.book.load(example.task).verdict(example, reply)
        right = score.strict if section.reward == "strict" else score.lenient
        return float(right) + section.format_reward * score.parsed

    return reward
