"""What examples look like before anything is trained on them: lengths, labels, repeats, gaps, and their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from graft.data.chat import NO_THINKING, ChatPolicy
from graft.data.controls import unknown_token
from graft.data.leaks import duplicates
from graft.data.pieces import example_pieces, is_lost, lost_characters, spelled_controls
from graft.data.tokens import token_ids
from graft.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PieceKind = Literal["template", "prompt", "trained", "lost", "cut"]

BINS = 24
MOST_LABELS = 40
"""Tasks with more different answers than this have no label balance."""


@dataclass(frozen=True, slots=True)
class Shift:
    """The label whose share changes most when rows that are too long are left out.

    Attributes:
        label: the label.
        before: its share of all rows.
        after: its share of those that fit; NaN when none does.
    """

    label: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found in the examples of one task and part.

    Attributes:
        task: its name.
        part: ``train`` or ``eval``.
        examples: examples looked at.
        tokens: tokens of all of them.
        trained_tokens: those that carry loss.
        shortest, median, longest: row lengths in tokens.
        edges, counts: histogram of the lengths: BINS + 1 edges in tokens, and the rows between them.
        too_long: rows longer than ``data.max_length``.
        repeated: examples that repeat the prompt and the answer of another row.
        contradicting: examples whose prompt has another answer elsewhere.
        empty: examples with an empty prompt; those with an empty answer are refused.
        lossy: examples with characters that the tokenizer cannot write.
        lost: those characters.
        spelling: examples whose content spells a control token, which stays text.
        spelled: those control tokens.
        longest_prompt: tokens of the longest prompt among the rows that fit.
        longest_answer: tokens of the longest answer among them.
        labels: examples by answer, the most frequent first; empty for tasks without a closed set.
        shift: what leaving out the rows that are too long does to the labels; ``None`` where nothing changes.
    """

    task: str
    part: str
    examples: int
    tokens: int
    trained_tokens: int
    shortest: int
    median: int
    longest: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    too_long: int
    repeated: int
    contradicting: int
    empty: int
    labels: Mapping[str, int]
    lossy: int = 0
    lost: str = ""
    spelling: int = 0
    spelled: tuple[str, ...] = ()
    longest_prompt: int = 0
    longest_answer: int = 0
    shift: Shift | None = None

    @property
    def mean(self) -> float:
        """Tokens per row."""
        return self.tokens / self.examples if self.examples else float("nan")


@dataclass(frozen=True, slots=True)
class ShownExample:
    """One example token by token.

    Attributes:
        id: of the example.
        task: its task.
        pieces: text of each token and what it is: ``template``, ``prompt``, ``trained``, ``lost`` where the tokenizer
            cannot write it, or ``cut`` when the row is too long and is left out.
    """

    id: str
    task: str
    pieces: tuple[tuple[str, PieceKind], ...]


def survey(
    tokenizer: PreTrainedTokenizerBase,
    task: str,
    part: str,
    examples: Sequence[Example],
    *,
    max_length: int,
    policy: ChatPolicy = NO_THINKING,
) -> Survey:
    """Look at examples as they would be trained.

    Raises:
        DataError: an example has nothing to train, or its prompt's tokens change when the answer follows.
    """
    lengths, trained, longest_prompt, longest_answer = [], 0, 0, 0
    unknown = unknown_token(tokenizer)
    lost: list[str] = []
    for example, ids, cut in token_ids(tokenizer, examples, policy=policy):
        lengths.append(len(ids))
        trained += len(ids) - (cut if example.prompt is not None else 1)
        if len(ids) <= max_length:
            longest_prompt, longest_answer = max(longest_prompt, cut), max(longest_answer, len(ids) - cut)
        if unknown and tokenizer.unk_token_id in ids and (found := lost_characters(tokenizer, example, policy)):
            lost.append(found)
    spelled = [tokens for example in examples if (tokens := spelled_controls(tokenizer, example))]
    counts, edges = np.histogram(lengths, bins=min(BINS, max(1, max(lengths) - min(lengths) + 1)))
    asked = [example for example in examples if example.prompt is not None]
    answers: dict[str, set[str]] = {}
    for example in asked:
        answers.setdefault(_asked(example), set()).add(example.gold)
    labels = Counter(example.gold for example in examples if example.options)
    fitting = [example for example, length in zip(examples, lengths, strict=True) if length <= max_length]
    fit = Counter(example.gold for example in fitting if example.options)
    drawn = {example.id: example for example in examples}  # a row of a later pass repeats nothing
    return Survey(
        task=task,
        part=part,
        examples=len(examples),
        tokens=sum(lengths),
        trained_tokens=trained,
        shortest=min(lengths),
        median=int(np.median(lengths)),
        longest=max(lengths),
        edges=tuple(float(edge) for edge in edges),
        counts=tuple(int(count) for count in counts),
        too_long=sum(length > max_length for length in lengths),
        repeated=duplicates(f"{_asked(example)}\0{example.gold}" for example in drawn.values()),
        contradicting=sum(len(answers[_asked(example)]) > 1 for example in asked),
        empty=sum(not (example.prompt or "").strip() for example in asked),
        labels=dict(labels.most_common()) if len(labels) <= MOST_LABELS else {},
        lossy=len(lost),
        lost="".join(dict.fromkeys("".join(lost))),
        spelling=len(spelled),
        spelled=tuple(dict.fromkeys(token for tokens in spelled for token in tokens)),
        longest_prompt=longest_prompt,
        longest_answer=longest_answer,
        shift=_shift(labels, fit),
    )


def show(
    tokenizer: PreTrainedTokenizerBase, example: Example, *, max_length: int, policy: ChatPolicy = NO_THINKING
) -> ShownExample:
    """An example token by token, as the model reads it."""
    prompt, row = example_pieces(tokenizer, example, policy)
    start = prompt.rfind(example.prompt) if example.prompt else -1
    stop = start + len(example.prompt or "")
    pieces: list[tuple[str, PieceKind]] = []
    for index, piece in enumerate(row):
        kind: PieceKind = "trained" if piece.trained else "template"
        if piece.start is not None and start >= 0 and piece.start < stop and piece.start + len(piece.text) > start:
            kind = "prompt"
        if is_lost(tokenizer, piece):
            kind = "lost"
        pieces.append((piece.shown, "cut" if index >= max_length else kind))
    return ShownExample(example.id, example.task, tuple(pieces))


def _shift(labels: Mapping[str, int], fit: Mapping[str, int]) -> Shift | None:
    all_rows, fitting = sum(labels.values()), sum(fit.values())
    shifts = [
        Shift(label, count / all_rows, fit.get(label, 0) / fitting if fitting else float("nan"))
        for label, count in labels.items()
    ]
    most = max(shifts, key=lambda shift: abs(shift.after - shift.before), default=None)
    return None if most is None or most.after == most.before else most


def _asked(example: Example) -> str:
    return "\0".join((*(turn.content for turn in example.history), example.prompt or ""))
