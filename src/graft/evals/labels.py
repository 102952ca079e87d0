"""Exact label scoring: how likely the model finds every answer of a closed set, without writing any of them.

The score of a label is the log-likelihood, in nats, of all its tokens after the prompt, the end-of-turn token included.
The end counts because an answer is the label and nothing after it: without it a label could never be less likely than
a longer one that begins with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch

from graft.data.tokens import encode
from graft.errors import DataError
from graft.evals.items import Items
from graft.evals.label_passes import (
    Tokens,
    at_once,
    batches,
    build_tree,
    common_start,
    decoder_pass,
    plain_pass,
    read_start,
    takes_trees,
    tree_pass,
)
from graft.models.backends.base import no_progress
from graft.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Way = Literal["sum", "mean", "prior"]
"""``sum``: the log-likelihood; ``mean``: per token; ``prior``: less the log-likelihood after a prompt that says
nothing."""

CONTENT_FREE = "N/A"
"""The user turn that says nothing, for `prior`; rendered by the same template as every prompt. Source: Zhao et al.
(2021), Calibrate Before Use, section 5."""

TAIL = 8
"""Tokens at the end of a prompt that decide how a label after it is cut; labels are tokenised once for each."""

CPU_TOKENS, ACCELERATOR_TOKENS = 1024, 32_768
"""Tokens of a label-scoring pass. Measured on a CPU: 16,384 take 1.7 times as long as 1,024, which stay in its
cache."""

_NO_LIMIT = 2**31


def token_budget(model: PreTrainedModel) -> int:
    """Most tokens of one forward pass on the model's device."""
    return CPU_TOKENS if model.device.type == "cpu" else ACCELERATOR_TOKENS


def score_labels(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    options: Sequence[Sequence[Tokens]],
    *,
    pad_id: int,
    token_budget: int,
    allowed: torch.Tensor | None = None,
    on_done: Callable[[int], None] = no_progress,
) -> list[list[float]]:
    """The log-likelihood of every label after its prompt.

    Causal models read prompt and labels in one pass (see `graft.evals.label_passes`); those whose attention cannot be
    masked so read each label in a row of its own. Sequence-to-sequence models encode the prompt once.

    Args:
        model: a causal or sequence-to-sequence language model in evaluation mode.
        prompts: per item the rendered prompt's token ids, none empty.
        options: per item the token ids of each label, the end-of-turn token last.
        pad_id: token id to pad with; its value does not matter.
        token_budget: most tokens of one forward pass, padding included, at least 1.
        allowed: bool of shape (V,), the tokens that may be written at all; every one when ``None``.
        on_done: called with the number of items just finished.

    Returns:
        Per item one log-likelihood in nats (at most 0) for each label, in the order of its options.

    Raises:
        DataError: a prompt or label is empty, or a row is longer than the model can read.
    """
    labels = [tuple(map(tuple, of_item)) for of_item in options]
    _check_lengths(model, prompts, labels)
    bare: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    longest = max((len(prompt) + max(map(len, of)) for prompt, of in zip(prompts, labels, strict=True)), default=0)
    vocab = int(bare.config.get_text_config().vocab_size)
    scores: list[list[float]] = [[] for _ in prompts]
    seq2seq = bool(bare.config.is_encoder_decoder)
    if not seq2seq and not takes_trees(bare, longest):
        return _score_plainly(bare, prompts, labels, pad_id, token_budget, vocab, allowed, on_done)
    if seq2seq:
        groups = batches(prompts, [0] * len(prompts), token_budget, 0)
        score = partial(decoder_pass, bare, pad_id=pad_id, token_budget=token_budget, allowed=allowed)
    else:
        start = read_start(bare, common_start(prompts) if prompts else ())
        prompts = [prompt[start.length :] for prompt in prompts]
        budget = min(token_budget, at_once(bare, longest))
        groups = batches(prompts, [len(build_tree(of_item).tokens) for of_item in labels], budget, vocab)
        score = partial(tree_pass, bare, start, pad_id=pad_id, allowed=allowed)
    for chosen in groups:
        found = score([prompts[index] for index in chosen], [labels[index] for index in chosen])
        for index, values in zip(chosen, found, strict=True):
            scores[index] = values
        on_done(len(chosen))
    return scores


def label_fields(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Items,
    *,
    way: Way,
    token_budget: int,
    allowed: torch.Tensor | None = None,
    on_done: Callable[[int], None] = no_progress,
) -> list[dict[str, Any]]:
    """Score the labels of every item of a task with a closed set of answers.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        items: the items; each example has its options and one of them as gold.
        way: how a label's log-likelihood becomes its score.
        token_budget: most tokens of one forward pass.
        allowed: bool of shape (V,), the tokens that may be written.
        on_done: called with the number of items just finished.

    Items in the field's style are scored by the field's rule, the sum without the end of the turn, whatever `way` is.

    Returns:
        Per item the fields ``options`` (texts), ``option_scores`` (nats), ``option_probabilities`` (their softmax),
        ``label_choice`` (the likeliest), ``label_right`` and ``label_way``.

    Raises:
        DataError: an item has no two options, its gold is none of them, or one cannot be told from another by tokens.
    """
    labels = encode_options(tokenizer, items)
    way = "sum" if items.policy.raw else way
    pad_id = int(tokenizer.pad_token_id or 0)
    prompts = [row.prompt for row in items.rows]
    sums = score_labels(
        model, prompts, labels, pad_id=pad_id, token_budget=token_budget, allowed=allowed, on_done=on_done
    )
    if way == "mean":
        sums = [[v / len(ids) for v, ids in zip(of, lab, strict=True)] for of, lab in zip(sums, labels, strict=True)]
    if way == "prior":
        priors = _priors(model, tokenizer, items, pad_id=pad_id, token_budget=token_budget, allowed=allowed)
        sums = [[v - p for v, p in zip(of, priors[e.options], strict=True)]
                for of, e in zip(sums, items.examples, strict=True)]  # fmt: skip
    return [_fields(example, scores, way) for example, scores in zip(items.examples, sums, strict=True)]


def encode_options(tokenizer: PreTrainedTokenizerBase, items: Items) -> list[tuple[Tokens, ...]]:
    """The token ids of every item's options as they follow its prompt, the end-of-turn token last.

    Items in the field's style have no end of the turn.

    Raises:
        DataError: an item has no two options, its gold is none of them, two have the same tokens, or the prompt's
            tokens change when an option follows.
    """
    end = not items.policy.raw
    for example in items.examples:
        _check_options(example)
    labels = option_ids(tokenizer, items, [example.options for example in items.examples], end=end)
    checked: set[tuple[Tokens, ...]] = set()
    for example, found in zip(items.examples, labels, strict=True):
        if found not in checked:
            _check_tokens(example, found)
            checked.add(found)
    return labels


def option_ids(
    tokenizer: PreTrainedTokenizerBase, items: Items, options: Sequence[tuple[str, ...]], *, end: bool = False
) -> list[tuple[Tokens, ...]]:
    """The token ids of every item's options as they follow its prompt.

    Args:
        tokenizer: the model's.
        items: the items.
        options: the options of each; may be empty.
        end: with the end-of-turn token.

    Raises:
        DataError: a prompt's tokens change when an option follows.
    """
    keys = [[(row.prompt[-TAIL:], option) for option in of_item]
            for of_item, row in zip(options, items.rows, strict=True)]  # fmt: skip
    asked = {
        key: replace(example, gold=key[1])
        for example, of_item in zip(items.examples, keys, strict=True)
        for key in of_item
    }
    if not asked:
        return [() for _ in options]
    encoded = encode(tokenizer, list(asked.values()), max_length=_NO_LIMIT, policy=items.policy, think=items.think)
    known = {key: row.completion if end else row.completion[:-1] for key, row in zip(asked, encoded.rows, strict=True)}
    return [tuple(known[key] for key in of_item) for of_item in keys]


