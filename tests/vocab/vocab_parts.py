"""A tokenizer taken apart, shared by the tests of this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graft.vocab.english import Entry, classify
from graft.vocab.entries import Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Parts:
    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary
    entries: tuple[Entry, ...]


def parts(tokenizer: PreTrainedTokenizerBase) -> Parts:
    vocabulary = read_vocabulary(tokenizer)
    return Parts(tokenizer, vocabulary, classify(vocabulary))
