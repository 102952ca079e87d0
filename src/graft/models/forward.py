"""One forward pass over token rows that yields hidden states where answers are predicted, and nowhere else.

Axes: B rows, T positions, S positions of the encoder, D hidden size, V vocabulary, N trained positions of all rows.

Rows of a padded batch are padded on the right and positions are causal, so no real token ever attends to padding and
no attention mask is needed; only an encoder, which looks both ways, gets one. The head is applied to N positions;
logits of shape (B, T, V) never exist.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from graft.models.attention import Documents, Group
from graft.models.head import Head, is_layer_alone, layers_of, own_head
from graft.models.lengths import forget_lengths, length_limit
from graft.models.trial import FAILURES, LONG, SHORT, bare, difference, evaluating, rounding
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Token rows as one forward pass reads them.

    Attributes:
        ids_BT: token ids; of the decoder where there is an encoder.
        where_N: places in the flattened (B, T) whose hidden state predicts a trained token.
        targets_N: those tokens.
        positions_BT: positions within the documents; ``None`` where every row is one document.
        documents: borders of the documents in a packed row.
        encoder_ids_BS: what the encoder reads, where there is one.
        encoder_mask_BS: 1 for its tokens, 0 for padding.
    """

    ids_BT: torch.Tensor
    where_N: torch.Tensor
    targets_N: torch.Tensor
    positions_BT: torch.Tensor | None = None
    documents: Documents | None = None
    encoder_ids_BS: torch.Tensor | None = None
    encoder_mask_BS: torch.Tensor | None = None

    def to(self, device: torch.device) -> MicroBatch:
        """The same on a device; CUDA fetches it while it computes, for which memory has to be pinned."""
        if self.ids_BT.device == device:
            return self

        def move(tensor: torch.Tensor | None) -> Any:
            if tensor is None:
                return None
            return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

        documents = self.documents and Documents(
            move(self.documents.borders),
            self.documents.longest,
            tuple(Group(move(group.gather_nL), move(group.scatter_S)) for group in self.documents.groups),
        )
        return MicroBatch(
            move(self.ids_BT), move(self.where_N), move(self.targets_N), move(self.positions_BT), documents,
            move(self.encoder_ids_BS), move(self.encoder_mask_BS),
        )  # fmt: skip


class Reading(Enum):
    """How the logits of a model are come by where tokens are trained."""

    LAYER = "the output layer on hidden states"
    OWN = "all that the model's forward pass does to hidden states"
    WHOLE = "the model's whole forward pass, row by row"


_READINGS: WeakKeyDictionary[Any, Reading] = WeakKeyDictionary()


def reading_of(model: PreTrainedModel) -> Reading:
    """How this model is read: the cheapest way that gives the logits of its own forward pass; tried once."""
    inner = bare(model)
    if inner not in _READINGS:
        with evaluating(inner), torch.no_grad():
            _READINGS[inner] = next((way for way in (Reading.LAYER, Reading.OWN) if _gives(inner, way)), Reading.WHOLE)
        if _READINGS[inner] is Reading.WHOLE:
            LOG.warning("rows are read one by one, which is slower: the model's logits come about in a way of its own")
    return _READINGS[inner]


def read_whole(model: PreTrainedModel) -> None:
    """From now on read this model by its whole forward pass, row by row."""
    _READINGS[bare(model)] = Reading.WHOLE


def _gives(model: Any, way: Reading) -> bool:
    """Whether a way of reading gives the logits of the model's own forward pass."""
    row = TokenRow(SHORT, LONG)
    batch = rows_batch(model, [row], 0)
    try:
        if way is Reading.LAYER and not is_layer_alone(model):
            return False
        found_NV = _head(model, way)(_hidden(model, batch))
        return difference(found_NV, whole_logits(model, batch)) <= rounding(model)
    except FAILURES as error:
        LOG.debug("%s: not for %s: %s", way.value, type(model).__name__, error)
        return False


def head_of(model: PreTrainedModel) -> Head:
    """What makes logits of what `answer_hidden` returns."""
    return _head(bare(model), reading_of(model))


def _head(inner: Any, way: Reading) -> Head:
    if way is Reading.WHOLE:
        return Head(torch.nn.Identity())
    return Head(inner.get_output_embeddings()) if way is Reading.LAYER else own_head(inner)


