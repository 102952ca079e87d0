"""Rendering a conversation as the text that a model sees. Nothing else calls a chat template.

The whole project answers without thinking unless the recipe opens it. Without it `enable_thinking=False` is always
passed, so a template with a thinking switch puts its empty ``<think></think>`` block into the prompt, where it is
masked, and training, evaluation, export and serving see the same tokens. A model without a chat template gets the
recipe's plain template. A template that writes the date writes the one day of its run, and control tokens that content
spells are marked, so that they stay text (`graft.data.controls`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from graft.config.schema import ModelSection
from graft.data.controls import mark, unmarked
from graft.data.dates import TODAY, told_date
from graft.data.patience import time_limit
from graft.data.turns import as_read, offered_tools
from graft.errors import ModelError, ThinkingPolicyError
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

_TOOL = "zq_probe_tool"
"""A tool to try a template with."""

REPLY = "It is the letter r"
"""An answer to it."""

RENDER_SECONDS = 5.0
"""A chat template that writes for longer never ends."""

TRIALS = 16
"""Renderings that must agree; one of two random words would differ in all but one of 32,768 cases."""


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
        date: the day that a chat template is told, as ``2026-11-27``; ``None`` for the day it is.
        stops: ids that the model's own files say a reply stops at.
        apart: prompt and answer are read apart, by an encoder and a decoder.
        raw: a prompt is the text itself, without chat template and system turn, and a space goes before its answer.
    """

    thinking: Thinking = "off"
    system: str | None = None
    template: str = PLAIN
    date: str | None = None
    stops: tuple[int, ...] = ()
    apart: bool = False
    raw: bool = False


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
        """The text of a prompt as `marked_chat` gives it; arguments and errors are those of `render_prompt`."""
        if think not in self._frames:
            self._frames[think] = self._frame(think)
        frame = self._frames[think]
        if frame is None or not _PLAIN_PROMPT.fullmatch(prompt) or mark(self.tokenizer, prompt, "user") != prompt:
            return marked_chat(self.tokenizer, [Message("user", prompt)], self.policy, think=think)
        return f"{frame[0]}{prompt}{frame[1]}"

    def _frame(self, think: bool) -> tuple[str, str] | None:
        probes = (PROBE, "Zwölf Boxkämpfer\njagen 7 Ünder.", "é")
        texts = [marked_chat(self.tokenizer, [Message("user", probe)], self.policy, think=think) for probe in probes]
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
    return unmarked(marked_chat(tokenizer, messages, policy, think=think))


def marked_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    policy: ChatPolicy = NO_THINKING,
    *,
    think: bool = False,
) -> str:
    """The text of `render_chat` with control tokens that its content spells marked, as it is to be tokenised.

    Raises:
        ThinkingPolicyError: `think` is against the policy, or the template cannot do what is asked.
        ModelError: the template fails, or leaves out a turn.
    """
    if think and policy.thinking == "off":
        raise ThinkingPolicyError("thinking is off, but a thinking reply was asked for; set thinking: on or compare")
    if policy.raw:
        return _plain(tokenizer, messages, "{prompt}")
    turns = with_system(messages, policy)
    if tokenizer.chat_template is None:
        if think:
            raise ThinkingPolicyError(_cannot_think(tokenizer, "it has no chat template"))
        return _plain(tokenizer, turns, policy.template)
    text = _apply(tokenizer, turns, policy, think=think)
    if think and not opens_thinking(text) and text == _apply(tokenizer, turns, policy, think=False):
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
    tools = [turn for turn in messages[:1] if turn.role == "tools"]
    turns = messages[len(tools) :]
    own = bool(turns) and turns[0].role in ("system", "developer")
    return (*tools, *([Message("system", policy.system)] if policy.system and not own else []), *turns)


def thinking_mode(tokenizer: PreTrainedTokenizerBase) -> ThinkingMode:
    """Whether a model can think, must think or cannot, from its chat template and not from its name.

    Raises:
        ModelError: the template fails.
    """
    if tokenizer.chat_template is None:
        return ThinkingMode.NEVER
    turns, policy = [Message("user", PROBE)], ChatPolicy(date="2000-01-01")
    without = _apply(tokenizer, turns, policy, think=False)
    if opens_thinking(without):
        return ThinkingMode.ALWAYS
    return ThinkingMode.NEVER if without == _apply(tokenizer, turns, policy, think=True) else ThinkingMode.SWITCH


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


