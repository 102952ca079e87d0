"""Scoring one task under one arm: every item with its reply, its scores and its strata."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from graft.data.chat import NO_THINKING, ChatPolicy, render_chat, with_system
from graft.data.tokens import encode, example_turns, word_pieces
from graft.evals.exact import exact_match
from graft.models.backends.base import Backend, no_progress
from graft.models.backends.transformers import TransformersBackend
from graft.tasks.base import Task
from graft.types import Completion, Example, Prompt, Sampling, TokenRow, Usage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ONE_PASS = "one pass"
"""``exact`` was decided by one forward pass over the right answer."""

STRICT_REPLY = "strict reply"
"""``exact`` repeats ``strict``: the model is behind a server, or reads prompt and answer apart (T5, BART)."""


JUDGED_BY_SCORER = ("answer", "code")
"""Kinds of tasks with many ways to write the right answer: ``right`` is the scorer's verdict, elsewhere ``exact``."""


@dataclass(frozen=True, slots=True)
class Items:
    """The items of one task and split, rendered and tokenised once for all arms.

    Attributes:
        task: the task, which scores the replies.
        split: ``eval`` or ``seen``.
        examples: the items.
        rows: their token rows, in the same order; empty when the model's tokenizer is unknown, behind a server.
        pieces: how each item's word is cut into tokens inside its prompt; empty likewise.
        policy: how the prompts were rendered.
        think: the prompts ask for a reply that thinks first.
    """

    task: Task
    split: str
    examples: tuple[Example, ...]
    rows: tuple[TokenRow, ...]
    pieces: tuple[tuple[str, ...], ...]
    policy: ChatPolicy = NO_THINKING
    think: bool = False

    def __len__(self) -> int:
        return len(self.examples)


def prepare_items(
    tokenizer: PreTrainedTokenizerBase | None,
    task: Task,
    split: str,
    examples: Sequence[Example],
    *,
    max_length: int,
    policy: ChatPolicy = NO_THINKING,
    think: bool = False,
) -> Items:
    """Render and tokenise the items of a task; items that do not fit ``max_length`` are left out.

    Without a tokenizer, behind a server, the items stay text.

    Raises:
        ThinkingPolicyError: `think` is against the policy, or the template cannot do what is asked.
    """
    if tokenizer is None:
        return Items(task, split, tuple(examples), (), (), policy, think)
    encoded = encode(tokenizer, examples, max_length=max_length, policy=policy, think=think)
    kept = tuple(examples[index] for index in encoded.kept)
    pieces = tuple(word_pieces(tokenizer, kept, policy, think=think))
    return Items(task, split, kept, encoded.rows, pieces, policy, think)


def score_items(
    backend: Backend, items: Items, sampling: Sampling, *, on_batch: Callable[[int], None] = no_progress
) -> list[dict[str, Any]]:
    """Score every item: exact match, and the reply by the task's own scorer.

    A model in this process decides exact match, which is about the greedy reply whatever the sampling, in one pass.
    Where it holds under plain greedy sampling the reply is the gold answer by definition, so only the other items are
    generated. A server or a sequence-to-sequence model is not asked for that pass: every item is generated, and
    ``exact`` repeats ``strict``.

    Returns:
        One JSON-ready record per item, in order: prompt, gold, reply, token ids, scores and strata.
    """
    exact: list[bool] | None = None
    replies: dict[int, Completion] = {}
    if isinstance(backend, TransformersBackend) and not backend.model.config.is_encoder_decoder:
        exact = exact_match(
            backend.model,
            items.rows,
            pad_id=int(backend.tokenizer.pad_token_id),
            batch_size=backend.batch_size,
            allowed=backend.allowed,
        )
        if sampling.greedy and sampling.repetition_penalty == 1.0:
            replies = {index: _as_written(items, index) for index, right in enumerate(exact) if right}
    on_batch(len(replies))
    asked = [index for index in range(len(items)) if index not in replies]
    written = backend.generate([item_prompt(items, index) for index in asked], sampling, on_done=on_batch)
    replies.update(zip(asked, written, strict=True))
    generated = frozenset(asked)
    tokenizer = backend.tokenizer if isinstance(backend, TransformersBackend) else None
    return [
        _record(tokenizer, items, index, replies[index], exact[index] if exact else None, index in generated)
        for index in range(len(items))
    ]


def item_prompt(items: Items, index: int) -> Prompt:
    """What a backend is asked for one item."""
    turns = with_system(example_turns(items.examples[index]), items.policy)
    return Prompt(turns, items.rows[index].prompt if items.rows else ())


