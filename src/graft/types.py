"""The few values that every room speaks: frozen, plain Python, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Stratum: TypeAlias = str | int | float | bool
"""One declared property of an item, by which results are broken down."""


@dataclass(frozen=True, slots=True)
class Example:
    """One text-in, text-out item of a task.

    Attributes:
        id: unique within a task and split, stable across runs (``spelling/strawberry/dash-03``).
        task: the registered task name.
        prompt: the user turn as plain text, before any chat template; ``None`` for plain text that is trained whole.
        gold: the completion that is trained and scored against, without the end-of-turn token.
        cluster: the resampling unit of the statistics (for word tasks the word); items that share it are dependent.
        phrasing: name of the prompt phrasing.
        strata: properties declared in advance, by name.
        reasoning: thinking that is trained before the completion, without its tags; ``None`` for a row without any.
        history: earlier turns of the conversation, oldest first; the prompt is the user turn after them.
        options: the closed set of answers of which `gold` is one; empty when any text may be right.
        asker: role of the turn that is answered: ``user``, or ``tool`` where the prompt is a tool's result.
        asked: further fields of that turn as a JSON object, such as its ``tool_call_id``; empty for none.
        calls: tools that the answer calls after `gold`, as the JSON of its ``tool_calls``; the template spells them.
    """

    id: str
    task: str
    prompt: str | None
    gold: str
    cluster: str = ""
    phrasing: str = ""
    strata: Mapping[str, Stratum] = field(default_factory=dict)
    reasoning: str | None = None
    history: tuple[Message, ...] = ()
    options: tuple[str, ...] = ()
    asker: str = "user"
    asked: str = ""
    calls: str = ""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One example as token ids.

    Attributes:
        prompt: ids that are read but never trained; empty for plain text.
        completion: ids that are trained, the end-of-turn id last.
        read: parts of the completion that are read and not trained, as places (from, to) in the whole row; only rows
            that several were joined to have any.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    read: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)

    def trained(self) -> list[int]:
        """The places of the tokens that a causal model is trained on; nothing predicts the first of a row."""
        starts = [max(len(self.prompt), 1), *(end for _, end in self.read)]
        ends = [*(start for start, _ in self.read), len(self)]
        return [place for start, end in zip(starts, ends, strict=True) for place in range(start, end)]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: ``system``, ``developer``, ``user``, ``assistant`` or ``tool``; ``tools`` for the one, first of all, that
            stands for the tools on offer: its fields hold them, and it has no content.
        content: plain text, before any chat template.
        fields: further fields of the turn as a JSON object, such as its ``tool_calls``; empty for none.
    """

    role: str
    content: str
    fields: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked, in both forms that backends read.

    Attributes:
        messages: the conversation; a remote server renders it with its own chat template.
        ids: the same conversation rendered by `graft.data.chat` and tokenised; a local model continues these. May be
            empty for a remote backend.
    """

    messages: tuple[Message, ...]
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; every value is passed to every generation, none is left to a model's own default.

    Attributes:
        temperature: 0 to 2; 0 is greedy, and then top_p, top_k, min_p and seed have no effect.
        top_p: 0 to 1; only the most probable tokens that together reach this probability; 1 is off.
        top_k: only the k most probable tokens; 0 is off.
        min_p: 0 to 1; only tokens at least this fraction as probable as the most probable one; 0 is off.
        max_new_tokens: longest reply in tokens, at least 1.
        repetition_penalty: above 0; divides the odds of tokens that are in the prompt or reply already; 1 is off.
        seed: seeds the draws.
        min_new_tokens: shortest reply in tokens; only a model in this process keeps to it.
        until: texts before the first of which a reply is cut; only the whole replies of a model in this process are.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_new_tokens: int = 48
    repetition_penalty: float = 1.0
    seed: int = 0
    min_new_tokens: int = 0
    until: tuple[str, ...] = ()

    @property
    def greedy(self) -> bool:
        """True when no token is drawn by chance."""
        return self.temperature == 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written; sums with ``+``."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: the reply, decoded without special tokens.
        token_ids: the generated ids, including the end-of-turn id if it was written; empty from a remote server.
        finished: True when the model ended the turn itself, False when it was cut at the token limit.
        usage: tokens read and written; ``None`` where a server did not say.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    finished: bool = True
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """One piece of a reply that is being written.

    Attributes:
        text: what was added, possibly empty; the texts of all pieces join to the reply.
        completion: the whole reply, on the last piece only.
    """

    text: str
    completion: Completion | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How a scorer judged one reply.

    Attributes:
        strict: the reply is the gold answer in the asked form, nothing more.
        lenient: the answer that was parsed from the reply is right, whatever stands around it.
        parsed: an answer of the asked kind was found in the reply at all.
        answer: the parsed answer in normal form, ``None`` when nothing was found.
        details: further numbers of the task's own (``cer``, ``first_error``, ``absolute_error`` …).
        undefined: why the reply could not be judged; `strict` and `lenient` then mean nothing. Empty when it was.
    """

    strict: bool
    lenient: bool
    parsed: bool
    answer: str | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    undefined: str = ""
