"""Rendering a conversation as the text that a model sees. Nothing else calls a chat template.

The whole project answers without thinking unless the recipe opens it. Without it `enable_thinking=False` is always
passed, so a template with a thinking switch puts its empty ``<think></think>`` block into the prompt, where it is
masked, and training, evaluation, export and serving see the same tokens. A model without a chat template gets the
recipe's plain template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from graft.config.schema import ModelSection
from graft.errors import DataError, ModelError, ThinkingPolicyError
from graft.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Thinking = Literal["off", "on", "compare"]

PLAIN: str = ModelSection.model_fields["template"].default
"""Prompt for models without a chat template. It ends with a line break because a space would melt into the answer's
first token when prompt and answer are tokenised together."""

OPEN, CLOSE = "<think>", "</think>"
"""The tags around thinking, in every Qwen3 template and in most others that think."""

PIN = "{%- set enable_thinking = false -%}\n"

_PLAIN_PROMPT = re.compile(r"[^\s<>{}|\[\]](?:[^<>{}|\[\]]*[^\s<>{}|\[\]])?")

PROBE = "Which letter comes after q?"
"""A user turn to try a template with."""


class ThinkingMode(Enum):
    """What a chat template can do, found out by rendering with it."""

    SWITCH = "switch"
    """It thinks or not as `enable_thinking` says, as the hybrid Qwen3 models do."""

    ALWAYS = "always"
    """Its prompt ends inside an open thinking block, as that of the Thinking-2507 models does."""

    NEVER = "never"
    """`enable_thinking` changes nothing, as with the Instruct-2507 models and most others."""


@dataclass(frozen=True, slots=True)
class ChatPolicy:
    """How every prompt of a run is rendered.

    Attributes:
        thinking: ``off``, ``on``, or ``compare`` for both ways.
        system: text of the system turn; ``None`` for no such turn.
        template: the prompt for models without a chat template, with ``{prompt}`` in it.
    """

    thinking: Thinking = "off"
    system: str | None = None
    template: str = PLAIN


NO_THINKING = ChatPolicy()
"""The policy that holds where nobody states another."""


def render_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, policy: ChatPolicy = NO_THINKING, *, think: bool = False
) -> str:
    """The text up to the place where the model's answer begins.

    Args:
        tokenizer: it holds the chat template.
        prompt: the user turn.
        policy: thinking, system turn and plain template.
        think: ask for a reply that thinks first.

    Raises:
        ThinkingPolicyError: `think` is against the policy, or the template cannot do what is asked.
        ModelError: the template fails, or leaves out a turn.
    """
    return render_chat(tokenizer, [Message("user", prompt)], policy, think=think)


class PromptRenderer:
    """`render_prompt` for many prompts: what a template writes around a plain one is found out once.

    A prompt without brackets, bars and outer white space gives a template nothing to cut, trim or search for, so its
    rendering is a fixed text before it and another after it. Every other prompt goes through the template itself, and
    so does every prompt of a template for which three plain ones do not agree on those texts.

    Args:
        tokenizer: it holds the chat template.
        policy: thinking, system turn and plain template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, policy: ChatPolicy = NO_THINKING) -> None:
        self.tokenizer = tokenizer
        self.policy = policy
        self._frames: dict[bool, tuple[str, str] | None] = {}

    def render(self, prompt: str, *, think: bool = False) -> str:
        """The text of a prompt; arguments and errors are those of `render_prompt`."""
        if think not in self._frames:
            self._frames[think] = self._frame(think)
        frame = self._frames[think]
        if frame is None or not _PLAIN_PROMPT.fullmatch(prompt):
            return render_prompt(self.tokenizer, prompt, self.policy, think=think)
        return f"{frame[0]}{prompt}{frame[1]}"

    def _frame(self, think: bool) -> tuple[str, str] | None:
        probes = (PROBE, "Zwölf Boxkämpfer\njagen 7 Ünder.", "é")
        texts = [render_prompt(self.tokenizer, probe, self.policy, think=think) for probe in probes]
        head, found, tail = texts[0].partition(PROBE)
        agree = all(text == f"{head}{probe}{tail}" for text, probe in zip(texts, probes, strict=True))
        return (head, tail) if found and agree else None


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    policy: ChatPolicy = NO_THINKING,
    *,
    think: bool = False,
) -> str:
    """A conversation that ends with a user turn, up to the place where the model's answer begins.

    Args:
        tokenizer: it holds the chat template.
        messages: user and assistant turns; the policy's system turn is put before them.
        policy: thinking, system turn and plain template.
        think: ask for a reply that thinks first.

    Raises:
        ThinkingPolicyError: `think` is against the policy, or the template cannot do what is asked.
        ModelError: the template fails, or leaves out a turn.
    """
    if think and policy.thinking == "off":
        raise ThinkingPolicyError("thinking is off, but a thinking reply was asked for; set thinking: on or compare")
    turns = with_system(messages, policy)
    if tokenizer.chat_template is None:
        if think:
            raise ThinkingPolicyError(_cannot_think(tokenizer, "it has no chat template"))
        return _plain(turns, policy.template)
    text = _apply(tokenizer, turns, think=think)
    if think and not opens_thinking(text) and text == _apply(tokenizer, turns, think=False):
        raise ThinkingPolicyError(_cannot_think(tokenizer, "its chat template has no enable_thinking switch"))
    if not think and opens_thinking(text):
        raise ThinkingPolicyError(
            f"the chat template of {_name(tokenizer)} always opens a thinking block, so a reply without thinking "
            "cannot be asked for; set thinking: on and give training rows their reasoning, or take a model that can "
            "answer at once (for Qwen3-2507 the one named Instruct)"
        )
    return text


