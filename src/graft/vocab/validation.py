"""Does a subset do what it promises? Coverage of real text, other scripts let in, round trips, equal ids."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from graft.errors import DataError
from graft.vocab.english import Entry, EntryClass

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COVERAGE_GOAL: Final = 0.999
"""Share of the tokens of English text that the English subset is expected to hold."""

PIECE = 200_000
"""Characters tokenised at once; a text is only ever cut after a line that ends a paragraph or, failing that, a line."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a text's tokens a subset holds.

    Attributes:
        tokens: tokens of the text.
        covered: how many of them are kept.
        missed: the most frequent others, as surface and count.
    """

    tokens: int
    covered: int
    missed: tuple[tuple[str, int], ...]

    @property
    def share(self) -> float:
        """Covered share in [0, 1]; NaN without a token."""
        return self.covered / self.tokens if self.tokens else float("nan")


def read_text(path: Path) -> str:
    """Read a UTF-8 text as it is, line ends included.

    Raises:
        DataError: it is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be UTF-8 text, but byte {error.start} is not; re-save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path") from None


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> Iterator[list[int]]:
    """The ids of a text, piece by piece: a tokenizer's raw output takes a hundred bytes per token."""
    for piece in pieces(text):
        yield tokenizer.backend_tokenizer.encode(piece, add_special_tokens=False).ids


def pieces(text: str) -> Iterator[str]:
    """Cut a long text behind line ends."""
    start = 0
    while len(text) - start > PIECE:
        cut = max(text.rfind(end, start, start + PIECE) + len(end) for end in ("\n\n", "\r\n\r\n"))
        if cut <= start + 4:
            cut = text.rfind("\n", start, start + PIECE) + 1 or start + PIECE
        yield text[start:cut]
        start = cut
    yield text[start:]


def measure_coverage(used: Mapping[int, int], kept: Collection[int], entries: Sequence[Entry]) -> Coverage:
    """Coverage of a text whose ids are counted in ``used``."""
    surfaces = {entry.id: entry.surface for entry in entries}
    missed = Counter({id: count for id, count in used.items() if id not in kept})
    most = tuple((surfaces[id], count) for id, count in missed.most_common(20))
    return Coverage(sum(used.values()), sum(used.values()) - missed.total(), most)


def round_trips(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> tuple[int, int]:
    """Encode and decode texts.

    Returns:
        How many texts there were, and how many did not come back as their NFC form.
    """
    total = failed = 0
    for text in texts:
        ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        total += 1
        failed += tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False) != unicodedata.normalize(
            "NFC", text
        )
    return total, failed


def sample_texts(entries: Sequence[Entry], kept: Collection[int]) -> list[str]:
    """Texts made of kept entries, a hundred at a time, in order of id."""
    skipped = (EntryClass.PARTIAL_UTF8, EntryClass.SPECIAL)
    surfaces = [entry.surface for entry in entries if entry.id in kept and entry.kind not in skipped]
    return ["".join(surfaces[start : start + 100]) for start in range(0, len(surfaces), 100)]


def unequal_ids(
    original: PreTrainedTokenizerBase,
    trimmed: PreTrainedTokenizerBase,
    new_ids: Mapping[int, int],
    texts: Iterable[str],
) -> tuple[int, int]:
    """Compare the two tokenizers on texts that the original encodes to kept entries alone.

    Returns:
        How many such texts there were, and on how many the trimmed tokenizer gives other ids than the mapped ones.
    """
    compared = unequal = 0
    for text in texts:
        ids = original.backend_tokenizer.encode(text, add_special_tokens=False).ids
        if all(id in new_ids for id in ids):
            compared += 1
            mapped = [new_ids[id] for id in ids]
            unequal += trimmed.backend_tokenizer.encode(text, add_special_tokens=False).ids != mapped
    return compared, unequal
