"""How well a model predicts the held-out texts of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from graft.evals.perplexity import measure_texts
from graft.pipeline.prepare.corpora import Corpus

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


CHARACTERS_AT_ONCE = 1 << 20
"""Characters of the texts that are tokenised and measured together."""


def corpus_records(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    *,
    max_length: int,
    batch_size: int,
    on_done: Callable[[int], None] = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """Yield one record per text: ``id``, ``split``, ``nats``, ``tokens`` and ``bytes``.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        corpus: the texts.
        max_length: longest row in tokens; longer texts are cut, and every token is predicted once.
        batch_size: rows per forward pass.
        on_done: called with the number of texts just finished.
    """
    model.eval()
    for start, stop in _groups(corpus.texts):
        texts = corpus.texts[start:stop]
        fits = measure_texts(model, tokenizer, texts, max_length=max_length, batch_size=batch_size)
        for name, fit in zip(corpus.names[start:stop], fits, strict=True):
            yield {"id": name, "split": "eval", "nats": fit.nats, "tokens": fit.tokens, "bytes": fit.bytes}
        on_done(len(texts))


def _groups(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for place, text in enumerate(texts, 1):
        size += len(text)
        if size >= CHARACTERS_AT_ONCE or place == len(texts):
            yield start, place
            start, size = place, 0
