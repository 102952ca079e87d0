"""Examples as token ids: what is prompt, what is trained, and how each word was cut inside its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graft.data.chat import end_of_turn, render_prompt
from graft.errors import DataError
from graft.types import Example, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


CHUNK = 4096
"""Texts tokenised at once."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token rows with the examples that were too long to be among them.

    Attributes:
        rows: one row per kept example, in order.
        kept: index of each row's example.
        dropped: index of each example longer than the limit.
    """

    rows: tuple[TokenRow, ...]
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


def encode(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, max_length: int) -> Encoded:
    """Tokenise examples, each prompt rendered by the chat template and each completion ended.

    Prompt and completion are tokenised apart and joined, because generation continues from the prompt's own ids.
    An example longer than the limit is dropped whole: cutting it would cut the answer.

    Raises:
        DataError: nothing fits, or an example has nothing to train.
    """
    if not examples:
        raise DataError("there are no examples to encode; check the task and its word or file source")
    end = end_of_turn(tokenizer)
    prompts = _ids(tokenizer, [render_prompt(tokenizer, e.prompt) if e.prompt is not None else "" for e in examples])
    completions = _ids(tokenizer, [example.gold for example in examples])
    rows, kept, dropped = [], [], []
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        if not completion:
            raise DataError(f"example {examples[index].id} has an empty answer, so nothing of it would be trained")
        row = TokenRow(prompt, (*completion, end))
        if len(row) > max_length:
            dropped.append(index)
        else:
            rows.append(row)
            kept.append(index)
    if not rows:
        shortest = min(len(p) + len(c) + 1 for p, c in zip(prompts, completions, strict=True))
        raise DataError(
            f"data.max_length is {max_length}, but the shortest of {len(examples)} rows has {shortest} tokens; raise it"
        )
    return Encoded(tuple(rows), tuple(kept), tuple(dropped))


def word_pieces(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[tuple[str, ...]]:
    """How each example's word is cut into tokens inside its rendered prompt.

    Quotes, spaces and neighbours change the cut, so the word alone says nothing about it.

    Returns:
        One tuple of surface pieces per example, for instance ``("straw", "berry")``; empty if the word is not there.
    """
    texts = [render_prompt(tokenizer, example.prompt or "") for example in examples]
    offsets = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    pieces = []
    for example, text, spans in zip(examples, texts, offsets, strict=True):
        start = text.find(example.cluster) if example.cluster else -1
        stop = start + len(example.cluster)
        cut = [text[max(a, start) : min(b, stop)] for a, b in spans if a < stop and b > start] if start >= 0 else []
        pieces.append(tuple(piece for piece in cut if piece))
    return pieces


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[tuple[int, ...]]:
    """Tokenise in chunks: a tokenizer's raw output takes kilobytes per text."""
    chunks = (texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK))
    return [tuple(ids) for chunk in chunks for ids in tokenizer(chunk, add_special_tokens=False)["input_ids"]]