def with_system(messages: Sequence[Message], policy: ChatPolicy) -> tuple[Message, ...]:
    """A conversation with the policy's system turn before it, unless it begins with one of its own."""
    own = bool(messages) and messages[0].role == "system"
    return (*([Message("system", policy.system)] if policy.system and not own else []), *messages)


def thinking_mode(tokenizer: PreTrainedTokenizerBase) -> ThinkingMode:
    """Whether a model can think, must think or cannot, from its chat template and not from its name.

    Raises:
        ModelError: the template fails.
    """
    if tokenizer.chat_template is None:
        return ThinkingMode.NEVER
    turns = [Message("user", PROBE)]
    without = _apply(tokenizer, turns, think=False)
    if opens_thinking(without):
        return ThinkingMode.ALWAYS
    return ThinkingMode.NEVER if without == _apply(tokenizer, turns, think=True) else ThinkingMode.SWITCH


def check_policy(tokenizer: PreTrainedTokenizerBase, policy: ChatPolicy) -> ThinkingMode:
    """Make sure that a model can be used as the policy says, by rendering each way once.

    Returns:
        What its template can do.

    Raises:
        ThinkingPolicyError: it cannot think as the policy wants it to, or cannot but think.
        ModelError: the template fails, or leaves out a turn.
    """
    mode = thinking_mode(tokenizer)
    if policy.thinking in ("off", "compare"):
        render_prompt(tokenizer, PROBE, policy)
    if policy.thinking in ("on", "compare"):
        render_prompt(tokenizer, PROBE, policy, think=True)
    return mode


def opens_thinking(rendered: str) -> bool:
    """True when a rendered prompt ends inside a thinking block, so that the reply begins in the middle of it."""
    return rendered.rstrip().endswith(OPEN)


def with_reasoning(rendered: str, reasoning: str, answer: str) -> str:
    """The completion of a thinking prompt: the reasoning in its block, then the answer, in Qwen3's own form."""
    start = "" if opens_thinking(rendered) else f"{OPEN}\n"
    return f"{start}{reasoning.strip()}\n{CLOSE}\n\n{answer}"


def pin_thinking_off(tokenizer: PreTrainedTokenizerBase) -> None:
    """Fix `enable_thinking` to false inside the chat template.

    Other tools render a hybrid template with thinking switched on unless told otherwise. A model that was trained and
    scored without it is saved with this template, so that they give it the very prompt it knows.
    """
    template = tokenizer.chat_template
    if isinstance(template, str) and thinking_mode(tokenizer) is ThinkingMode.SWITCH:
        tokenizer.chat_template = PIN + template


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends an answer; it is trained and it counts in exact match.

    Raises:
        DataError: the tokenizer names no end-of-sequence token.
    """
    if tokenizer.eos_token_id is None:
        raise DataError(
            f"the tokenizer of {tokenizer.name_or_path} has no eos_token, so no answer could ever end; "
            "set eos_token in its tokenizer_config.json"
        )
    return int(tokenizer.eos_token_id)


def _apply(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], *, think: bool) -> str:
    conversation = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        text = str(
            tokenizer.apply_chat_template(
                conversation, tokenize=False, add_generation_prompt=True, enable_thinking=think
            )
        )
    except Exception as error:  # a template is a program: it may raise anything
        raise ModelError(
            f"the chat template of {_name(tokenizer)} fails on the turns {', '.join(t.role for t in turns)}: "
            f"{type(error).__name__}: {error}; {_advice(turns)}"
        ) from error
    for turn in turns:
        if turn.role != "assistant" and turn.content.strip() not in text:  # an answer may lose its thinking
            raise ModelError(
                f"the chat template of {_name(tokenizer)} leaves out the {turn.role} turn {turn.content[:60]!r}, "
                f"so the model would never see it; {_advice([turn])}"
            )
    return text


def _advice(turns: Sequence[Message]) -> str:
    if any(turn.role == "system" for turn in turns):
        return "leave model.system unset if the model takes no system turn, or mend its chat_template.jinja"
    return "mend its chat_template.jinja, or remove it to use model.template"


def _cannot_think(tokenizer: PreTrainedTokenizerBase, why: str) -> str:
    return f"a thinking reply was asked of {_name(tokenizer)}, but {why}; set thinking: off or take a hybrid model"


def _plain(turns: Sequence[Message], template: str) -> str:
    """Turns by the plain template: the system text and earlier answers stand as they are, an empty line after each."""
    return "".join(
        template.replace("{prompt}", turn.content) if turn.role == "user" else f"{turn.content}\n\n" for turn in turns
    )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.name_or_path) or "this tokenizer"
