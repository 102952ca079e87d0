"""Rows token by token, for people: what each token stands for, and what of a text does not come through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from graft.data.borders import borders_of
from graft.data.chat import NO_THINKING, ChatPolicy, PromptRenderer
from graft.data.controls import MARK, mark, marked_pieces, spelled_tokens, unknown_token, unmarked
from graft.data.tokens import INDENTS, example_turns, marked_texts, token_ids
from graft.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a row.

    Attributes:
        id: its id.
        text: what it stands for; a part of the row's text, or the token's own name where it was added to that.
        start: where it begins in the prompt's text; ``None`` for what belongs to the answer or was added.
        trained: it carries loss.
        part: its bytes as ``<F0><9F>``, where it is only a part of one character; else empty.
    """

    id: int
    text: str
    start: int | None
    trained: bool
    part: str = ""

    @property
    def shown(self) -> str:
        """What it stands for, for people: of a character in several tokens, the bytes of each."""
        return self.part or self.text


def example_pieces(
    tokenizer: PreTrainedTokenizerBase, example: Example, policy: ChatPolicy = NO_THINKING
) -> tuple[str, list[Piece]]:
    """The text of an example's prompt, and its row token by token, as it is trained.

    Raises:
        DataError: the example has nothing to train, or its prompt's tokens change when the answer follows.
        ThinkingPolicyError: it carries reasoning, but the policy is ``off``.
    """
    ((_, ids, cut),) = token_ids(tokenizer, [example], policy=policy)
    prompt, answer = marked_texts(PromptRenderer(tokenizer, policy), borders_of(tokenizer, policy), example, None)
    parts = [prompt, answer] if policy.apart or _melts(tokenizer, prompt, answer) else [prompt + answer]
    pieces: list[Piece] = []
    for index, part in enumerate(parts):
        text, spans = unmarked(part), _spans(tokenizer, part)
        for place, (token, (left, right)) in enumerate(spans):
            while ids[len(pieces)] != token:  # what the tokenizer adds
                pieces.append(_named(tokenizer, ids, len(pieces), cut))
            start = None if index or len(pieces) >= cut else left
            shown = _bytes(tokenizer, token) if _is_shared(spans, place) else ""
            pieces.append(Piece(token, text[left:right], start, len(pieces) >= cut, shown))
    pieces += [_named(tokenizer, ids, place, cut) for place in range(len(pieces), len(ids))]
    return unmarked(prompt), pieces


def _melts(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> bool:
    """Whether white space that begins an answer would change the prompt's tokens, so that both are read apart."""
    if not answer.startswith(INDENTS):
        return False
    alone = [token for token, _ in _spans(tokenizer, prompt)]
    return [token for token, _ in _spans(tokenizer, prompt + answer)][: len(alone)] != alone


def _spans(tokenizer: PreTrainedTokenizerBase, text: str) -> list[tuple[int, tuple[int, int]]]:
    if MARK in text:
        return marked_pieces(tokenizer, text)
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(zip(found["input_ids"], found["offset_mapping"], strict=True))


def _is_shared(spans: Sequence[tuple[int, tuple[int, int]]], place: int) -> bool:
    """Whether a token and one beside it stand for the same character."""
    left, right = spans[place][1]
    beside = [spans[other][1] for other in (place - 1, place + 1) if 0 <= other < len(spans)]
    return any(max(left, start) < min(right, end) for start, end in beside)


def _bytes(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The bytes of a token of a byte-level vocabulary, or of one that spells single bytes; empty for others."""
    name = str(tokenizer.convert_ids_to_tokens(token))
    if name == unknown_token(tokenizer):
        return ""
    if re.fullmatch(r"<0x[0-9A-F]{2}>", name):
        return f"<{name[3:]}"
    letters = byte_letters()
    return "".join(f"<{letters[letter]:02X}>" for letter in name) if {*name} <= letters.keys() else ""


@cache
def byte_letters() -> dict[str, int]:
    """The letter that a byte-level vocabulary writes for each byte.

    Source: Radford et al. 2019, GPT-2, `bytes_to_unicode` in encoder.py.
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _named(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], place: int, cut: int) -> Piece:
    return Piece(ids[place], str(tokenizer.convert_ids_to_tokens(ids[place])), None, place >= cut)


def lost_characters(tokenizer: PreTrainedTokenizerBase, example: Example, policy: ChatPolicy = NO_THINKING) -> str:
    """The characters of an example that the tokenizer cannot write, each once: the model reads them as unknown."""
    _, pieces = example_pieces(tokenizer, example, policy)
    lost = (piece.text for piece in pieces if is_lost(tokenizer, piece))
    return "".join(dict.fromkeys("".join(lost)))


def is_lost(tokenizer: PreTrainedTokenizerBase, piece: Piece) -> bool:
    """Whether the tokenizer cannot write what a token stands for."""
    unknown = unknown_token(tokenizer)
    return unknown is not None and piece.id == tokenizer.unk_token_id and piece.text != unknown


def spelled_controls(tokenizer: PreTrainedTokenizerBase, example: Example) -> tuple[str, ...]:
    """The control tokens that an example's content spells, which is read as text."""
    turns = [("text" if example.prompt is None else "assistant", example.gold)]
    turns += [(turn.role, text) for turn in example_turns(example) for text in (turn.content, turn.fields)]
    turns.append(("assistant", example.calls))
    return spelled_tokens(tokenizer, "\n".join(mark(tokenizer, content, role) for role, content in turns))
