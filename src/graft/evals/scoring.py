"""Scoring one task under one arm: every item with its reply, its scores and its strata."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from graft.evals.constrained import constrained_fields, questions
from graft.evals.exact import read_answers
from graft.evals.items import Items, item_fields, item_prompt
from graft.models.backends.base import Backend, no_progress
from graft.models.backends.transformers import TransformersBackend
from graft.types import Completion, Sampling, Usage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ONE_PASS = "one pass"
"""``exact`` was decided by one forward pass over the right answer."""

STRICT_REPLY = "strict reply"
"""``exact`` repeats ``strict``: the model is behind a server, or reads prompt and answer apart (T5, BART)."""

FIELD_RULE = "field style"
"""``exact`` repeats ``strict``, the field's own rule: the gold answer is no text that a reply should be."""

CHECKED = 100
"""Items of a task that one pass calls right and that are generated nevertheless, to see whether that is so."""


def score_items(
    backend: Backend, items: Items, sampling: Sampling, *, on_batch: Callable[[int], None] = no_progress
) -> list[dict[str, Any]]:
    """Score every item in one pass, and the reply by the task's own scorer.

    A model in this process decides exact match, which is about the greedy reply whatever the sampling, and the
    constrained score of closed answers in one pass. Where exact match holds under plain greedy sampling the reply is
    the gold answer by definition, so only the other items are generated, and some of these as a check of that.
    A server is not asked for that pass, and a sequence-to-sequence model is not believed: every item is generated, and
    ``exact`` repeats ``strict``.

    Returns:
        One JSON-ready record per item, in order: prompt, gold, reply, token ids, scores and strata.
    """
    exact: list[bool] | None = None
    greedy = sampling.greedy and sampling.repetition_penalty == 1.0
    constrained: list[dict[str, Any]] = [{} for _ in items.examples]
    replies: dict[int, Completion] = {}
    if isinstance(backend, TransformersBackend):
        exact, constrained = _read(backend, items)
        if greedy and exact is not None:
            replies = {index: _as_written(items, index) for index in _believed(exact)}
    on_batch(len(replies))
    asked = [index for index in range(len(items)) if index not in replies]
    written = backend.generate([item_prompt(items, index) for index in asked], sampling, on_done=on_batch)
    replies.update(zip(asked, written, strict=True))
    generated = frozenset(asked)
    tokenizer = backend.tokenizer if isinstance(backend, TransformersBackend) else None
    return [
        _record(tokenizer, items, index, replies[index], exact[index] if exact else None, index in generated)
        | constrained[index]
        | ({} if greedy else {"drawn": True})
        for index in range(len(items))
    ]


def _read(backend: TransformersBackend, items: Items) -> tuple[list[bool] | None, list[dict[str, Any]]]:
    """Exact match of every item, ``None`` where it is not decided so, and the fields of constrained scoring."""
    asked = questions(backend.tokenizer, items)
    if backend.model.config.is_encoder_decoder and not any(asked):
        return None, [{} for _ in asked]
    readings = read_answers(
        backend.model,
        items.rows,
        [question.probes if question else () for question in asked],
        pad_id=int(backend.tokenizer.pad_token_id or 0),
        batch_size=backend.batch_size,
        allowed=backend.allowed,
    )
    fields = constrained_fields(backend, items, asked, readings)
    believed = not backend.model.config.is_encoder_decoder
    return [reading.exact for reading in readings] if believed else None, fields


def _believed(exact: Sequence[bool]) -> list[int]:
    """The items whose reply is known from one pass, less those that are generated as a check, evenly spread."""
    right = [index for index, hit in enumerate(exact) if hit]
    step = max(1.0, len(right) / CHECKED)
    checked = {right[int(place * step)] for place in range(min(CHECKED, len(right)))}
    return [index for index in right if index not in checked]


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
    score = items.task.verdict(items.examples[index], reply.text)
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
        "right": score.lenient,
        "parsed": score.parsed,
        "answer": score.answer,
        "details": dict(score.details),
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
        **_constrained(records),
        "agreement": 1.0 - disagreement(records),
        "reply_tokens": _mean([count for record in records if (count := _reply_tokens(record)) is not None]),
        "exact_from": everything[0].get("exact_from", ONE_PASS),
        "details": {name: fmean(values) for name, values in details.items()} | _micro(details),
        "phrasings": {name: fmean(values) for name, values in sorted(phrasings.items())},
    }


def _constrained(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean constrained score; nothing where an item has none."""
    found = [record["constrained"] for record in records if "constrained" in record]
    return {"constrained": fmean(found)} if found and len(found) == len(records) else {}


def _micro(details: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """F1 over all items together, for tasks whose items count what was found and what was there."""
    found, said, there = (sum(details.get(name, ())) for name in ("true_positives", "predicted", "expected"))
    if "true_positives" not in details:
        return {}
    return {"micro_f1": 2 * found / (said + there) if said + there else math.nan}


def disagreement(records: Sequence[Mapping[str, Any]]) -> float:
    """Share of items of which one pass and the generated reply say different things, in [0, 1].

    One pass says whether the greedy reply is the gold answer; where it differs from the reply, the model ends its turns
    otherwise than its rows do. Items that one pass calls right are checked by a sample, which stands for all of them.
    A drawn reply says nothing of the greedy one. NaN where one pass decided nothing.
    """
    told = [r for r in records if r.get("exact_from", ONE_PASS) == ONE_PASS and not r.get("drawn")]
    found = 0.0
    for verdict in (True, False):
        own = [record for record in told if record["exact"] == verdict]
        checked = [_is_gold(record) != verdict for record in own if record["generated"]]
        found += len(own) * _mean(checked) if checked else 0.0
    return found / len(told) if any(record["generated"] for record in told) else math.nan


def _is_gold(record: Mapping[str, Any]) -> bool:
    same = bool(record["reply_ids"]) and record["reply_ids"] == record.get("gold_ids")
    return same or (record["finished"] and record.get("reply") == record.get("gold"))


def _reply_tokens(record: Mapping[str, Any]) -> int | None:
    """Tokens of a reply; ``None`` where a server did not say."""
    counted: int | None = record.get("reply_tokens", len(record["reply_ids"]))
    return counted


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan
