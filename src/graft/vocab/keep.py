"""Which entries stay when a vocabulary is trimmed, so that kept text is cut into the very same tokens.

A token of byte-level BPE arises by merges. Inside a longer text the merges within the span of a final token are those
of the token's own bytes alone, in the same order: none of them crosses the span, and the lowest rank of the whole is
the lowest of the span it lies in. So if, for every kept token, all products on the way from its bytes stay too, then a
text whose original tokens are all kept is merged by the smaller list exactly as before: at every step the original
choice is still there, and only choices that lost are gone. The 256 bytes always stay, so no text becomes unencodable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from graft.errors import ConfigError, choices
from graft.vocab.english import KEPT_CLASSES, Entry, EntryClass
from graft.vocab.entries import Pair, Vocabulary, byte_alphabet

SUBSETS: Final = {"english": KEPT_CLASSES}
"""Named subsets: the classes each one keeps."""

ROW_BLOCK: Final = 64
"""Rows of embeddings come in blocks of this size. Matrix kernels treat the columns beyond their last full block in
another order of summation, so logits stay bit-identical only if full blocks stay full and the tail stays the tail."""

_FILL_ORDER: Final = (EntryClass.CODE_LIKE, EntryClass.OTHER_LATIN, EntryClass.SYMBOL)


@dataclass(frozen=True, slots=True)
class Keep:
    """The entries that stay.

    Attributes:
        ids: original ids in the order of the new ids: new id ``n`` was ``ids[n]``.
        subset: how many belong to the named subset.
        bytes: how many of the 256 bytes were added.
        corpus: how many were added because a corpus uses them.
        closure: how many were added because merges pass through them.
        fill: how many were added to fill the last block of `ROW_BLOCK` rows.
    """

    ids: tuple[int, ...]
    subset: int
    bytes: int
    corpus: int
    closure: int
    fill: int

    def __len__(self) -> int:
        return len(self.ids)

    def new_ids(self) -> dict[int, int]:
        """Original id to new id."""
        return {old: new for new, old in enumerate(self.ids)}


def choose(
    vocabulary: Vocabulary,
    entries: Sequence[Entry],
    *,
    subset: str,
    corpus: Iterable[int] = (),
    rows: int | None = None,
) -> Keep:
    """Choose the entries that stay: a subset, the bytes, what a corpus uses, and what merges need.

    Args:
        vocabulary: the tokenizer.
        entries: its classified entries.
        subset: a name of `SUBSETS`.
        corpus: ids to keep besides.
        rows: rows of the model's embeddings; ``None`` for a multiple of `ROW_BLOCK`, as most models have.

    Raises:
        ConfigError: there is no such subset.
    """
    if subset not in SUBSETS:
        raise ConfigError(f"unknown subset '{subset}'. {choices(subset, SUBSETS)}")
    tokens = vocabulary.plain
    kinds = {entry.id: entry.kind for entry in entries}
    asked = {id for id, kind in kinds.items() if kind in SUBSETS[subset]} | set(vocabulary.added)
    letters = {vocabulary.tokens[letter] for letter in byte_alphabet()} - asked
    used = set(corpus) - asked - letters
    tail = _tail(vocabulary, rows) - asked - letters - used
    derivations = Derivations(vocabulary)
    wanted = asked | letters | used | tail
    closed = wanted | {id for old in wanted if old in tokens for id in derivations.of(tokens[old])}
    filled = _fill(closed, vocabulary, kinds, derivations, rows)
    in_model = set(vocabulary.tokens.values())  # tokenizers number added tokens after those of the BPE model
    return Keep(
        ids=(*sorted(filled & in_model), *sorted(filled - in_model)),
        subset=len(asked),
        bytes=len(letters),
        corpus=len(used),
        closure=len(closed) - len(asked) - len(letters) - len(used) - len(tail),
        fill=len(filled) - len(closed) + len(tail),
    )


def _tail(vocabulary: Vocabulary, rows: int | None) -> set[int]:
    """Entries in the last, partly filled block of a model's rows; they must stay the last ones."""
    if rows is None or rows % ROW_BLOCK == 0:
        return set()
    return {id for id in (*vocabulary.tokens.values(), *vocabulary.added) if id >= rows - rows % ROW_BLOCK}


def _fill(
    closed: set[int],
    vocabulary: Vocabulary,
    kinds: dict[int, EntryClass],
    derivations: Derivations,
    rows: int | None,
) -> set[int]:
    """Add the lowest further ids, none of another script, until the last block of rows is as full as it was."""
    filled = set(closed)
    missing = ((rows or 0) - len(filled)) % ROW_BLOCK
    for kind in _FILL_ORDER:
        for id, token in vocabulary.plain.items():
            if missing and kinds[id] is kind and id not in filled and derivations.of(token) <= filled:
                filled.add(id)
                missing -= 1
    return filled


class Derivations:
    """The ways from bytes to tokens.

    Args:
        vocabulary: the tokenizer.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = vocabulary.tokens
        self._ranks: dict[Pair, int] = {}
        for rank, pair in enumerate(vocabulary.merges):
            self._ranks.setdefault(pair, rank)

    def of(self, token: str) -> set[int]:
        """Ids of all products on the way to a token, and of the bytes, but not of the token itself.

        A token that its own bytes do not merge into is only ever found by looking up a whole word (Llama 3's
        ``ignore_merges``); it has no derivation.
        """
        parts, products = list(token), set(token)
        while len(parts) > 1:
            rank, index = min(
                (self._ranks.get((left, right), NEVER), index) for index, (left, right) in enumerate(pairwise(parts))
            )
            if rank == NEVER:
                return set()
            parts[index : index + 2] = [parts[index] + parts[index + 1]]
            products.add(parts[index])
        return {self._ids[product] for product in products - {token}}


NEVER: Final = 1 << 60
"""Rank of a pair that is never merged."""


def count_classes(ids: Iterable[int], entries: Sequence[Entry]) -> dict[EntryClass, int]:
    """Kept entries per class, every class named."""
    kinds = {entry.id: entry.kind for entry in entries}
    found = Counter(kinds[id] for id in ids)
    return {kind: found[kind] for kind in EntryClass}
