"""The forward passes of label scoring: every prompt is read once and all its labels share it.

A causal model reads one row per item: the prompt, then the labels' tokens as a tree. Each token of the tree sees the
prompt and the tokens before it in its own label, at the positions it would have there, so the logits are those of the
prompt with that label alone. Labels that begin alike share those tokens, and what all prompts begin with, such as the
instruction, is read once for all items. Prompts are padded on the left, so that the positions that predict labels end
every row and the model's own head can be applied to them alone.

Axes: B rows of a batch, T positions, P those of them that predict a label, M tokens of the largest tree, L tokens of
the longest label, V vocabulary, E predicted tokens of all rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from graft.models.lengths import length_limit

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

Tokens = tuple[int, ...]

LOGIT_CELLS = 2**26
"""Logits held at once: 256 MB in float32."""

CPU_SCORES, ACCELERATOR_SCORES = 2**25, 2**30
"""Attention scores of a layer held at once: 128 MB and 4 GB in float32."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The tokens of all labels, each beginning once.

    Attributes:
        tokens: the tokens that are read; the last of a label is only predicted.
        depths: how many tokens after the prompt each of them stands, from 1.
        seen: for each of them, which of them it sees: itself and those before it in its label.
        edges: (label, slot, token) of every predicted token; slot 0 is the end of the prompt, slot i + 1 is token i.
    """

    tokens: Tokens
    depths: Tokens
    seen: tuple[tuple[bool, ...], ...]
    edges: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Start:
    """What all prompts begin with, as keys and values of every layer, each of shape (1, heads, length, size)."""

    length: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def cache(self, rows: int) -> Cache:
        """A cache of its own for a batch of so many rows."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
        return cache


@lru_cache(maxsize=1024)
def build_tree(labels: tuple[Tokens, ...]) -> Tree:
    """Merge labels, given as token ids with the end-of-turn token last, into a tree."""
    slots: dict[Tokens, int] = {(): 0}
    edges = []
    for label, tokens in enumerate(labels):
        for place, token in enumerate(tokens):
            slot = slots.setdefault(tokens[:place], len(slots))
            edges.append((label, slot, token))
    paths = list(slots)[1:]
    seen = tuple(tuple(path[: len(other)] == other for other in paths) for path in paths)
    return Tree(tuple(path[-1] for path in paths), tuple(len(path) for path in paths), seen, tuple(edges))


def takes_trees(model: PreTrainedModel, longest: int) -> bool:
    """Whether a causal model computes attention by the mask and the positions that it is given.

    Not so with recurrent layers or ALiBi, nor where a row is longer than a sliding window: a mask of ours would
    open the window.

    Args:
        model: without its adapters' wrapper.
        longest: tokens of the longest row.
    """
    config = model.config.get_text_config()
    if "position_ids" not in inspect.signature(model.forward).parameters or getattr(config, "alibi", False):
        return False
    limit = length_limit(model)
    if getattr(model, "_is_stateful", False) or (limit is not None and longest > limit):
        return False
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    if kinds - {"full_attention", "sliding_attention"}:
        return False
    slides = "sliding_attention" in kinds or not getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None) if slides else None
    return window is None or longest <= window


def batches(prompts: Sequence[Tokens], added: Sequence[int], token_budget: int, vocab: int) -> Iterator[list[int]]:
    """Cut items, longest prompt first, into batches of similar length.

    Args:
        prompts: the items' prompts.
        added: per item the tokens read after the prompt.
        token_budget: most tokens of a batch, padding included; one item may be larger.
        vocab: logits per position; they are bounded too.
    """
    chosen: list[int] = []
    width = size = 0
    for index in sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True):
        width, size, count = max(width, len(prompts[index])), max(size, added[index]), len(chosen) + 1
        if chosen and (count * (width + size) > token_budget or count * (size + 1) * vocab > LOGIT_CELLS):
            yield chosen
            chosen, width, size = [], len(prompts[index]), added[index]
        chosen.append(index)
    if chosen:
        yield chosen


def common_start(prompts: Sequence[Tokens]) -> Tokens:
    """The tokens with which all prompts begin, but for the last token of each."""
    first, last = min(prompts), max(prompts)  # what these two share, all between them share
    limit = min(map(len, prompts)) - 1
    same = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), limit)
    return first[: min(same, limit)]