def pad_rows(rows: Sequence[TokenRow], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay rows out as a right-padded rectangle.

    Returns:
        ``ids_BT`` (int64) and ``labels_BT`` (int64), the labels -100 wherever a token is not trained.
    """
    width = max(len(row) for row in rows)
    ids_BT = torch.full((len(rows), width), pad_id)
    labels_BT = torch.full((len(rows), width), -100)
    for index, row in enumerate(rows):
        tokens = torch.tensor(row.prompt + row.completion)
        ids_BT[index, : len(tokens)] = tokens
        trained = torch.tensor(row.trained(), dtype=torch.long)
        labels_BT[index, trained] = tokens[trained]
    return ids_BT, labels_BT


def padded_batch(rows: Sequence[TokenRow], pad_id: int) -> MicroBatch:
    """Rows as a right-padded rectangle for a causal model."""
    ids_BT, labels_BT = pad_rows(rows, pad_id)
    return _labelled(ids_BT, labels_BT)


def seq2seq_batch(rows: Sequence[TokenRow], pad_id: int, start_id: int) -> MicroBatch:
    """Rows for an encoder-decoder: the prompt is read by the encoder, the completion written after ``start_id``."""
    sizes = [len(row.prompt) for row in rows]
    encoder_BS = torch.full((len(rows), max(sizes)), pad_id)
    decoder_BT = torch.full((len(rows), max(len(row.completion) for row in rows)), pad_id)
    decoder_BT[:, 0] = start_id
    where: list[int] = []
    targets: list[int] = []
    for index, row in enumerate(rows):
        encoder_BS[index, : len(row.prompt)] = torch.tensor(row.prompt)
        decoder_BT[index, 1 : len(row.completion)] = torch.tensor(row.completion[:-1])
        where += range(index * decoder_BT.shape[1], index * decoder_BT.shape[1] + len(row.completion))
        targets += row.completion
    mask_BS = (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).long()
    return MicroBatch(
        decoder_BT, torch.tensor(where), torch.tensor(targets), encoder_ids_BS=encoder_BS, encoder_mask_BS=mask_BS
    )


def rows_batch(model: PreTrainedModel, rows: Sequence[TokenRow], pad_id: int) -> MicroBatch:
    """Rows padded as the model reads them, on its device."""
    if model.config.is_encoder_decoder:
        return seq2seq_batch(rows, pad_id, start_id(model, pad_id)).to(model.device)
    return padded_batch(rows, pad_id).to(model.device)


def start_id(model: PreTrainedModel, pad_id: int) -> int:
    """What a decoder reads before its first token."""
    found = getattr(model.config, "decoder_start_token_id", None)
    return pad_id if found is None else int(found)


def trained_tokens(row: TokenRow, *, seq2seq: bool) -> int:
    """Tokens of a row that carry loss: nothing predicts the first of a causal row."""
    return len(row.completion) if seq2seq else len(row.trained())


def answer_hidden(model: PreTrainedModel, batch: MicroBatch) -> torch.Tensor:
    """What `head_of` makes logits of, where a token is trained: hidden states, row by row, left to right.

    Returns:
        Shape (N, D); of a model that is read by its whole forward pass the logits themselves, (N, V).
    """
    inner = bare(model)  # adapters stay inside its layers
    if reading_of(model) is Reading.WHOLE:
        return whole_logits(model, batch)
    limit = length_limit(inner)
    if limit is None:
        return _hidden(inner, batch)
    parts = [batch] if batch.ids_BT.shape[1] <= limit or batch.documents is not None else list(_rows_of(batch))
    found = []
    for part in parts:
        forget_lengths(inner)
        found.append(_hidden(inner, part))
    return torch.cat(found)


def _hidden(inner: Any, batch: MicroBatch) -> torch.Tensor:
    if batch.encoder_ids_BS is not None:
        mask_BS = batch.encoder_mask_BS
        read = inner.get_encoder()(input_ids=batch.encoder_ids_BS, attention_mask=mask_BS).last_hidden_state
        hidden_BTD = inner.get_decoder()(
            input_ids=batch.ids_BT, encoder_hidden_states=read, encoder_attention_mask=mask_BS, use_cache=False
        ).last_hidden_state
    elif batch.documents is not None:
        hidden_BTD = layers_of(inner)(
            input_ids=batch.ids_BT, position_ids=batch.positions_BT, use_cache=False, **batch.documents.arguments()
        ).last_hidden_state
    else:
        hidden_BTD = layers_of(inner)(input_ids=batch.ids_BT, use_cache=False).last_hidden_state
    selected: torch.Tensor = hidden_BTD.flatten(0, 1).index_select(0, batch.where_N)
    return selected


def whole_logits(model: PreTrainedModel, batch: MicroBatch) -> torch.Tensor:
    """Logits of shape (N, V) by the model's own forward pass over each row of a padded batch alone, without padding."""
    inner, parts = bare(model), []
    for row in _rows_of(batch):
        inputs = {"input_ids": row.ids_BT}
        if row.encoder_ids_BS is not None:
            inputs = {"input_ids": row.encoder_ids_BS, "decoder_input_ids": row.ids_BT}
        if length_limit(inner) is not None:
            forget_lengths(inner)
        logits_TV = type(inner).forward(inner, **inputs, use_cache=False, return_dict=True).logits[0]
        parts.append(logits_TV.index_select(0, row.where_N))
    return torch.cat(parts)


def _rows_of(batch: MicroBatch) -> Iterator[MicroBatch]:
    """The rows of a padded batch in which a token is trained, each alone and without padding."""
    for row, ids_T in enumerate(batch.ids_BT):
        start = row * len(ids_T)
        mine_N = (batch.where_N >= start) & (batch.where_N < start + len(ids_T))
        if not mine_N.any():
            continue
        where_n = batch.where_N[mine_N] - start
        encoded = mask_1S = None
        if batch.encoder_ids_BS is not None and batch.encoder_mask_BS is not None:
            encoded = batch.encoder_ids_BS[row][batch.encoder_mask_BS[row] == 1][None]
            mask_1S = torch.ones_like(encoded)
        ids_1T = ids_T[None, : int(where_n.max()) + 2]  # the last token of a row is trained, so nothing follows it
        yield MicroBatch(
            ids_1T, where_n, batch.targets_N[mine_N], encoder_ids_BS=encoded, encoder_mask_BS=mask_1S
        )  # fmt: skip


def answer_logits(
    model: PreTrainedModel, ids_BT: torch.Tensor, labels_BT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a causal model at the positions that predict a trained token, and those tokens.

    Returns:
        ``logits_NV`` and ``targets_N``, row by row, left to right.
    """
    batch = _labelled(ids_BT, labels_BT)
    return head_of(model)(answer_hidden(model, batch)), batch.targets_N


def _labelled(ids_BT: torch.Tensor, labels_BT: torch.Tensor) -> MicroBatch:
    """Ids with labels of the same shape, each predicted by the position before it."""
    ahead_BT = torch.nn.functional.pad(labels_BT[:, 1:], (0, 1), value=-100).flatten()
    where_N = (ahead_BT != -100).nonzero().squeeze(1)
    return MicroBatch(ids_BT, where_N, ahead_BT[where_N])
