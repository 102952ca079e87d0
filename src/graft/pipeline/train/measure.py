"""What is measured while a branch is trained: the held-out items of every scored task, in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

from graft.pipeline.prepare.subset import subset_ids
from graft.tasks.field import FieldTask
from graft.tasks.metric import mean_score
from graft.train.plan import Measurement

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from graft.evals.items import Items
    from graft.pipeline.prepare.lab import Lab

HELD_OUT = "held_out"
"""Stands before the names of the figures in metrics.jsonl and TensorBoard: ``held_out/loss``."""


def held_out_measure(
    lab: Lab, model: PreTrainedModel, on_measured: Callable[[Measurement], None]
) -> Callable[[PreTrainedModel], Measurement] | None:
    """What measures a model on the held-out items during training; ``None`` when the recipe does not ask for it.

    The figures are ``loss`` (nats per token over all items and texts), ``accuracy`` (of those tokens), ``exact/TASK``,
    ``score/TASK`` (the task's own metric of the likeliest labels; exact match where there are none), and ``exact`` and
    ``score``, the means over the tasks with answers; NaN without any. With `train.eval_max_batches` the first items of
    each task stand for all. Benchmarks whose solutions are written freely (`prompt_style: field`) are not measured.

    Args:
        lab: holds the items.
        model: the model to be trained, for the size of its vocabulary.
        on_measured: called with each measurement.
    """
    if lab.recipe.train.eval_steps is None:
        return None
    from graft.evals.held_out import HeldOut, measure_rows
    from graft.evals.labels import has_labels
    from graft.evals.perplexity import windows
    from graft.models.backends.transformers import end_ids

    size, most = lab.recipe.eval.batch_size, lab.recipe.train.eval_max_batches
    shown = None if most is None else most * size
    asked = [_first(items, shown) for items in lab.items if items.split == "eval" and items.rows and _has_gold(items)]
    parts = {items.task.card.name: items.rows for items in asked}
    for corpus in lab.corpora:
        pieces = windows(lab.tokenizer, corpus.texts, max_length=lab.recipe.data.max_length)
        parts[corpus.task] = tuple(piece.row for piece in islice(pieces, shown))
    texts = {corpus.task for corpus in lab.corpora}
    train_ids = subset_ids(lab.recipe.train.restrict_to, lab.tokenizer, model)
    reply_ids = subset_ids(lab.recipe.generation.restrict_to, lab.tokenizer, model)
    if reply_ids is not None:
        reply_ids = tuple({*reply_ids, *end_ids(model, lab.tokenizer)})
    pad_id = int(lab.tokenizer.pad_token_id)

    def measure(trained: PreTrainedModel) -> Measurement:
        softmax = _mask(trained, train_ids)
        allowed = _mask(trained, reply_ids)
        sums = {
            task: measure_rows(trained, rows, pad_id=pad_id, batch_size=size, allowed=allowed, trained=softmax)
            for task, rows in parts.items()
        }
        whole = sum(sums.values(), HeldOut())
        exact = {f"exact/{task}": part.exact_match for task, part in sums.items() if task not in texts}
        score = {name.replace("exact/", "score/"): value for name, value in exact.items()} | {
            f"score/{items.task.card.name}": _label_score(lab, trained, items, allowed)
            for items in asked
            if has_labels(items)
        }
        means = {"exact": _mean(exact), "score": _mean(score)}
        found = {"loss": whole.loss, "accuracy": whole.accuracy, **means, **exact, **score}
        on_measured(found)
        return found

    return measure


def _has_gold(items: Items) -> bool:
    """Whether the gold answer is what a reply should be; the field's written solutions are not known."""
    return not (isinstance(items.task, FieldTask) and items.task.written)


def _first(items: Items, most: int | None) -> Items:
    return replace(items, examples=items.examples[:most], rows=items.rows[:most], pieces=items.pieces[:most])


def _mean(figures: Measurement) -> float:
    return fmean(figures.values()) if figures else math.nan


def _label_score(lab: Lab, model: PreTrainedModel, items: Items, allowed: torch.Tensor | None) -> float:
    """The task's metric of its likeliest labels."""
    from graft.evals.labels import label_fields, token_budget

    fields = label_fields(
        model,
        lab.tokenizer,
        items,
        way=lab.recipe.eval.labels,
        token_budget=token_budget(model),
        allowed=allowed,
    )
    records = [
        {"gold": example.gold, "right": found["label_right"], "details": {}, **found}
        for example, found in zip(items.examples, fields, strict=True)
    ]
    return mean_score(items.task.card.metric, records)


def _mask(model: PreTrainedModel, ids: Sequence[int] | None) -> torch.Tensor | None:
    """Some tokens of the vocabulary as bool of shape (V,)."""
    if ids is None:
        return None
    import torch

    mask = torch.zeros(model.get_input_embeddings().weight.shape[0], dtype=torch.bool, device=model.device)
    mask[torch.tensor(ids, device=model.device)] = True
    return mask
