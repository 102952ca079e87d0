"""Control tokens that a text merely spells: they stay text.

A tokenizer turns every text that spells a control token (``<|im_end|>``) into that token, so content could forge turns.
Content is therefore marked before it is rendered: a character that no text has stands inside each control token that
it spells. What is read as a token afterwards was written by the template, and the marks are gone from the ids.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer

from graft.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = "\ufdd0"
"""A code point that Unicode keeps out of every text."""

OUTSIDERS = ("user", "tool")
"""Roles whose text may spell none of the template's tokens; the others may write the model's own tags (``<think>``)."""


@dataclass(frozen=True, slots=True)
class _Stand:
    """A tokenizer that knows control tokens by other names only.

    Attributes:
        tokenizer: the same tokenizer, whose added tokens are called by the names.
        names: for each control token what it is called there.
        ids: ids of added tokens there, with those that they have in truth.
        written: matches a control token, as a group.
    """

    tokenizer: Tokenizer
    names: dict[str, str]
    ids: dict[int, int]
    written: re.Pattern[str]


def mark(tokenizer: PreTrainedTokenizerBase, text: str, role: str) -> str:
    """A text with a mark in each control token that it spells, for rendering and then for `encode_marked`.

    Args:
        tokenizer: it knows the control tokens.
        text: content of one turn, or a whole document.
        role: who writes it: a role of a chat, or ``text``.
    """
    if MARK in text:
        text = unmarked(text)
    pattern = _spelled(tokenizer, str(tokenizer.chat_template), len(tokenizer), role in OUTSIDERS)
    return pattern.sub(lambda found: f"{found[0][0]}{MARK}{found[0][1:]}", text) if pattern else text


def unmarked(text: str) -> str:
    """The text itself."""
    return text.replace(MARK, "")


def spelled_tokens(tokenizer: PreTrainedTokenizerBase, marked: str) -> tuple[str, ...]:
    """The control tokens that a marked text spells, each once."""
    found = control_tokens(tokenizer) if MARK in marked else ()
    return tuple(token for token in found if f"{token[0]}{MARK}{token[1:]}" in marked)


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """What content may not write as a token: special tokens, and others that the template writes; the longest first."""
    return _control_tokens(tokenizer, str(tokenizer.chat_template), len(tokenizer), outside=True)


def unknown_token(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """What stands for characters that the tokenizer cannot write; ``None`` where it can write all.

    Tokenizers of bytes name one too, which then has another office.
    """
    others = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
    return None if tokenizer.unk_token in (None, *others) else str(tokenizer.unk_token)


def encode_marked(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a marked text: control tokens where they are written, plain text where they are spelled.

    Raises:
        DataError: this tokenizer has no tokens for such a text.
    """
    return [index for index, _ in marked_pieces(tokenizer, text)]


def marked_pieces(tokenizer: PreTrainedTokenizerBase, text: str) -> list[tuple[int, tuple[int, int]]]:
    """The ids of a marked text, each with where it begins and ends in the text without its marks.

    Raises:
        DataError: this tokenizer has no tokens for such a text.
    """
    spelled = spelled_tokens(tokenizer, text)
    stand = _stand(tokenizer, str(tokenizer.chat_template), len(tokenizer))
    if stand is None:
        raise DataError(_cannot(tokenizer, spelled))
    pieces = stand.written.split(text)
    places: list[int] = []  # in the text without marks, of every character of the text that is read
    read, place = "", 0
    written: Counter[str] = Counter()
    for index, piece in enumerate(pieces):
        plain = unmarked(piece)
        name = stand.names[piece] if index % 2 else plain
        places += [place] * len(name) if index % 2 else range(place, place + len(plain))
        read, place = read + name, place + len(plain)
        written.update([piece] if index % 2 else [])
    places.append(place)
    encoded = stand.tokenizer.encode(read, add_special_tokens=False)
    ids = [stand.ids.get(index, index) for index in encoded.ids]
    counts = Counter(ids)
    for token in spelled:
        if counts[int(tokenizer.convert_tokens_to_ids(token))] > written[token]:
            raise DataError(_cannot(tokenizer, [token]))
    return [(index, (places[left], places[right])) for index, (left, right) in zip(ids, encoded.offsets, strict=True)]


def _cannot(tokenizer: PreTrainedTokenizerBase, spelled: tuple[str, ...] | list[str]) -> str:
    return (
        f"a text spells {', '.join(spelled)}, and the tokenizer of {tokenizer.name_or_path} can write that as the "
        "control token only, which would forge a turn; change the spelling in the data"
    )


@lru_cache(maxsize=16)
def _control_tokens(tokenizer: PreTrainedTokenizerBase, template: str, size: int, *, outside: bool) -> tuple[str, ...]:
    """The special tokens and, for outsiders, the further tokens that the template writes; the longest first.

    ``<unk>`` begins and ends nothing, and corpora spell it on purpose.
    """
    unknown = unknown_token(tokenizer)
    found = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if len(token.content) > 1
        and token.content != unknown
        and (token.special or (outside and token.content in template and not token.content.strip().isalnum()))
        and not token.content.isspace()
    ]
    return tuple(sorted(found, key=len, reverse=True))


@lru_cache(maxsize=16)
def _spelled(tokenizer: PreTrainedTokenizerBase, template: str, size: int, outside: bool) -> re.Pattern[str] | None:
    tokens = _control_tokens(tokenizer, template, size, outside=outside)
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None


@lru_cache(maxsize=2)
def _stand(tokenizer: PreTrainedTokenizerBase, template: str, size: int) -> _Stand | None:
    """``None`` where the tokenizer is none of the library's own."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    tokens = _control_tokens(tokenizer, template, size, outside=True)
    if not isinstance(backend, Tokenizer) or not tokens:
        return None
    made = json.loads(backend.to_str())
    added = sorted(made["added_tokens"], key=lambda token: int(token["id"]))
    made |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    names = {token: f"{MARK}{index}{MARK}" for index, token in enumerate(tokens)}
    _rename(made["model"], names)
    stand = Tokenizer.from_str(json.dumps(made))
    ids: dict[int, int] = {}
    for token in added:
        content = token["content"]
        flags = {key: token[key] for key in ("single_word", "lstrip", "rstrip")}
        normalized = token["normalized"] and content not in names
        stand.add_tokens([AddedToken(names.get(content, content), normalized=normalized, special=False, **flags)])
        here = stand.token_to_id(names.get(content, content))
        ids |= {} if here is None else {here: int(token["id"])}
    return _Stand(stand, names, ids, re.compile(f"({'|'.join(map(re.escape, tokens))})"))


def _rename(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Rename tokens that are entries of the vocabulary too, in place; of BPE none is made unless a merge makes it."""
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):
        model["vocab"] = [[names.get(entry, entry), score] for entry, score in vocabulary]
    elif isinstance(vocabulary, dict) and model["type"] != "BPE":
        model["vocab"] = {names.get(entry, entry): index for entry, index in vocabulary.items()}
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
