"""How well a model predicts plain text: perplexity per token and bits per byte, from one pass over every token.

Every token of a text is predicted. The first one follows what begins a text: what the tokenizer puts there, as in
training, or else its beginning or end of text. A text longer than the model reads is cut into windows that overlap by
one token. Perplexity depends on how the tokenizer cuts; bits per byte do not, so only they compare different
tokenizers.

Axes: N predicted tokens of a pass, D hidden size, V vocabulary.

Source: Jelinek et al. 1977, "Perplexity - a measure of the difficulty of speech recognition tasks"; bits per byte as in
Gao et al. 2020, "The Pile", section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from graft.data.borders import added_ids
from graft.data.tokens import CHUNK, text_ids
from graft.errors import DataError, ModelError
from graft.models.forward import answer_hidden, head_of, padded_batch
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOGITS_AT_ONCE = 2**26
"""Most entries of the logits held at once: 256 MB in float32."""


@dataclass(frozen=True, slots=True)
class TextFit:
    """How well one text or several together are predicted; adds up with ``+``.

    Attributes:
        nats: negative log-likelihood of all tokens, natural logarithm.
        tokens: predicted tokens.
        bytes: UTF-8 bytes of the text.
    """

    nats: float = 0.0
    tokens: int = 0
    bytes: int = 0

    def __add__(self, other: TextFit) -> TextFit:
        return TextFit(self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes)

    @property
    def perplexity(self) -> float:
        """Exponential of the mean nats per token, at least 1; NaN without tokens, infinite beyond a float's range."""
        mean = self.nats / self.tokens if self.tokens else math.nan
        return math.exp(mean) if not mean > 700.0 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits that the model needs for a byte of the text; NaN without bytes."""
        return self.nats / math.log(2.0) / self.bytes if self.bytes else math.nan


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a text as a token row.

    Attributes:
        text: index of the text.
        row: the token before the piece as prompt, the piece as completion.
    """

    text: int
    row: TokenRow


def first_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """What the first token of a text follows where the tokenizer puts nothing there: beginning or else end of text.

    Raises:
        ModelError: the tokenizer has neither.
    """
    found = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if found is None:
        raise ModelError(
            "the tokenizer has neither a beginning nor an end of text, so a first token cannot be predicted"
        )
    return int(found)


def windows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_length: int) -> Iterator[Window]:
    """Cut texts into rows, every token predicted once.

    Args:
        tokenizer: the model's tokenizer.
        texts: plain texts; an empty one yields nothing.
        max_length: longest row in tokens, at least 2, the token before the piece included.

    Raises:
        DataError: rows would be too short to predict anything.
        ModelError: the tokenizer has no token to begin a text with.
    """
    if max_length < 2:
        raise DataError(f"max_length must be at least 2 to predict a token from another, but got {max_length}")
    first = added_ids(tokenizer)[0][-1:] or (first_token(tokenizer),)
    size = max_length - 1
    for start in range(0, len(texts), CHUNK):
        for offset, ids in enumerate(text_ids(tokenizer, texts[start : start + CHUNK])):
            for begin in range(0, len(ids), size):
                before = (ids[begin - 1],) if begin else first
                yield Window(start + offset, TokenRow(before, tuple(ids[begin : begin + size])))


def measure_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_length: int,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> list[TextFit]:
    """Read texts once and sum up how well each is predicted.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: its tokenizer.
        texts: plain texts.
        max_length: longest row in tokens; longer texts are cut.
        batch_size: rows per forward pass; passes take rows of similar length.
        on_batch: called with the number of rows just read.

    Returns:
        One result per text, in order; store them, since what they add up to can be resampled. An empty text has no
        tokens and no bytes.

    Raises:
        DataError: `max_length` is below 2.
        ModelError: the tokenizer has no token to begin a text with.
    """
    pieces = sorted(windows(tokenizer, texts, max_length=max_length), key=lambda piece: len(piece.row))
    nats = [0.0] * len(texts)
    tokens = [0] * len(texts)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else first_token(tokenizer)
    for start in range(0, len(pieces), batch_size):
        batch = pieces[start : start + batch_size]
        for piece, sum_nats in zip(
            batch, row_nats(model, [piece.row for piece in batch], pad_id=int(pad)), strict=True
        ):
            nats[piece.text] += sum_nats
            tokens[piece.text] += len(piece.row.completion)
        on_batch(len(batch))
    return [TextFit(nats[index], tokens[index], len(text.encode())) for index, text in enumerate(texts)]


def row_nats(model: PreTrainedModel, rows: Sequence[TokenRow], *, pad_id: int) -> list[float]:
    """Negative log-likelihood of every row's completion in nats, by one forward pass; every row has a prompt.

    The head is applied to a part of the positions at a time, so all logits of a large vocabulary are never there.
    """
    batch, head = padded_batch(rows, pad_id).to(model.device), head_of(model)
    with torch.inference_mode():
        hidden_ND = answer_hidden(model, batch)
        size = max(1, _LOGITS_AT_ONCE // model.get_input_embeddings().weight.shape[0])
        parts = [
            torch.nn.functional.cross_entropy(head(hidden).float(), targets, reduction="none").double()
            for hidden, targets in zip(torch.split(hidden_ND, size), torch.split(batch.targets_N, size), strict=True)
        ]
    nats_N = torch.cat(parts).cpu()
    return [float(row.sum()) for row in torch.split(nats_N, [len(row.completion) for row in rows])]