def at_once(model: PreTrainedModel, seen: int) -> int:
    """How many tokens may see so many others at once: all of them need a score in every head."""
    heads = int(getattr(model.config.get_text_config(), "num_attention_heads", 1))
    return max(1, (CPU_SCORES if model.device.type == "cpu" else ACCELERATOR_SCORES) // (heads * max(seen, 1)))


NOTHING = Start(0, ())


@torch.inference_mode()
def read_start(model: Any, tokens: Tokens, before: Start = NOTHING) -> Start:
    """Read what prompts begin with, once for all of them.

    Long texts are read in pieces, each of which sees those before it, so that memory grows with their length and not
    with its square. Logits are computed for the last token of a piece alone.

    Args:
        model: without its adapters' wrapper.
        tokens: what comes next.
        before: what was read already.
    """
    if not tokens:
        return before
    cache, length = before.cache(1), before.length
    size = at_once(model, length + len(tokens))
    for begin in range(0, len(tokens), size):
        ids_BT = torch.tensor([tokens[begin : begin + size]], device=model.device)
        places_BT = torch.arange(length, length + ids_BT.shape[1], device=model.device)[None]
        model(input_ids=ids_BT, position_ids=places_BT, past_key_values=cache, use_cache=True, **_kept(model, 1))
        length += ids_BT.shape[1]
    return Start(length, tuple((layer.keys, layer.values) for layer in cache.layers))


def _kept(model: Any, places: int | torch.Tensor) -> dict[str, Any]:
    """Asks a model for the logits of so many last tokens alone, or of these places, where it can be asked so."""
    return {"logits_to_keep": places} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


@torch.inference_mode()
def tree_pass(
    model: Any,
    start: Start,
    prompts: Sequence[Tokens],
    options: Sequence[tuple[Tokens, ...]],
    pad_id: int,
    allowed: torch.Tensor | None,
) -> list[list[float]]:
    """Log-likelihoods of all labels of a batch of items from one forward pass of a causal model.

    A long prompt, which is alone, is read in pieces before, but for its last token, as what all prompts begin with is.

    Args:
        model: without its adapters' wrapper.
        start: what all prompts begin with, read.
        prompts: per item the rest of its prompt, not empty.
        options: per item its labels.
        pad_id: token id to pad with.
        allowed: bool of shape (V,), the tokens that may be written; all when ``None``.
    """
    if len(prompts) == 1 and len(prompts[0]) > at_once(model, start.length + len(prompts[0])):
        start, prompts = read_start(model, prompts[0][:-1], start), [prompts[0][-1:]]
    trees = [build_tree(labels) for labels in options]
    ids_BT, positions_BT, seen_BTT = _lay_out(prompts, trees, pad_id)
    kept = max(len(tree.tokens) for tree in trees) + 1
    reads: dict[str, Any] = {"use_cache": False, **_kept(model, kept)}
    if start.length:
        before = torch.ones((*ids_BT.shape, start.length), dtype=torch.bool)
        seen_BTT = torch.cat([before, seen_BTT], dim=2)
        reads |= {"use_cache": True, "past_key_values": start.cache(len(prompts))}
    mask_BTT = torch.zeros(seen_BTT.shape, dtype=model.dtype).masked_fill_(~seen_BTT, torch.finfo(model.dtype).min)
    logits_BMV = model(
        input_ids=ids_BT.to(model.device),
        attention_mask=mask_BTT[:, None].to(model.device),
        position_ids=(positions_BT + start.length).to(model.device),
        **reads,
    ).logits[:, -kept:]
    edges = [(row, slot, token) for row, tree in enumerate(trees) for _, slot, token in tree.edges]
    found = iter(_log_probs(logits_BMV, edges, allowed))
    return [_summed([(label, next(found)) for label, _, _ in tree.edges]) for tree in trees]


def _lay_out(
    prompts: Sequence[Tokens], trees: Sequence[Tree], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and positions of shape (B, T), and which position sees which, bool of shape (B, T, T)."""
    width, size = max(map(len, prompts)), max(len(tree.tokens) for tree in trees)
    ids_BT = torch.full((len(prompts), width + size), pad_id)
    positions_BT = torch.zeros_like(ids_BT)
    begins_B = torch.tensor([width - len(prompt) for prompt in prompts])
    columns_T = torch.arange(width + size)
    seen_BTT = (columns_T[None, :] <= columns_T[:, None]) & (columns_T >= begins_B[:, None])[:, None, :]
    seen_BTT[:, :, width:] = False
    for row, (prompt, tree) in enumerate(zip(prompts, trees, strict=True)):
        begin, stop = width - len(prompt), width + len(tree.tokens)
        ids_BT[row, begin:stop] = torch.tensor(prompt + tree.tokens)
        positions_BT[row, begin:width] = torch.arange(len(prompt))
        positions_BT[row, width:stop] = torch.tensor(tree.depths, dtype=torch.int64) + len(prompt) - 1
        if tree.tokens:
            seen_BTT[row, width:stop, width:stop] = torch.tensor(tree.seen)
    seen_BTT |= torch.eye(width + size, dtype=torch.bool)  # what sees nothing at all may become NaN
    return ids_BT, positions_BT, seen_BTT


@torch.inference_mode()
def plain_pass(
    model: Any, rows: Sequence[tuple[Tokens, Tokens]], pad_id: int, allowed: torch.Tensor | None
) -> list[float]:
    """Log-likelihoods of labels that each stand in a row of their own, as (prompt, label) pairs."""
    width = max(len(prompt) + len(label) - 1 for prompt, label in rows)
    ids_BT = torch.full((len(rows), width), pad_id)
    edges = []
    for row, (prompt, label) in enumerate(rows):
        tokens = prompt + label
        ids_BT[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
        edges += [(row, len(prompt) - 1 + place, token) for place, token in enumerate(label)]
    places = sorted({place for _, place, _ in edges})
    kept = _kept(model, torch.tensor(places, device=model.device))
    logits_BPV = model(input_ids=ids_BT.to(model.device), use_cache=False, **kept).logits
    logits_BPV = logits_BPV if kept else logits_BPV[:, places]
    found = iter(_log_probs(logits_BPV, [(row, places.index(place), token) for row, place, token in edges], allowed))
    return [sum(next(found) for _ in label) for _, label in rows]


@torch.inference_mode()
def decoder_pass(
    model: Any,
    prompts: Sequence[Tokens],
    options: Sequence[tuple[Tokens, ...]],
    pad_id: int,
    token_budget: int,
    allowed: torch.Tensor | None,
) -> list[list[float]]:
    """Log-likelihoods by a sequence-to-sequence model: prompts are encoded once, labels are decoded from that."""
    from transformers.modeling_outputs import BaseModelOutput

    width = max(map(len, prompts))
    ids = torch.tensor([list(prompt) + [pad_id] * (width - len(prompt)) for prompt in prompts])
    mask_BS = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in prompts]).to(model.device)
    encoded = model.get_encoder()(input_ids=ids.to(model.device), attention_mask=mask_BS).last_hidden_state
    rows = [(row, label) for row, labels in enumerate(options) for label in labels]
    longest = max(len(label) for _, label in rows)
    vocab = model.config.get_text_config(decoder=True).vocab_size
    step = max(1, min(token_budget // (width + longest), LOGIT_CELLS // (longest * vocab)))
    scores: list[float] = []
    for begin in range(0, len(rows), step):
        chosen = rows[begin : begin + step]
        ids_BL = torch.full((len(chosen), longest), pad_id)
        ids_BL[:, 0] = model.config.decoder_start_token_id
        for place, (_, label) in enumerate(chosen):
            ids_BL[place, 1 : len(label)] = torch.tensor(label[:-1], dtype=torch.int64)
        owners = torch.tensor([row for row, _ in chosen], device=model.device)
        logits_BLV = model(
            encoder_outputs=BaseModelOutput(encoded[owners]),
            attention_mask=mask_BS[owners],
            decoder_input_ids=ids_BL.to(model.device),
            use_cache=False,
        ).logits
        edges = [(row, place, token) for row, (_, label) in enumerate(chosen) for place, token in enumerate(label)]
        found = iter(_log_probs(logits_BLV, edges, allowed))
        scores += [sum(next(found) for _ in label) for _, label in chosen]
    ordered = iter(scores)
    return [[next(ordered) for _ in labels] for labels in options]


def _log_probs(
    logits_BTV: torch.Tensor, edges: Sequence[tuple[int, int, int]], allowed: torch.Tensor | None
) -> list[float]:
    """Log-probability of each (row, position, token), in nats."""
    logits_BTV = logits_BTV.float()
    if allowed is not None:
        logits_BTV = logits_BTV.masked_fill(~allowed, -torch.inf)
    rows_E, places_E, tokens_E = torch.tensor(edges, device=logits_BTV.device).unbind(1)
    norms_BT = logits_BTV.logsumexp(-1)
    found: list[float] = (logits_BTV[rows_E, places_E, tokens_E] - norms_BT[rows_E, places_E]).tolist()
    return found


def _summed(parts: Sequence[tuple[int, float]]) -> list[float]:
    """Per label the sum of its tokens' log-probabilities."""
    sums = [0.0] * (max(label for label, _ in parts) + 1)
    for label, value in parts:
        sums[label] += value
    return sums
