"""Talking to a model or to a branch of a run: what `graft chat` stands on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from graft.config.loading import COMMAND_LINE, load_recipe
from graft.config.schema import Recipe
from graft.data.chat import ChatPolicy, check_policy, opens_thinking, render_chat, with_system
from graft.data.thinking import split_thinking
from graft.data.tokens import prompt_ids
from graft.errors import ConfigError, DataError, ModelError, choices
from graft.models.backends.base import Backend
from graft.models.sampling import from_section
from graft.models.style import PRESETS
from graft.pipeline.branches import Branch, find_branch
from graft.pipeline.prepare.boundary import run_date
from graft.pipeline.prepare.effect import Use, effective
from graft.pipeline.prepare.lab import chat_policy, recipe_limits, recipe_tokenizer
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.prepare.thinking import thinking_sampling
from graft.pipeline.run import find_run
from graft.pipeline.score.backends import open_backend
from graft.pipeline.train.weights import load_branch, load_untouched
from graft.runs.directory import RunDirectory
from graft.tasks.style import style_name
from graft.types import Delta, Message, Prompt, Sampling
from graft.workbench.predict import Predictor, asker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOG = logging.getLogger(__name__)

BASE = "base"
"""Stands for the untouched model of the run or model that one talks to."""

CHAT_DEFAULTS = {"preset": "qwen3-non-thinking", "max_new_tokens": 512}
"""A recipe's own sampling, greedy and short, is made for word tasks."""

_READS = (
    "thinking sampling generation remote eval.thinking_max_new_tokens model.device model.dtype model.precision "
    "model.attention model.system model.template model.url"
)

TALKING_TO_A_RUN = Use("graft chat", _READS, "the run has its own; leave it out")
TALKING = Use("graft chat", f"{_READS} model -model.id style", "leave it out")
"""What counts of the settings that follow a run or a model."""


@dataclass(slots=True)
class Partner:
    """One model in a conversation, with what was said so far.

    Attributes:
        name: how it is shown.
        backend: what runs it.
        tokenizer: its tokenizer.
        policy: how prompts are rendered.
        think: it thinks before it answers.
        sampling: how its tokens are drawn.
        context: longest conversation and reply in tokens; ``None`` when the model's config does not say.
        turns: user and assistant turns, answers without their thinking.
        styles: control tokens of the model by the name of their style.
        style: name of the style that every user turn asks for; ``None`` for none.
        task: asks every message by itself with the prompt of the run's task; ``None`` for a conversation.
    """

    name: str
    backend: Backend
    tokenizer: PreTrainedTokenizerBase
    policy: ChatPolicy
    think: bool
    sampling: Sampling
    context: int | None = None
    turns: list[Message] = field(default_factory=list)
    styles: dict[str, str] = field(default_factory=dict)
    style: str | None = None
    task: Predictor | None = None

    def answer(self, text: str) -> Iterator[Delta]:
        """Stream the reply to one more user turn; both become part of the conversation when it is complete.

        Raises:
            ModelError: the conversation is longer than the model's context, or its template fails.
        """
        if self.task is not None:
            self.turns, text = [], self.task.prompt(text)
        token = self.styles[self.style] if self.style else ""
        turns = [*self.turns, Message("user", token + text)]
        rendered = render_chat(self.tokenizer, turns, self.policy, think=self.think)
        ids = prompt_ids(self.tokenizer, turns, self.policy, think=self.think)
        for delta in self.backend.stream(Prompt(with_system(turns, self.policy), ids), self._fitting(len(ids))):
            if delta.completion is not None:
                reply = split_thinking(delta.completion.text, opened=opens_thinking(rendered))
                self.turns = [*turns, Message("assistant", reply.answer)]
            yield delta

    def set_raw(self) -> None:
        """Converse from now on instead of asking with the task's prompt."""
        self.task = None
        self.reset()

    def reset(self) -> None:
        """Forget the conversation; the system turn stays."""
        self.turns = []

    def set_system(self, text: str | None) -> None:
        """Change the system turn and forget the conversation, which was held under another one.

        Raises:
            ModelError: the model's template takes no system turn; nothing is changed.
        """
        policy = replace(self.policy, system=text)
        check_policy(self.tokenizer, policy)
        self.policy = policy
        if self.task is not None:
            self.task = replace(self.task, policy=policy)
        self.reset()

    def set_style(self, name: str | None) -> None:
        """Let every further user turn open with the token of a style; its preset, if it has one, draws the reply.

        Raises:
            ConfigError: the model has no such style.
        """
        if name is not None and name not in self.styles:
            known = choices(name, self.styles) if self.styles else "It has no style tokens."
            raise ConfigError(f"{self.name} has no style {name!r}. {known}")
        self.style = name

    def _fitting(self, prompt_tokens: int) -> Sampling:
        sampling = PRESETS.get(self.style or "", self.sampling)
        if self.context is None:
            return sampling
        left = self.context - prompt_tokens
        if left < 1:
            raise ModelError(
                f"the conversation has {prompt_tokens:,} tokens, but {self.name} reads at most {self.context:,}; "
                "/reset starts a new one"
            )
        return replace(sampling, max_new_tokens=min(left, sampling.max_new_tokens))


