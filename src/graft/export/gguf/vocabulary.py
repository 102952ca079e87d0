"""A tokenizer in GGUF: entries and their types, merges, rules, ends and template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from graft.data.chat import PROBE
from graft.errors import ModelError
from graft.models.pretokenizers import pre_tokenizer_name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NORMALIZERS = (None, "NFC")
"""Those of byte-level tokenizers that may stand. llama.cpp does not normalise: text in decomposed form is cut apart."""

SPACE = "▁"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF says of a tokenizer.

    Attributes:
        model: ``gpt2`` for byte-level BPE, ``llama`` for BPE on characters as SentencePiece has it.
        pre: llama.cpp's name of the rules by which text is cut first.
        tokens: the entries, one for each row of the embedding.
        types: their types, as llama.cpp numbers them.
        merges: pairs, where the model is ``gpt2``.
        scores: where the model is ``llama``; a higher one is merged first.
        starts: a prompt begins with the start token.
        space: a text is given a space before it.
        notes: what differs from the original and cannot be helped.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    starts: bool = False
    space: bool = False
    notes: tuple[str, ...] = ()


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """The vocabulary of a tokenizer.

    Args:
        tokenizer: a fast one.
        rows: rows of the model's embedding.

    Raises:
        ModelError: GGUF has no form for it.
    """
    owner = str(tokenizer.name_or_path)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    stored: dict[str, Any] = {} if backend is None else json.loads(backend.to_str())
    model = stored.get("model", {})
    if model.get("type") != "BPE":
        raise ModelError(f"the tokenizer of {owner} is {model.get('type', 'a slow one')}, and GGUF is made of BPE only")
    starts = starts_with_token(tokenizer)
    tokens, types = _entries(stored, rows)
    if model.get("byte_fallback"):
        return _like_sentencepiece(stored, tokens, types, starts, owner)
    pre = pre_tokenizer_name(stored.get("pre_tokenizer"), owner)
    normalizer = (stored.get("normalizer") or {}).get("type")
    if normalizer not in NORMALIZERS:
        raise ModelError(f"the tokenizer of {owner} changes text first ({normalizer}), which llama.cpp does not do")
    notes = (
        ("text in decomposed form (e + ´) is composed by this tokenizer and not by llama.cpp",) if normalizer else ()
    )
    merges = tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    return Vocabulary("gpt2", pre, tokens, types, merges=merges, starts=starts, notes=notes)


def starts_with_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a prompt begins with the start token: llama.cpp puts it there, and takes away what the template wrote."""
    turns = [{"role": "user", "content": PROBE}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _entries(stored: Mapping[str, Any], rows: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Entries and types by id; rows without an entry are padding."""
    import gguf

    kinds = gguf.TokenType
    tokens = [f"[PAD{index}]" for index in range(rows)]
    types = [int(kinds.UNUSED)] * rows
    unknown = stored["model"].get("unk_token")
    for token, index in stored["model"]["vocab"].items():
        tokens[index], types[index] = token, int(kinds.UNKNOWN if token == unknown else kinds.NORMAL)
        if stored["model"].get("byte_fallback") and len(token) == 6 and token.startswith("<0x"):
            types[index] = int(kinds.BYTE)
    for entry in stored.get("added_tokens", ()):
        index, plain = entry["id"], kinds.USER_DEFINED
        tokens[index] = entry["content"]
        if types[index] != int(kinds.UNKNOWN):
            types[index] = int(kinds.CONTROL if entry["special"] else plain)
    return tuple(tokens), tuple(types)


def _like_sentencepiece(
    stored: Mapping[str, Any], tokens: tuple[str, ...], types: tuple[int, ...], starts: bool, owner: str
) -> Vocabulary:
    """BPE on characters with a fallback to bytes.

    llama.cpp merges by score, so the order of ids must be that of the merges.

    Raises:
        ModelError: it is not, or text is prepared in another way.
    """
    vocabulary, merges = stored["model"]["vocab"], stored["model"]["merges"]
    made = [vocabulary["".join(merge.split(" ", 1) if isinstance(merge, str) else merge)] for merge in merges]
    if any(later < earlier for earlier, later in pairwise(made)):
        raise ModelError(f"the tokenizer of {owner} merges in another order than that of its ids; use --to merged")
    space = _adds_space(stored.get("normalizer"), stored.get("pre_tokenizer"))
    if space is None:
        text = json.dumps({name: stored.get(name) for name in ("normalizer", "pre_tokenizer")})
        raise ModelError(f"the tokenizer of {owner} prepares text in a way that llama.cpp does not know: {text[:300]}")
    scores = tuple(-float(index) for index in range(len(tokens)))
    return Vocabulary("llama", "default", tokens, types, scores=scores, starts=starts, space=space)


def _adds_space(normalizer: Mapping[str, Any] | None, pre: Mapping[str, Any] | None) -> bool | None:
    """Whether a text is given a space before it; ``None`` where it is prepared in another way than SentencePiece's."""
    steps = _flat(normalizer, "normalizers")
    prepends = [step for step in steps if step["type"] == "Prepend" and step["prepend"] == SPACE]
    replaces = [step for step in steps if step["type"] == "Replace" and step["pattern"] == {"String": " "}]
    cuts = _flat(pre, "pretokenizers")
    spaces = [step for step in cuts if step["type"] == "Metaspace" and step["replacement"] == SPACE]
    harmless = [step for step in cuts if step["type"] == "Split" and step["pattern"] == {"String": " "}]
    if len(prepends) + len(replaces) != len(steps) or len(spaces) + len(harmless) != len(cuts):
        return None
    if not replaces and not spaces:
        return None
    return bool(prepends) or any(step.get("prepend_scheme", "always") != "never" for step in spaces)


def _flat(settings: Mapping[str, Any] | None, inner: str) -> Sequence[Mapping[str, Any]]:
    if settings is None:
        return ()
    return settings[inner] if settings["type"] == "Sequence" else (settings,)


def write_vocabulary(writer: Any, tokenizer: PreTrainedTokenizerBase, found: Vocabulary, ends: Sequence[int]) -> None:
    """Write a vocabulary with its special ids and its chat template.

    Args:
        writer: a `gguf.GGUFWriter`.
        tokenizer: names the start and padding tokens and holds the template.
        found: the vocabulary.
        ends: ids at which a reply stops; the first ends a turn.

    Raises:
        ModelError: there are more ends than GGUF names.
    """
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(list(found.tokens))
    writer.add_token_types(list(found.types))
    if found.merges:
        writer.add_token_merges(list(found.merges))
    if found.scores:
        writer.add_token_scores(list(found.scores))
        writer.add_add_space_prefix(found.space)
    writer.add_add_bos_token(found.starts)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    adders = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    if len(ends) > len(adders):
        raise ModelError(f"replies of this model stop at {len(ends)} tokens {list(ends)}, but GGUF names three at most")
    for add, end in zip(adders, ends, strict=False):
        add(end)
    writer.add_chat_template(tokenizer.chat_template)