def _score_plainly(
    model: Any,
    prompts: Sequence[Tokens],
    labels: Sequence[tuple[Tokens, ...]],
    pad_id: int,
    token_budget: int,
    vocab: int,
    allowed: torch.Tensor | None,
    on_done: Callable[[int], None],
) -> list[list[float]]:
    """Each label in a row of its own, for attention that takes no mask of ours."""
    rows = [(prompt, label) for prompt, of_item in zip(prompts, labels, strict=True) for label in of_item]
    wholes = [prompt + label for prompt, label in rows]
    width = max(map(len, wholes), default=1)
    scores = [0.0] * len(rows)
    for group in batches(wholes, [0] * len(rows), token_budget, width * vocab):
        for index, value in zip(group, plain_pass(model, [rows[i] for i in group], pad_id, allowed), strict=True):
            scores[index] = value
    ordered = iter(scores)
    found = [[next(ordered) for _ in of_item] for of_item in labels]
    on_done(len(found))
    return found


def _priors(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Items,
    *,
    pad_id: int,
    token_budget: int,
    allowed: torch.Tensor | None,
) -> dict[tuple[str, ...], list[float]]:
    """Log-likelihoods of each set of options after the prompt that says nothing."""
    sets = list(dict.fromkeys(example.options for example in items.examples))
    asked = [
        Example(f"{CONTENT_FREE}/{option}", items.task.card.name, CONTENT_FREE, option)
        for options in sets
        for option in options
    ]
    rows = iter(encode(tokenizer, asked, max_length=_NO_LIMIT, policy=items.policy, think=items.think).rows)
    of_sets = [[next(rows) for _ in options] for options in sets]
    found = score_labels(
        model,
        [of_set[0].prompt for of_set in of_sets],
        [[row.completion for row in of_set] for of_set in of_sets],
        pad_id=pad_id,
        token_budget=token_budget,
        allowed=allowed,
    )
    return dict(zip(sets, found, strict=True))


def _fields(example: Example, scores: Sequence[float], way: Way) -> dict[str, Any]:
    best = max(range(len(scores)), key=scores.__getitem__)
    top = scores[best]
    weights = [math.exp(score - top) for score in scores]
    return {
        "options": list(example.options),
        "option_scores": list(scores),
        "option_probabilities": [weight / sum(weights) for weight in weights],
        "label_choice": example.options[best],
        "label_right": example.options[best] == example.gold,
        "label_way": way,
    }


def _check_options(example: Example) -> None:
    options = example.options
    if len(options) < 2:
        raise DataError(f"example {example.id} has {len(options)} options, but a label is chosen from at least two")
    if len(set(options)) < len(options):
        raise DataError(f"example {example.id} has an option twice: {', '.join(map(repr, options))}; drop one")
    if example.gold not in options:
        raise DataError(
            f"example {example.id}: its answer {example.gold!r} is none of its options {', '.join(map(repr, options))}"
        )


def _check_tokens(example: Example, labels: Sequence[Tokens]) -> None:
    """A label that begins another differs from it by its end; in sorted order equal ones stand together."""
    for (ids, first), (others, second) in pairwise(sorted(zip(labels, example.options, strict=True))):
        if ids == others:
            raise DataError(
                f"example {example.id}: the label {first!r} has the same tokens as {second!r} ({list(ids[:-1])}), so a "
                "reply may mean either; rename one of the labels"
            )


def _check_lengths(model: PreTrainedModel, prompts: Sequence[Tokens], labels: Sequence[Sequence[Tokens]]) -> None:
    for index, (prompt, of_item) in enumerate(zip(prompts, labels, strict=True)):
        if not prompt or not of_item or not all(of_item):
            raise DataError(f"item {index} has an empty prompt, no labels or an empty label, so nothing can be scored")
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or model.config.is_encoder_decoder:
        return
    for index, (prompt, of_item) in enumerate(zip(prompts, labels, strict=True)):
        if (length := len(prompt) + max(map(len, of_item)) - 1) > limit:
            raise DataError(
                f"item {index} has {length} tokens with its longest label, but the model reads at most {limit}; "
                "lower data.max_length"
            )


def has_labels(items: Items) -> bool:
    """Whether every item has a closed set of answers."""
    return bool(items.examples) and all(len(example.options) > 1 for example in items.examples)
