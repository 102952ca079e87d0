"""Texts that end a reply, whatever tokens they are written with."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BESIDE = 4
"""Tokens that are read beside the longest text: a character may take several."""


class Until:
    """Watches replies while they are written.

    Args:
        tokenizer: decodes them; control tokens are read too.
        texts: what ends a reply.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: tuple[str, ...]) -> None:
        self.tokenizer = tokenizer
        self.texts = texts
        self._seen = BESIDE + max(map(len, texts), default=0)
        self._written: dict[int, list[int]] = defaultdict(list)

    def __call__(self, stream: int, token: int) -> bool:
        """Whether one of the texts stands at the end of a reply with its next token."""
        written = self._written[stream]
        written.append(token)
        end = str(self.tokenizer.decode(written[-self._seen :]))
        return any(text in end for text in self.texts)


def cut(reply: str, texts: tuple[str, ...]) -> str:
    """A reply up to the first of the texts."""
    for text in texts:
        reply = reply.partition(text)[0]
    return reply