def _as_written(items: Items, index: int) -> Completion:
    """The greedy reply of an item whose exact match holds."""
    row = items.rows[index]
    return Completion(items.examples[index].gold, row.completion, True, Usage(len(row.prompt), len(row.completion)))


def _record(
    tokenizer: PreTrainedTokenizerBase | None,
    items: Items,
    index: int,
    reply: Completion,
    exact: bool | None,
    generated: bool,
) -> dict[str, Any]:
    score = items.task.score(items.examples[index], reply.text)
    strict = score.strict and reply.finished
    return {
        **item_fields(tokenizer, items, index),
        "reply": reply.text,
        "finished": reply.finished,
        "reply_ids": list(reply.token_ids),
        "reply_tokens": reply.usage.completion_tokens if reply.usage else None,
        "exact": strict if exact is None else exact,
        "exact_from": STRICT_REPLY if exact is None else ONE_PASS,
        "generated": generated,
        "strict": strict,
        "lenient": score.lenient,
        **({"undefined": score.undefined} if score.undefined else {}),
        "right": score.lenient if items.task.card.kind in JUDGED_BY_SCORER else strict if exact is None else exact,
        "parsed": score.parsed,
        "answer": score.answer,
        "details": dict(score.details),
    }


def item_fields(tokenizer: PreTrainedTokenizerBase | None, items: Items, index: int) -> dict[str, Any]:
    """The part of a record that does not depend on the reply.

    Without a tokenizer, behind a server, nobody knows which tokens the model reads, so they are ``None``.
    """
    example = items.examples[index]
    rendered, prompt_ids, gold_ids = None, None, None
    if tokenizer is not None:
        rendered = render_chat(tokenizer, example_turns(example), items.policy, think=items.think)
        prompt_ids, gold_ids = list(items.rows[index].prompt), list(items.rows[index].completion)
    pieces = items.pieces[index] if items.pieces else None
    cut = {} if pieces is None else {"word_tokens": len(pieces), "pieces": "|".join(pieces)}
    return {
        "id": example.id,
        "task": example.task,
        "split": items.split,
        "word": example.cluster,
        "phrasing": example.phrasing,
        "prompt": example.prompt,
        "rendered": rendered,
        "gold": example.gold,
        "prompt_ids": prompt_ids,
        "gold_ids": gold_ids,
        "strata": {**example.strata, **cut},
    }


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean scores of one arm, task and split over the items whose score is defined.

    Shares are in [0, 1], and an undefined mean is NaN. Items of which nobody can say whether they are right are counted
    with the first reason.
    """
    undefined = [record["undefined"] for record in records if "undefined" in record]
    everything, records = records, [record for record in records if "undefined" not in record]
    phrasings: dict[str, list[bool]] = defaultdict(list)
    details: dict[str, list[float]] = defaultdict(list)
    for record in records:
        phrasings[record["phrasing"]].append(record["exact"])
        for name, value in record["details"].items():
            if value is not None and not math.isnan(value):
                details[name].append(value)
    flags = ("right", "exact", "strict", "lenient", "parsed", "finished")
    return {
        "n": len(records),
        **({"undefined": len(undefined), "undefined_reason": undefined[0]} if undefined else {}),
        **{flag: _mean([record[flag] for record in records]) for flag in flags},
        "agreement": _agreement(records),
        "reply_tokens": _mean([count for record in records if (count := _reply_tokens(record)) is not None]),
        "exact_from": everything[0].get("exact_from", ONE_PASS),
        "details": {name: fmean(values) for name, values in details.items()} | _micro(details),
        "phrasings": {name: fmean(values) for name, values in sorted(phrasings.items())},
    }


def _micro(details: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """F1 over all items together, for tasks whose items count what was found and what was there."""
    found, said, there = (sum(details.get(name, ())) for name in ("true_positives", "predicted", "expected"))
    if "true_positives" not in details:
        return {}
    return {"micro_f1": 2 * found / (said + there) if said + there else math.nan}


def _agreement(records: Sequence[Mapping[str, Any]]) -> float:
    """Share of the generated replies that are wrong in strict form too, as the one-pass score says; NaN without any."""
    one_pass = [record for record in records if record.get("exact_from", ONE_PASS) == ONE_PASS]
    return _mean([not record["strict"] for record in one_pass if record["generated"]])


def _reply_tokens(record: Mapping[str, Any]) -> int | None:
    """Tokens of a reply; ``None`` where a server did not say."""
    counted: int | None = record.get("reply_tokens", len(record["reply_ids"]))
    return counted


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan
