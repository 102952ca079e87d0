"""The entries of a byte-level BPE tokenizer as what they are: strings of bytes.

Byte-level BPE (Radford et al. 2019, section 2.2) writes each of the 256 bytes as one printable character, so that any
text is made of entries and every entry has an exact meaning in bytes. Qwen, Llama 3, GPT-2 and their relatives
work so. SentencePiece-like vocabularies (Llama 2, Gemma, T5) normalise spaces and fall back to bytes by other rules;
they are refused with the reason.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A byte-level BPE tokenizer taken apart.

    Attributes:
        name: the model's id or folder, for messages.
        spec: the parsed ``tokenizer.json``.
        tokens: entries of the BPE model, written in the byte alphabet, to their ids.
        merges: pairs of tokens in order of rank.
        added: ids of the added tokens, special or not, to their text.
    """

    name: str
    spec: Mapping[str, Any]
    tokens: Mapping[str, int]
    merges: tuple[Pair, ...]
    added: Mapping[int, str]

    def __len__(self) -> int:
        return len({*self.tokens.values(), *self.added})

    @property
    def plain(self) -> dict[int, str]:
        """Entries that are not added tokens: id to token, in order of id."""
        return {
            id: token for token, id in sorted(self.tokens.items(), key=lambda item: item[1]) if id not in self.added
        }


def read_vocabulary(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """Take a tokenizer apart.

    Raises:
        ModelError: it is no byte-level BPE tokenizer; the message says which rule it breaks.
    """
    name = str(tokenizer.name_or_path)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"the tokenizer of {name} has no tokenizer.json form, so its entries cannot be read")
    spec = json.loads(backend.to_str())
    reason = _not_byte_level(spec)
    if reason:
        raise ModelError(
            f"the tokenizer of {name} is not byte-level BPE: {reason}. Vocabulary commands need byte-level BPE, as in "
            "Qwen, Llama 3 or GPT-2"
        )
    merges = tuple((a, b) for a, b in (m.split(" ") if isinstance(m, str) else m for m in spec["model"]["merges"]))
    added = {int(entry["id"]): str(entry["content"]) for entry in spec["added_tokens"]}
    return Vocabulary(name, spec, MappingProxyType(spec["model"]["vocab"]), merges, MappingProxyType(added))


def _not_byte_level(spec: Mapping[str, Any]) -> str:
    """Which rule of byte-level BPE a tokenizer breaks; empty when none."""
    model = spec["model"]
    if model["type"] != "BPE":
        return f"its model is {model['type']}"
    if model.get("byte_fallback"):
        return "it falls back to bytes for unknown characters, as SentencePiece does"
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return "it marks the beginnings or ends of words inside its tokens"
    if model.get("dropout"):
        return f"it drops merges at random (dropout {model['dropout']})"
    if "ByteLevel" not in set(_kinds(spec.get("pre_tokenizer"))) or "ByteLevel" not in set(_kinds(spec.get("decoder"))):
        return "it does not map text to the byte alphabet"
    alphabet = byte_alphabet()
    missing = sum(letter not in model["vocab"] for letter in alphabet)
    if missing:
        return f"{missing} of the 256 bytes have no entry of their own"
    added = {entry["content"] for entry in spec["added_tokens"]}
    strange = next((t for t in model["vocab"] if t not in added and not all(c in alphabet for c in t)), None)
    return f"the entry {strange!r} is not written in the byte alphabet" if strange is not None else ""


def _kinds(part: Mapping[str, Any] | None) -> Iterator[str]:
    """The types of a pre-tokenizer or decoder and of what it is composed of."""
    if part is None:
        return
    yield str(part["type"])
    for inner in (*part.get("pretokenizers", ()), *part.get("decoders", ())):
        yield from _kinds(inner)


@cache
def byte_alphabet() -> MappingProxyType[str, int]:
    """Each character of the byte alphabet to its byte: printable Latin-1 stands for itself, the rest from U+0100 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in own]
    letters = {chr(byte): byte for byte in own} | {chr(256 + index): byte for index, byte in enumerate(rest)}
    return MappingProxyType(letters)


def token_bytes(token: str) -> bytes:
    """The bytes that a token, written in the byte alphabet, stands for."""
    alphabet = byte_alphabet()
    return bytes(alphabet[letter] for letter in token)


def token_text(token: str) -> str | None:
    """The text of a token in Unicode normal form C, or ``None`` when its bytes are a part of a character."""
    try:
        return unicodedata.normalize("NFC", token_bytes(token).decode("utf-8"))
    except UnicodeDecodeError:
        return None
