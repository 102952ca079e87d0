"""Replies with thinking, taken apart."""

from __future__ import annotations

from dataclasses import dataclass

from graft.data.chat import CLOSE, OPEN


@dataclass(frozen=True, slots=True)
class ThinkingReply:
    """A reply as thinking and answer.

    Attributes:
        thinking: what stands inside the block, without the tags; empty when the model answered at once.
        answer: what follows the block; empty when the block was never closed.
        closed: False when the reply ends inside its thinking, so that there is no answer to score.
    """

    thinking: str
    answer: str
    closed: bool


def split_thinking(text: str, *, opened: bool = False) -> ThinkingReply:
    """Split a reply into its thinking and its answer.

    Only a block at the very start is thinking; the tags inside an answer are part of the answer. A reply that closes a
    block which it never opened began inside it, because the template had opened it.

    Args:
        text: the reply, with the tags.
        opened: the prompt ended inside an open block (`graft.data.chat.opens_thinking`).
    """
    body = text.lstrip()
    begins = body.startswith(OPEN)
    if begins:
        body = body[len(OPEN) :]
    thinking, tag, answer = body.partition(CLOSE)
    if tag and (begins or opened or OPEN not in thinking):
        return ThinkingReply(thinking.strip(), answer.lstrip("\n"), True)
    if begins or opened:
        return ThinkingReply(body.strip(), "", False)
    return ThinkingReply("", text, True)
