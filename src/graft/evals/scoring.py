"""Scoring one task under one arm: every item with its reply, its scores and its strata."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from graft.data.chat import render_prompt
from graft.data.tokens import encode, word_pieces
from graft.evals.exact import exact_match
from graft.models.generation import generate
from graft.tasks.base import Task
from graft.types import Completion, Example, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Items:
    """The items of one task and split, rendered and tokenised once for all arms.

    Attributes:
        task: the task, which scores the replies.
        split: ``eval`` or ``seen``.
        examples: the items.
        rows: their token rows, in the same order.
        pieces: how each item's word is cut into tokens inside its prompt.
    """

    task: Task
    split: str
    examples: tuple[Example, ...]
    rows: tuple[TokenRow, ...]
    pieces: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.examples)


def prepare_items(
    tokenizer: PreTrainedTokenizerBase, task: Task, split: str, examples: Sequence[Example], *, max_length: int
) -> Items:
    """Tokenise the items of a task; items that do not fit ``max_length`` are left out."""
    encoded = encode(tokenizer, examples, max_length=max_length)
    kept = tuple(examples[index] for index in encoded.kept)
    return Items(task, split, kept, encoded.rows, tuple(word_pieces(tokenizer, kept)))


def score_items(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Items,
    *,
    batch_size: int,
    max_new_tokens: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> list[dict[str, Any]]:
    """Score every item: exact match in one pass, then the greedy reply by the task's own scorer.

    Where exact match holds, the greedy reply is the gold answer by definition, so only the other items are generated.

    Returns:
        One JSON-ready record per item, in order: prompt, gold, reply, token ids, scores and strata.
    """
    exact = exact_match(model, items.rows, pad_id=int(tokenizer.pad_token_id), batch_size=batch_size)
    on_batch(sum(exact))
    missed = [index for index, right in enumerate(exact) if not right]
    generated = generate(
        model,
        tokenizer,
        [items.rows[index].prompt for index in missed],
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        on_batch=on_batch,
    )
    replies = [Completion(e.gold, row.completion) for e, row in zip(items.examples, items.rows, strict=True)]
    for index, reply in zip(missed, generated, strict=True):
        replies[index] = reply
    return [_record(tokenizer, items, index, exact[index], reply) for index, reply in enumerate(replies)]


def _record(
    tokenizer: PreTrainedTokenizerBase, items: Items, index: int, exact: bool, reply: Completion
) -> dict[str, Any]:
    example, row, pieces = items.examples[index], items.rows[index], items.pieces[index]
    score = items.task.score(example, reply.text)
    return {
        "id": example.id,
        "task": example.task,
        "split": items.split,
        "word": example.cluster,
        "phrasing": example.phrasing,
        "prompt": example.prompt,
        "rendered": render_prompt(tokenizer, example.prompt or ""),
        "gold": example.gold,
        "reply": reply.text,
        "finished": reply.finished,
        "prompt_ids": list(row.prompt),
        "gold_ids": list(row.completion),
        "reply_ids": list(reply.token_ids),
        "exact": exact,
        "generated": not exact,
        "strict": score.strict and reply.finished,
        "lenient": score.lenient,
        "parsed": score.parsed,
        "answer": score.answer,
        "details": dict(score.details),
        "strata": {**example.strata, "word_tokens": len(pieces), "pieces": "|".join(pieces)},
    }


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean scores of one arm, task and split; shares in [0, 1], an undefined mean is NaN."""
    phrasings: dict[str, list[bool]] = defaultdict(list)
    details: dict[str, list[float]] = defaultdict(list)
    for record in records:
        phrasings[record["phrasing"]].append(record["exact"])
        for name, value in record["details"].items():
            if value is not None and not math.isnan(value):
                details[name].append(value)
    flags = ("exact", "strict", "lenient", "parsed", "finished")
    return {
        "n": len(records),
        **{flag: fmean(record[flag] for record in records) for flag in flags},
        "agreement": _agreement(records),
        "reply_tokens": fmean(len(record["reply_ids"]) for record in records),
        "details": {name: fmean(values) for name, values in details.items()},
        "phrasings": {name: fmean(values) for name, values in sorted(phrasings.items())},
    }


def _agreement(records: Sequence[Mapping[str, Any]]) -> float:
    """Share of the generated replies that are wrong in strict form too, as the one-pass score says; NaN without any."""
    generated = [record for record in records if record["generated"]]
    return fmean(not record["strict"] for record in generated) if generated else math.nan
