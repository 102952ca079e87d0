"""Attention among documents that lie end to end in one row: each document sees itself, in causal order, and no other.

Axes: T tokens of the row, H query heads, K key and value heads, E width of a head, n documents, L the longest of them.

On CUDA the kernel of `torch.nn.attention.varlen` reads the borders of the documents. Elsewhere documents of similar
length are gathered into small padded batches for the attention alone; all linear layers run over T tokens without
padding. Source: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination", section 3.2.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from graft.models.head import layers_of
from graft.models.lengths import length_limit
from graft.models.trial import FAILURES, bare, evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKED = "graft_packed"
"""Name of the attention in transformers' registry. No mask is registered for it: transformers would look for documents
in the positions first, and a GPU's answer to that has the processor wait in every pass."""

TRIED = "graft_packed_tried"
"""The same attention with a mask that notes what the architecture asks for."""

SIMILAR = 0.75
"""A document shorter than this share of the longest of its group begins a new group."""

LONG = 1024
"""From this many tokens on the weights of a document would take more memory than they save time."""

SEEN = {torch.float32: 1e-4, torch.float64: 1e-8}
"""Largest relative change of a document by its neighbours that is rounding, by type of the weights; else, and where
products are cast to 16 bits, 0.02."""


@dataclass(frozen=True, slots=True)
class Group:
    """Documents of similar length of one row.

    Attributes:
        gather_nL: places in the row; beyond a document's end the place of its last token.
        scatter_S: for the S tokens of these documents in the row's order, their places in the flattened (n, L).
    """

    gather_nL: torch.Tensor
    scatter_S: torch.Tensor