def open_partners(
    target: str, overrides: Sequence[str], root: Path, *, arm: str | None = None, against: str | None = None
) -> tuple[Partner, ...]:
    """Load the model that one talks to, and the one beside it.

    Args:
        target: name or path of a run, or a model id.
        overrides: ``key=value`` settings; they change a run's own recipe, or the defaults for a model.
        root: where runs are looked up by name.
        arm: label of a branch of the run, such as ``trained-seed0``; the first trained one when unset.
        against: a run, a model, or ``base`` for the untouched model of the target; it samples as the target does.

    Raises:
        ConfigError: the arm does not exist.
        ModelError: a model cannot be loaded or cannot follow the policy.
        RunError: the branch was not trained to its end.
    """
    first, recipe = _open(target, overrides, root, arm)
    if against is None:
        return (first,)
    second = _partner(recipe, BASE) if against == BASE else _open(against, overrides, root, None)[0]
    if first.task is not None and against == BASE:
        second.task = replace(first.task, backend=second.backend, temperature=1.0, name=BASE)
    if second.name == first.name:
        second = replace(second, name=f"{second.name} (2)")
    return first, replace(second, sampling=first.sampling)


def _open(target: str, overrides: Sequence[str], root: Path, arm: str | None) -> tuple[Partner, Recipe]:
    run = find_run(target, root)
    if run is not None:
        stored = load_recipe(run.recipe, overrides)
        typed = {key: origin for key, origin in stored.origins.items() if origin == COMMAND_LINE}
        recipe = effective(replace(stored, origins=typed), TALKING_TO_A_RUN).recipe
        branch = find_branch(recipe, arm)
        return _partner(recipe, f"{run.name} {branch.label}", run, branch), recipe
    if arm is not None:
        raise ConfigError(f"--arm is {arm}, but {target!r} is no run in {root}; only runs have arms")
    recipe = _recipe_to_talk(target, overrides)
    return _partner(recipe, target), recipe


def _recipe_to_talk(target: str, overrides: Sequence[str]) -> Recipe:
    """The settings for a model, sampled as one talks where nothing else is said."""
    typed = load_recipe(None, overrides)
    usual = {name: value for name, value in CHAT_DEFAULTS.items() if f"sampling.{name}" not in typed.origins}
    sampling = typed.recipe.sampling.model_copy(update=usual)
    model = typed.recipe.model.model_copy(update={"id": target})
    recipe = typed.recipe.model_copy(update={"sampling": sampling, "model": model})
    return effective(replace(typed, recipe=recipe), TALKING).recipe


def _partner(recipe: Recipe, name: str, run: RunDirectory | None = None, branch: Branch | None = None) -> Partner:
    tokenizer, limits = recipe_tokenizer(recipe), recipe_limits(recipe)
    policy = chat_policy(recipe, tokenizer, limits, date=run_date(run) if run else None)
    model = None
    if not is_remote(recipe):
        model = load_branch(run, recipe, branch) if run and branch else load_untouched(recipe)
    think = recipe.thinking == "on"
    sampling = thinking_sampling(recipe) if think else from_section(recipe.sampling)
    backend = open_backend(recipe, tokenizer, model, thinking=think)
    styles = {style_name(token): token for token in recipe.style.tokens}
    try:
        task = asker(recipe, run, branch, tokenizer, policy, backend) if run and branch else None
    except (ConfigError, DataError) as error:
        LOG.warning("the run's task cannot ask, so this is a conversation: %s", error)
        task = None
    return Partner(name, backend, tokenizer, policy, think, sampling, limits.positions, styles=styles, task=task)
