"""Held-out texts that stand among the training texts: exactly, but for case and punctuation, or nearly."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

LeakKind = Literal["exact", "normalised", "near"]

SHINGLE = 5
"""Words of a piece; a shorter text is one piece."""

PERMUTATIONS = 128
"""Of each MinHash; candidates are always compared exactly, so more would only find a few more of them."""

SHOWN = 20

NEAR_LIMIT = 200_000
"""Training texts that are compared for near-duplicates; the other two comparisons are of all."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A held-out text with the training text it was found in.

    Attributes:
        kind: ``exact``; ``normalised``: equal but for case, punctuation and white space; ``near``: similar pieces.
        similarity: Jaccard similarity of the two sets of five-word pieces, in [0, 1].
        held_out, trained: ids of the examples.
        text: the beginning of the held-out text, after what all of them begin with.
    """

    kind: LeakKind
    similarity: float
    held_out: str
    trained: str
    text: str


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What was found of one task.

    Attributes:
        task: its name.
        held_out: held-out texts.
        trained: training texts they were compared with.
        near_compared: how many of these were compared for near-duplicates.
        counts: held-out texts by the strongest way in which they were found.
        threshold: Jaccard similarity from which two texts are near-duplicates.
        share: share of the held-out texts that were found, in [0, 1]; NaN without any.
        examples: some of them, the most similar first.
    """

    task: str
    held_out: int
    trained: int
    near_compared: int
    counts: Mapping[LeakKind, int]
    threshold: float
    share: float
    examples: tuple[Leak, ...]


def find_leaks(
    task: str,
    trained: Iterable[tuple[str, str]],
    held_out: Sequence[tuple[str, str]],
    *,
    threshold: float,
    near_limit: int = NEAR_LIMIT,
) -> LeakReport:
    """Look for the held-out texts of a task among its training texts, which are read once, one by one.

    Near-duplicates are proposed by locality-sensitive hashing and confirmed by the similarity itself. What begins or
    ends every held-out text alike, as instructions do, is left out of that comparison.

    Args:
        task: the task's name.
        trained: id and text of every training example.
        held_out: id and text of every held-out example.
        threshold: Jaccard similarity in (0, 1] from which two texts are near-duplicates.
        near_limit: at most this many training texts are compared for near-duplicates.

    Returns:
        Counts and examples; each held-out text counts once, by its strongest match.

    Source: Broder 1997, "On the resemblance and containment of documents", section 2 (shingles and min-wise hashing).
    """
    frame = common_frame([text for _, text in held_out])
    seek = _Seek(held_out, frame, threshold)
    found: dict[str, Leak] = {}
    count = 0
    for count, (name, text) in enumerate(trained, start=1):
        for leak in seek.matches(name, text, near=count <= near_limit):
            if leak.held_out not in found or _strength(leak) > _strength(found[leak.held_out]):
                found[leak.held_out] = leak
    leaks = sorted(found.values(), key=lambda leak: (-leak.similarity, leak.held_out))
    kinds: tuple[LeakKind, ...] = ("exact", "normalised", "near")
    counts = {kind: sum(leak.kind == kind for leak in leaks) for kind in kinds}
    share = len(leaks) / len(held_out) if held_out else float("nan")
    near = min(count, near_limit)
    return LeakReport(task, len(held_out), count, near, counts, threshold, share, tuple(leaks[:SHOWN]))


def normalised(text: str) -> str:
    """A text in lower case, its words joined by single spaces, without punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def pieces(words: Sequence[str]) -> frozenset[str]:
    """All runs of five words; the whole text when it is shorter, nothing when it has no words."""
    if len(words) <= SHINGLE:
        return frozenset([" ".join(words)]) if words else frozenset()
    return frozenset(" ".join(words[start : start + SHINGLE]) for start in range(len(words) - SHINGLE + 1))


def common_frame(texts: Sequence[str]) -> tuple[int, int]:
    """How many words all texts have in common at their beginning and at their end; (0, 0) for fewer than two."""
    split = [normalised(text).split() for text in texts]
    if len(split) < 2:
        return 0, 0
    head = _common(split)
    return head, _common([words[head:][::-1] for words in split])


def _common(rows: Sequence[Sequence[str]]) -> int:
    """Length of the common beginning."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False)))


def _strength(leak: Leak) -> tuple[int, float]:
    return ("near", "normalised", "exact").index(leak.kind), leak.similarity


class _Seek:
    """The held-out texts, ready to be found."""

    def __init__(self, held_out: Sequence[tuple[str, str]], frame: tuple[int, int], threshold: float) -> None:
        self.frame = frame
        self.threshold = threshold
        self.texts = dict(held_out)
        self.start = _common(list(self.texts.values())) if len(set(self.texts.values())) > 1 else 0
        self.exact: dict[str, list[str]] = {}
        self.normal: dict[str, list[str]] = {}
        self.pieces: dict[str, frozenset[str]] = {}
        self.index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
        for name, text in held_out:
            self.exact.setdefault(text, []).append(name)
            if plain := normalised(text):
                self.normal.setdefault(plain, []).append(name)
            self.pieces[name] = self._pieces(text)
            if self.pieces[name] and name not in self.index:
                self.index.insert(name, _sketch(self.pieces[name]))
        self.known = frozenset[str]().union(*self.pieces.values())

    def matches(self, name: str, text: str, *, near: bool) -> Iterator[Leak]:
        """The held-out texts that a training text gives away."""
        for kind, known in (("exact", self.exact.get(text, ())), ("normalised", self.normal.get(normalised(text), ()))):
            for other in known:
                yield self._leak(kind, 1.0, other, name)  # type: ignore[arg-type]
        own = self._pieces(text) if near else frozenset()
        # two texts share at most what the one shares with all others, so most are told apart without a sketch
        if own and len(own & self.known) >= self.threshold * len(own):
            for other in self.index.query(_sketch(own)):
                similarity = len(own & self.pieces[other]) / len(own | self.pieces[other])
                if similarity >= self.threshold:
                    yield self._leak("near", similarity, other, name)

    def _leak(self, kind: LeakKind, similarity: float, held_out: str, trained: str) -> Leak:
        return Leak(kind, similarity, held_out, trained, self.texts[held_out][self.start :][:200])

    def _pieces(self, text: str) -> frozenset[str]:
        words = normalised(text).split()
        head, tail = self.frame
        return pieces(words[head : len(words) - tail])


def _sketch(own: frozenset[str]) -> MinHash:
    sketch = MinHash(num_perm=PERMUTATIONS, hashfunc=_crc)
    sketch.update_batch([piece.encode() for piece in own])
    return sketch


def _crc(data: bytes) -> int:
    return zlib.crc32(data)


def duplicates(texts: Iterable[str]) -> int:
    """How many texts repeat an earlier one, by their hashes.

    Args:
        texts: any number of texts; 8 bytes are kept of each.
    """
    hashes: NDArray[np.int64] = np.fromiter((hash(text) for text in texts), dtype=np.int64)
    return len(hashes) - len(np.unique(hashes))
