"""Records of items in the field's style: the likeliest continuation, or what was written, judged by the field's rules.

A likeliest continuation stands as the reply: nothing is generated, so exact match repeats the strict score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graft.evals.items import Items, item_fields, item_prompt
from graft.evals.scoring import FIELD_RULE
from graft.models.backends.base import no_progress
from graft.models.backends.transformers import TransformersBackend
from graft.tasks.field import FieldTask
from graft.types import Completion, Sampling


def likeliest(backend: TransformersBackend, items: Items, fields: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records whose reply is the likeliest label.

    Args:
        backend: the model's tokenizer.
        items: items of a task with labels.
        fields: what `graft.evals.labels.label_fields` found for them.
    """
    replies = [Completion(str(found["label_choice"])) for found in fields]
    return [_record(backend, items, index, reply, generated=False) for index, reply in enumerate(replies)]


def written(
    backend: TransformersBackend, items: Items, task: FieldTask, *, on_done: Callable[[int], None] = no_progress
) -> list[dict[str, Any]]:
    """Records of greedy replies that end where the field ends them."""
    sampling = Sampling(max_new_tokens=task.written, until=task.until)
    replies = backend.generate([item_prompt(items, index) for index in range(len(items))], sampling, on_done=on_done)
    return [_record(backend, items, index, reply, generated=True) for index, reply in enumerate(replies)]


def _record(
    backend: TransformersBackend, items: Items, index: int, reply: Completion, *, generated: bool
) -> dict[str, Any]:
    """A record; a reply that was cut at the limit is judged too, as the field does."""
    score = items.task.verdict(items.examples[index], reply.text)
    return {
        **item_fields(backend.tokenizer, items, index),
        "reply": reply.text,
        "finished": reply.finished,
        "reply_ids": list(reply.token_ids),
        "reply_tokens": reply.usage.completion_tokens if reply.usage else None,
        "exact": score.strict,
        "exact_from": FIELD_RULE,
        "generated": generated,
        "strict": score.strict,
        "lenient": score.lenient,
        **({"undefined": score.undefined} if score.undefined else {}),
        "right": score.lenient,
        "parsed": score.parsed,
        "answer": score.answer,
        "details": dict(score.details),
    }
