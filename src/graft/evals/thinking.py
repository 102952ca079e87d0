"""Scoring with thinking: several drawn replies to every item, their answers scored and their thinking counted.

One pass cannot tell what a thinking model would answer, and its makers advise against greedy decoding, so each item
gets several drawn replies. An item counts as right when most of them are; the other scores are means over all replies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from graft.data.chat import opens_thinking
from graft.data.thinking import split_thinking
from graft.errors import ThinkingPolicyError
from graft.evals.items import Items, item_fields, item_prompt
from graft.evals.scoring import summarise
from graft.models.backends.base import Backend, no_progress
from graft.types import Completion, Example, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_REPLIES = "most replies"
"""``exact`` says whether more than half of the drawn replies are strictly right."""


def score_with_thinking(
    backend: Backend,
    tokenizer: PreTrainedTokenizerBase | None,
    items: Items,
    sampling: Sampling,
    *,
    samples: int,
    on_done: Callable[[int], None] = no_progress,
) -> list[dict[str, Any]]:
    """Draw replies to every item and score their answers.

    Args:
        backend: the model.
        tokenizer: counts the tokens of the thinking; ``None`` behind a server whose tokenizer is unknown.
        items: the items, rendered with thinking.
        sampling: how tokens are drawn; each further sample takes the next seed.
        samples: replies per item.
        on_done: called with the number of items just finished, after the last sample of each.

    Returns:
        One JSON-ready record per item, in order. Its ``exact``, ``strict``, ``lenient``, ``parsed`` and ``finished``
        say what holds for more than half of the replies, ``samples`` holds every reply, and ``reply`` is the first
        one that is as right or wrong as the item.

    Raises:
        ThinkingPolicyError: the sampling is greedy.
    """
    if sampling.greedy:
        raise ThinkingPolicyError(
            "thinking replies would be generated greedily, which makes Qwen3 repeat itself without end; "
            "set sampling.preset: qwen3-thinking or a temperature above 0"
        )
    prompts = [item_prompt(items, index) for index in range(len(items))]
    drawn = [
        backend.generate(
            prompts,
            replace(sampling, seed=sampling.seed + sample),
            on_done=on_done if sample == samples - 1 else no_progress,
        )
        for sample in range(samples)
    ]
    replies = zip(*drawn, strict=True)
    return [_record(tokenizer, items, index, completions) for index, completions in enumerate(replies)]


def _record(
    tokenizer: PreTrainedTokenizerBase | None, items: Items, index: int, completions: Sequence[Completion]
) -> dict[str, Any]:
    fields = item_fields(tokenizer, items, index)
    opened = opens_thinking(fields["rendered"] or "")
    samples = [_sample(tokenizer, items, items.examples[index], reply, opened=opened) for reply in completions]
    most = {flag: _most(samples, flag) for flag in ("strict", "lenient", "parsed", "finished")}
    shown = next((sample for sample in samples if sample["strict"] == most["strict"]), samples[0])
    undefined = [sample["undefined"] for sample in samples if "undefined" in sample]
    kept = ("reply", "thinking", "reply_ids", "reply_tokens", "answer", "details")
    return {
        **fields,
        **{key: shown[key] for key in kept},
        "exact": most["strict"],
        "exact_from": MOST_REPLIES,
        "right": most["lenient"],
        "generated": True,
        **({"undefined": undefined[0]} if undefined else {}),
        **most,
        "samples": samples,
    }


def _most(samples: Sequence[Mapping[str, Any]], flag: str) -> bool:
    return 2 * sum(bool(sample[flag]) for sample in samples) > len(samples)


def _sample(
    tokenizer: PreTrainedTokenizerBase | None,
    items: Items,
    example: Example,
    completion: Completion,
    *,
    opened: bool,
) -> dict[str, Any]:
    reply = split_thinking(completion.text, opened=opened)
    score = items.task.verdict(example, reply.answer)
    return {
        "reply": reply.answer,
        "thinking": reply.thinking,
        "closed": reply.closed,
        "finished": completion.finished,
        "think_tokens": None if tokenizer is None else len(tokenizer.encode(reply.thinking, add_special_tokens=False)),
        "reply_ids": list(completion.token_ids),
        "reply_tokens": completion.usage.completion_tokens if completion.usage else None,
        **({"undefined": score.undefined} if score.undefined else {}),
        "strict": score.strict and completion.finished,
        "lenient": score.lenient,
        "parsed": score.parsed,
        "answer": score.answer,
        "details": dict(score.details),
    }


def summarise_thinking(records: Sequence[Mapping[str, Any]], sampling: Sampling) -> dict[str, Any]:
    """Mean scores of one arm, task and split that was scored with thinking.

    Args:
        records: what `score_with_thinking` returned.
        sampling: what the replies were drawn with.

    Returns:
        The keys of `graft.evals.scoring.summarise`, where ``exact`` is the share of items that most replies got right
        and the other shares are means over all replies, and ``thinking``: replies per item, mean tokens of thinking,
        share of replies that never closed it, share cut at the token limit, and the sampling.
    """
    samples = [sample for record in records for sample in record["samples"]]
    details: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample["details"].items():
            if value is not None and not math.isnan(value):
                details.setdefault(name, []).append(value)
    flags = ("strict", "lenient", "parsed", "finished")
    return {
        **summarise(records),
        **{flag: fmean(sample[flag] for sample in samples) for flag in flags},
        "reply_tokens": _mean(samples, "reply_tokens"),
        "details": {name: fmean(values) for name, values in details.items()},
        "thinking": {
            "samples": len(records[0]["samples"]),
            "think_tokens": _mean(samples, "think_tokens"),
            "unclosed": fmean(not sample["closed"] for sample in samples),
            "truncated": fmean(not sample["finished"] for sample in samples),
            "sampling": asdict(sampling),
        },
    }


def _mean(samples: Sequence[Mapping[str, Any]], count: str) -> float:
    """The mean of a count that a server may not have told; NaN when nothing is known."""
    known = [sample[count] for sample in samples if sample[count] is not None]
    return fmean(known) if known else math.nan