def with_date(tokenizer: PreTrainedTokenizerBase, policy: ChatPolicy) -> ChatPolicy:
    """The policy for a run: with the day it is, where the template writes a date.

    Raises:
        ModelError: the template writes something else each time.
    """
    if tokenizer.chat_template is None:
        return replace(policy, date=None)
    turns, think = with_system([Message("user", PROBE)], policy), policy.thinking == "on"
    today = policy.date or _write(tokenizer, [{"role": "user", "content": ""}], template=TODAY)
    fixed = replace(policy, date=today)
    texts = {_apply(tokenizer, turns, fixed, think=think) for _ in range(TRIALS)}
    if len(texts) > 1:
        raise ModelError(
            f"the chat template of {_name(tokenizer)} writes something else each time it is used ({_difference(texts)}"
            "), so training and generation would see different prompts; take what is random out of its "
            "chat_template.jinja"
        )
    times = ("2001-02-03T04:05:06", "2022-11-15T17:28:39")  # no part of a date or a time is the same in both
    dated = {_apply(tokenizer, turns, replace(policy, date=time), think=think) for time in times}
    return fixed if len(dated) > 1 else replace(policy, date=None)


def pin_date(tokenizer: PreTrainedTokenizerBase, date: str | None) -> None:
    """Fix the day inside the chat template, so that other tools write the prompt that the model was trained on."""
    if isinstance(tokenizer.chat_template, str) and date is not None:
        tokenizer.chat_template = told_date(tokenizer.chat_template, date)


def after_answer(tokenizer: PreTrainedTokenizerBase, policy: ChatPolicy = NO_THINKING) -> tuple[str, str]:
    """What a chat template writes after an answer: when nothing follows, and up to a further user turn.

    Returns:
        Both texts; empty where there is no template, or it renders no answer.
    """
    asked, answered = Message("user", PROBE), Message("assistant", REPLY)
    found = []
    for turns in ((asked, answered), (asked, answered, Message("user", "And then?"))):
        try:
            text = whole_chat(tokenizer, turns, policy)
        except ModelError:  # a template of a single turn
            text = ""
        _, there, rest = text.rpartition(REPLY)
        found.append(rest.partition("And then?")[0] if there else "")
    return found[0], found[1]


def before_answer(tokenizer: PreTrainedTokenizerBase, policy: ChatPolicy = NO_THINKING) -> str:
    """The white space that a chat template writes between a prompt and its answer, as that of Llama 2 does."""
    turns = [Message("user", PROBE), Message("assistant", REPLY)]
    try:
        prompt = unmarked(_apply(tokenizer, with_system(turns[:1], policy), policy, think=False))
        whole = whole_chat(tokenizer, turns, policy)
    except ModelError:  # a template of a single turn
        return ""
    between = whole.removeprefix(prompt).partition(REPLY)[0]
    return between if whole.startswith(prompt) and between.isspace() else ""


def whole_chat(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], policy: ChatPolicy = NO_THINKING
) -> str:
    """A conversation with all its answers, as the chat template itself writes it.

    Raises:
        ModelError: there is no template, it fails, or leaves out a turn.
    """
    return unmarked(_apply(tokenizer, with_system(messages, policy), policy, think=False, prompt=False))


def written_answer(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    answer: Message,
    policy: ChatPolicy = NO_THINKING,
    *,
    think: bool = False,
) -> str:
    """What the chat template writes for an answer after its prompt, its end included, as marked text.

    Args:
        tokenizer: it holds the chat template.
        messages: the turns before the answer.
        answer: a turn of the assistant, with the tools that it calls.
        policy: thinking and system turn.
        think: the prompt asks for thinking, which the answer brings along.

    Raises:
        ThinkingPolicyError: `think` is against the policy, or the template cannot do what is asked.
        ModelError: the template fails, leaves something out, or writes such a turn otherwise than it begins an answer.
    """
    prompt = marked_chat(tokenizer, messages, policy, think=think)
    if tokenizer.chat_template is None:
        raise ModelError(f"{_name(tokenizer)} has no chat template, so nothing says how it calls tools; {_WITHOUT}")
    whole = _apply(tokenizer, with_system([*messages, answer], policy), policy, think=think, prompt=False)
    if not writes_calls(tokenizer):
        raise ModelError(
            f"the chat template of {_name(tokenizer)} writes no calls of tools, so nothing of them could be trained; "
            f"{_WITHOUT}"
        )
    if not whole.startswith(prompt):
        raise ModelError(
            f"the chat template of {_name(tokenizer)} writes a turn that calls tools otherwise than it begins an "
            f"answer, so what is trained would not be what is generated; {_WITHOUT}"
        )
    return whole[len(prompt) :]


_WITHOUT = "take a model whose template does, or leave such rows out"


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Message],
    policy: ChatPolicy,
    *,
    think: bool,
    prompt: bool = True,
) -> str:
    """The turns as the chat template writes them, marked; with the beginning of an answer where it is a prompt.

    A template that knows no developer is given a system turn, which is what that role was called before.
    """
    try:
        return _render(tokenizer, turns, policy, think=think, prompt=prompt)
    except ModelError:
        if not any(turn.role == "developer" for turn in turns):
            raise
    system = [replace(turn, role="system") if turn.role == "developer" else turn for turn in turns]
    return _render(tokenizer, system, policy, think=think, prompt=prompt)


def _render(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], policy: ChatPolicy, *, think: bool, prompt: bool
) -> str:
    conversation, tools = as_read(tokenizer, turns, think=think)
    try:
        template = None if policy.date is None else told_date(str(tokenizer.get_chat_template()), policy.date)
        text = _write(tokenizer, conversation, template=template, tools=tools, think=think, prompt=prompt)
    except Exception as error:  # a template is a program: it may raise anything
        raise ModelError(
            f"the chat template of {_name(tokenizer)} fails on the turns {', '.join(t.role for t in turns)}: "
            f"{type(error).__name__}: {error}; {_advice(turns)}"
        ) from error
    seen = unmarked(text)
    for turn in turns:
        if turn.role != "assistant" and turn.content.strip() not in seen:  # an answer may lose its thinking
            raise ModelError(
                f"the chat template of {_name(tokenizer)} leaves out the {turn.role} turn {turn.content[:60]!r}, "
                f"so the model would never see it; {_advice([turn])}"
            )
    if unseen := next((name for name in offered_tools(turns) if name not in seen), None):
        raise ModelError(
            f"the chat template of {_name(tokenizer)} writes no tools (it leaves out {unseen}), so the model would "
            f"never see them; {_WITHOUT}"
        )
    return text


def writes_calls(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template writes the tools that an answer calls, found out by rendering one."""
    call = {"id": "callprobe", "type": "function", "function": {"name": _TOOL, "arguments": {}}}
    turns = [Message("user", PROBE), Message("assistant", "", json.dumps({"tool_calls": [call]}))]
    if tokenizer.chat_template is None:
        return False
    try:
        return _TOOL in _write(tokenizer, as_read(tokenizer, turns, think=False)[0], template=None, prompt=False)
    except Exception:  # a template is a program: it may raise anything
        return False


def _write(
    tokenizer: PreTrainedTokenizerBase,
    conversation: list[dict[str, Any]],
    *,
    template: str | None,
    tools: list[Any] | None = None,
    think: bool = False,
    prompt: bool = True,
) -> str:
    with time_limit(RENDER_SECONDS):
        return str(
            tokenizer.apply_chat_template(
                conversation,
                chat_template=template,
                tools=tools,
                tokenize=False,
                add_generation_prompt=prompt,
                enable_thinking=think,
            )
        )


def _difference(texts: set[str]) -> str:
    """Where two texts part, in words."""
    one, other = sorted(texts)[:2]
    place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"{one[place : place + 20]!r} or {other[place : place + 20]!r}"


def _advice(turns: Sequence[Message]) -> str:
    if any(turn.role == "system" for turn in turns):
        return "leave model.system unset if the model takes no system turn, or mend its chat_template.jinja"
    return "mend its chat_template.jinja, or remove it to use model.template"


def _cannot_think(tokenizer: PreTrainedTokenizerBase, why: str) -> str:
    return f"a thinking reply was asked of {_name(tokenizer)}, but {why}; set thinking: off or take a hybrid model"


def _plain(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], template: str) -> str:
    """Turns by the plain template: the system text and earlier answers stand as they are, an empty line after each."""
    if tools := next(offered_tools(turns), None):
        raise ModelError(f"{_name(tokenizer)} has no chat template to write the tool {tools} with; {_WITHOUT}")
    marked = [(turn.role, mark(tokenizer, turn.content, turn.role)) for turn in turns]
    return "".join(template.replace("{prompt}", text) if role == "user" else f"{text}\n\n" for role, text in marked)


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.name_or_path) or "this tokenizer"