@dataclass(frozen=True, slots=True)
class Documents:
    """Where the documents of a row begin and end.

    Attributes:
        borders: int32 of shape (S + 1,), the first token of each document and the end of the last; repeats of the end
            keep its length constant.
        longest: at least the length of the longest.
        groups: the documents in order, for devices without the kernel; empty on CUDA.
    """

    borders: torch.Tensor
    longest: int
    groups: tuple[Group, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """What a model's forward pass hands down to the attention."""
        if self.groups:
            return {"documents": self.groups}
        borders, longest = self.borders, self.longest
        return {
            "cu_seq_lens_q": borders, "cu_seq_lens_k": borders, "max_length_q": longest, "max_length_k": longest,
        }  # fmt: skip


def group_documents(lengths: Sequence[int]) -> tuple[Group, ...]:
    """Groups of neighbouring documents of similar length; few when the lengths are sorted, longest first."""
    groups: list[Group] = []
    first = start = 0
    while first < len(lengths):
        stop = first + 1
        while stop < len(lengths) and SIMILAR * lengths[first] <= lengths[stop] <= lengths[first]:
            stop += 1
        sizes_n = torch.tensor(lengths[first:stop])
        starts_n = start + sizes_n.cumsum(0) - sizes_n
        steps_L = torch.arange(lengths[first])
        inside_nL = steps_L < sizes_n[:, None]
        gather_nL = starts_n[:, None] + torch.minimum(steps_L, sizes_n[:, None] - 1)
        groups.append(Group(gather_nL, inside_nL.flatten().nonzero().squeeze(1)))
        start += int(sizes_n.sum())
        first = stop
    return tuple(groups)


def has_kernel(device: torch.device) -> bool:
    """Whether documents are kept apart by the kernel, which computes in 16 bits."""
    return device.type == "cuda"


@contextmanager
def packed_attention(model: PreTrainedModel, name: str = PACKED) -> Iterator[None]:
    """Within the block the model attends inside documents; without documents it attends causally to the whole row.

    Args:
        model: the model.
        name: `TRIED` where it is to be noted which masks the model wants.
    """
    _register()
    configs = _configs(model)
    names = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation_internal = name
        yield
    finally:
        for config, before in zip(configs, names, strict=True):
            config._attn_implementation_internal = before


def why_not_packed(model: PreTrainedModel, longest: int = 0) -> str | None:
    """Why documents cannot share a row in this model; ``None`` where they can.

    Its configuration is asked first; then two tiny documents are read alone, together, and beside another neighbour,
    and none may depend on another: neither in value nor, to the bit, by its gradient.

    Args:
        model: a model with or without adapters; unchanged afterwards.
        longest: tokens of the longest document to come; a sliding window shorter than this needs the kernel.
    """
    inner = bare(model)
    config = inner.config.get_text_config()
    if inner.config.is_encoder_decoder:
        return "it is an encoder-decoder"
    if has_kernel(inner.device) and max(getattr(config, "attention_dropout", 0.0), getattr(config, "attn_pdrop", 0.0)):
        return "its attention has dropout, which the CUDA kernel lacks"
    limit = length_limit(inner)
    if limit is not None and longest > limit:
        return f"a row longer than {limit:,} tokens changes how its neighbours' positions are read"
    if not inner._can_set_attn_implementation():
        return "its attention cannot be replaced"
    windows = Windows()
    token = _WINDOWS.set(windows)
    try:
        with evaluating(model):
            why = _probe(inner)
    except FAILURES as error:
        return f"a trial failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    finally:
        _WINDOWS.reset(token)
    narrow = windows.narrowest(kernel=has_kernel(inner.device))
    return why if why or longest <= narrow else f"a row is longer than the sliding window of {narrow:.0f} tokens"


def _probe(inner: Any) -> str | None:
    """Compare documents alone with the same documents packed."""
    first, second, other = [5, 7, 11, 13, 17, 19], [23, 29, 31, 37], [41, 43, 47, 53]

    def read(ids: list[int], lengths: list[int]) -> torch.Tensor:
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
        borders = torch.tensor([0, *lengths]).cumsum(0).to(inner.device, torch.int32)
        groups = () if has_kernel(inner.device) else group_documents(lengths)
        documents = Documents(borders, max(lengths), groups)
        hidden: torch.Tensor = layers_of(inner)(
            input_ids=torch.tensor([ids], device=inner.device), position_ids=positions.to(inner.device),
            use_cache=False, **documents.arguments(),
        ).last_hidden_state[0]  # fmt: skip
        return hidden.float()

    with torch.no_grad():
        alone = torch.cat(
            [layers_of(inner)(input_ids=torch.tensor([ids], device=inner.device), use_cache=False).last_hidden_state[0]
             for ids in (first, second)]
        ).float()  # fmt: skip
        with packed_attention(inner, TRIED):
            together = read(first + second, [6, 4])
            beside = read(first + other, [6, 4])
            after = read(other + second, [4, 4])
    seen = 0.02 if torch.is_autocast_enabled(inner.device.type) else SEEN.get(inner.dtype, 0.02)
    allowed = seen * float(alone.abs().max())
    moved = max(float((a - b).abs().max()) for a, b in
                ((alone, together), (together[:6], beside[:6]), (together[6:], after[4:])))  # fmt: skip
    if not moved <= allowed:
        return f"a neighbour in the row changes a document by {moved:.2g}"
    with packed_attention(inner, TRIED), torch.enable_grad():
        reached = _gradient_across(inner, lambda: read(first + second, [6, 4]), 6)
    return f"the gradient of a document reaches its neighbour ({reached:.2g})" if reached else None


def _gradient_across(inner: Any, read: Callable[[], torch.Tensor], border: int) -> float:
    """Largest gradient between the two documents of a row; 0 to the bit where neither sees the other, in any type."""
    embedded: list[torch.Tensor] = []

    def catch(module: Any, args: Any, output_1TD: torch.Tensor) -> torch.Tensor:
        embedded.append(output_1TD if output_1TD.requires_grad else output_1TD.requires_grad_())
        return embedded[-1]

    handle = inner.get_input_embeddings().register_forward_hook(catch)
    try:
        hidden_TD = read()
    finally:
        handle.remove()
    draws = torch.randn(hidden_TD.shape, generator=torch.Generator().manual_seed(0)).to(hidden_TD.device)
    weighed_TD = hidden_TD * draws  # the plain sum of a normalised state has no gradient
    reached = 0.0
    for mine, others in ((slice(border), slice(border, None)), (slice(border, None), slice(border))):
        (grad_1TD,) = torch.autograd.grad(weighed_TD[mine].sum(), embedded[0], retain_graph=True)
        reached = max(reached, float(grad_1TD[0, others].abs().max()))
    return reached


def _configs(model: Any) -> list[Any]:
    """The configuration of a model and those inside it."""
    found, queue = [], [model.config]
    while queue:
        config = queue.pop()
        found.append(config)
        queue += [part for name in config.sub_configs if (part := getattr(config, name, None)) is not None]
    return found


@cache
def _register() -> None:
    for name in (PACKED, TRIED):
        AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(TRIED, _no_mask)


@dataclass(slots=True)
class Windows:
    """Sliding windows and chunks that a model's attention has, in tokens.

    Attributes:
        masked: those that it wanted masks for.
        told: those that it handed to the attention.
    """

    masked: set[int] = field(default_factory=set)
    told: set[int] = field(default_factory=set)

    def narrowest(self, *, kernel: bool) -> float:
        """The narrowest that packed attention cannot have; a kernel has those that it is told of."""
        return min(self.masked - self.told if kernel else self.masked | self.told, default=math.inf)


_WINDOWS: ContextVar[Windows | None] = ContextVar("windows", default=None)
"""Where windows are noted while an architecture is tried."""


def _no_mask(*_: Any, local_size: int | None = None, **__: Any) -> None:
    """Borders say what a mask would."""
    if local_size and (windows := _WINDOWS.get()):
        windows.masked.add(local_size)


def attend(
    module: torch.nn.Module,
    query_1HTE: torch.Tensor,
    key_1KTE: torch.Tensor,
    value_1KTE: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    documents: tuple[Group, ...] | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int = 0,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it.

    Returns:
        The output of shape (1, T, H, E), and no weights.

    Raises:
        NotImplementedError: the architecture asks for what documents in one row cannot have here.
    """
    special = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if special or (others.get("is_causal") is False) or not getattr(module, "is_causal", True):
        raise NotImplementedError(f"attention with {', '.join(special) or 'sight of later tokens'} cannot be packed")
    if attention_mask is not None:
        raise NotImplementedError("attention with a mask of the model's own cannot be packed")
    if sliding_window and (windows := _WINDOWS.get()):
        windows.told.add(sliding_window)
    if cu_seq_lens_q is not None:
        window = (sliding_window - 1 if sliding_window else -1, 0)
        return _varlen(query_1HTE, key_1KTE, value_1KTE, cu_seq_lens_q, max_length_q, scaling, window), None
    if sliding_window and sliding_window < max((g.gather_nL.shape[1] for g in documents or ()), default=sliding_window):
        raise NotImplementedError(f"a document is longer than the sliding window of {sliding_window} tokens")
    if documents is None:
        return _causal(query_1HTE, key_1KTE, value_1KTE, scaling, dropout).transpose(1, 2), None
    return _by_group(documents, (query_1HTE, key_1KTE, value_1KTE), scaling, dropout), None


def _by_group(
    documents: tuple[Group, ...], states: Sequence[torch.Tensor], scaling: float | None, dropout: float
) -> torch.Tensor:
    """Attention in a padded batch for each group of documents; (1, T, H, E)."""
    by_token = [state[0].transpose(0, 1) for state in states]
    parts = []
    for group in documents:
        query, key, value = (state[group.gather_nL].transpose(1, 2) for state in by_token)
        seen_nLHE = _causal(query, key, value, scaling, dropout).transpose(1, 2)
        parts.append(seen_nLHE.flatten(0, 1)[group.scatter_S])
    return torch.cat(parts)[None]


@cache
def keep_out_of_graphs() -> None:
    """Leave the attention of groups of documents to plain execution when layers are compiled: its shapes change with
    every row, those of the layers do not. Half of the compiler is imported for it, so only who compiles calls this.
    """
    import torch._dynamo

    globals()["_by_group"] = torch._dynamo.disable(_by_group)  # type: ignore[no-untyped-call]


def _causal(
    query_nHLE: torch.Tensor, key_nKLE: torch.Tensor, value_nKLE: torch.Tensor, scaling: float | None, dropout: float
) -> torch.Tensor:
    """Causal attention in a batch of its own; for short documents as plain products, which CPUs do faster."""
    (n, heads, length, width), few = query_nHLE.shape, key_nKLE.shape[1]
    if length > LONG:
        return torch.nn.functional.scaled_dot_product_attention(
            query_nHLE, key_nKLE, value_nKLE, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=heads != few
        )
    scale = width**-0.5 if scaling is None else scaling
    query = (query_nHLE * scale).reshape(n, few, -1, width)  # the query heads of a key head, one after the other
    weights_nHLL = (query @ key_nKLE.transpose(2, 3)).view(n, heads, length, length).float()
    later_LL = torch.full((length, length), -torch.inf, device=query.device).triu(1)
    seen_nHLL = torch.softmax(weights_nHLL + later_LL, -1).to(value_nKLE.dtype)
    if dropout:
        seen_nHLL = torch.nn.functional.dropout(seen_nHLL, dropout)
    return (seen_nHLL.view(n, few, -1, length) @ value_nKLE).view(n, heads, length, -1)  # values have their own width


def _varlen(
    query_1HTE: torch.Tensor,
    key_1KTE: torch.Tensor,
    value_1KTE: torch.Tensor,
    borders: torch.Tensor,
    longest: int,
    scaling: float | None,
    window: tuple[int, int],
) -> torch.Tensor:
    """The CUDA kernel; it computes in half precision."""
    from torch.nn.attention.varlen import varlen_attn

    half = value_1KTE.dtype if value_1KTE.dtype in (torch.bfloat16, torch.float16) else torch.bfloat16
    query, key, value = (x[0].transpose(0, 1).to(half) for x in (query_1HTE, key_1KTE, value_1KTE))
    options: dict[str, Any] = {"scale": scaling}
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1 and has_gqa():
        options["enable_gqa"] = True
    elif repeats > 1:
        key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    seen: Any = varlen_attn(query, key, value, borders, borders, longest, longest, window_size=window, **options)
    output: torch.Tensor = seen.to(value_1KTE.dtype)[None]
    return output


@cache
def has_gqa() -> bool:
    """Whether this PyTorch's kernel shares key heads among query heads itself; 2.11 does not."""
    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in inspect.signature(varlen_attn).parameters
