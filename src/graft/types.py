"""The few values that every room speaks: frozen, plain Python, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
    """

    id: str
    task: str
    prompt: str | None
    gold: str
    cluster: str = ""
    phrasing: str = ""
    strata: Mapping[str, Stratum] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One example as token ids.

    Attributes:
        prompt: ids that are read but never trained; empty for plain text.
        completion: ids that are trained, the end-of-turn id last.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: the reply, decoded without special tokens.
        token_ids: the generated ids, including the end-of-turn id if it was written.
        finished: True when the model ended the turn itself, False when it was cut at the token limit.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Score:
    """How a scorer judged one reply.

    Attributes:
        strict: the reply is the gold answer in the asked form, nothing more.
        lenient: the answer that was parsed from the reply is right, whatever stands around it.
        parsed: an answer of the asked kind was found in the reply at all.
        answer: the parsed answer in normal form, ``None`` when nothing was found.
        details: further numbers of the task's own (``cer``, ``first_error``, ``absolute_error`` …).
    """

    strict: bool
    lenient: bool
    parsed: bool
    answer: str | None = None
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run directory by place and name."""

    path: Path
    name: str
