"""Held-out texts that stand among the training texts: exactly, but for their form, nearly, or one inside the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from graft.data.leak_index import LeakIndex, pieces
from graft.data.plain import Plain, changed_in_one_place, containment, parts_in_common, plain, similarity

LeakKind: TypeAlias = Literal["contained", "near", "normalised", "exact"]
KINDS: Final[tuple[LeakKind, ...]] = get_args(LeakKind)
"""From the weakest to the strongest."""

LEAST_UNITS = 7
"""Words (letters in scripts without spaces) from which texts are compared for likeness, so that one of eight words may
be missing; shorter ones must be equal."""

CONTAINED = 0.75
"""Share of the parts of the shorter text, and of its windows, from which it stands inside the longer one."""

ALIKE = 0.5
"""Share of the parts of a text that stand word for word in its near-duplicate."""

SHOWN = 20

NamedText: TypeAlias = tuple[str, str]
"""Id and text of an example."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A held-out text with the training text it was found in.

    Attributes:
        kind: ``exact``; ``normalised``: equal but for case, accents, white space, punctuation, addresses, handles and
            the form of digits; ``near``: alike; ``contained``: one stands inside the other.
        similarity: how alike the two are, or how much of the shorter stands in the longer, in [0, 1].
        held_out, trained: ids of the examples.
        text: the beginning of the held-out text.
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
        counts: held-out texts by the strongest way in which they were found.
        threshold: similarity from which two texts are near-duplicates.
        share: share of the held-out texts that were found, in [0, 1]; NaN without any.
        examples: some of them, the strongest first.
        leaked: ids of all of them.
    """

    task: str
    held_out: int
    trained: int
    counts: Mapping[LeakKind, int]
    threshold: float
    share: float
    examples: tuple[Leak, ...]
    leaked: tuple[str, ...]


def find_leaks(
    trained: Iterable[NamedText], held_out: Mapping[str, Sequence[NamedText]], *, threshold: float
) -> tuple[LeakReport, ...]:
    """Look for the held-out texts of all tasks among the training texts, which are read once, one by one.

    What begins or ends every held-out text of a task alike, as instructions do, is left out of the comparison.

    Args:
        trained: id and text of every training example, before any template.
        held_out: the same of every held-out example, by task.
        threshold: similarity in (0, 1] from which two texts are near-duplicates; those that differ in one word always
            are.

    Returns:
        Counts and examples of each task; a held-out text counts once, by its strongest match.
    """
    tasks = [task for task, texts in held_out.items() for _ in texts]
    seek = _Seek([text for texts in held_out.values() for text in texts], _frames(held_out), threshold)
    found: dict[int, Leak] = {}
    count = 0
    for name, text in trained:
        count += 1
        for place, leak in seek.matches(name, text):
            if place not in found or _strength(leak) > _strength(found[place]):
                found[place] = leak
    by_task: dict[str, list[Leak]] = {task: [] for task in held_out}
    for place, leak in found.items():
        by_task[tasks[place]].append(leak)
    return tuple(_report(task, leaks, len(held_out[task]), count, threshold) for task, leaks in by_task.items())


def _report(task: str, leaks: list[Leak], held_out: int, trained: int, threshold: float) -> LeakReport:
    leaks.sort(key=lambda leak: (-KINDS.index(leak.kind), -leak.similarity, leak.held_out))
    counts: dict[LeakKind, int] = {kind: sum(leak.kind == kind for leak in leaks) for kind in reversed(KINDS)}
    share = len(leaks) / held_out if held_out else float("nan")
    names = tuple(sorted(leak.held_out for leak in leaks))
    return LeakReport(task, held_out, trained, counts, threshold, share, tuple(leaks[:SHOWN]), names)


def _strength(leak: Leak) -> tuple[int, float]:
    return KINDS.index(leak.kind), leak.similarity


@dataclass(frozen=True, slots=True)
class Frame:
    """What all held-out texts of a task begin and end with.

    Attributes:
        head, tail: the units of both.
    """

    head: tuple[str, ...]
    tail: tuple[str, ...]

    def inside(self, text: Plain) -> Plain:
        """The text without them; the text itself where it has others."""
        units = text.units
        if units[: len(self.head)] == self.head:
            units = units[len(self.head) :]
        if self.tail and units[-len(self.tail) :] == self.tail:
            units = units[: -len(self.tail)]
        return Plain(text.key, units, text.dense, text.size - len(text.units) + len(units))


def _frames(held_out: Mapping[str, Sequence[NamedText]]) -> list[Frame]:
    frames = []
    for texts in held_out.values():
        units = [plain(text).units for _, text in texts]
        if len(set(units)) > 1:
            head = _common(units)
            frames.append(Frame(head, _common([row[len(head) :][::-1] for row in units])[::-1]))
    return [frame for frame in frames if frame.head or frame.tail]


def _common(rows: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The common beginning."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    return tuple(column[0] for column in columns)


class _Seek:
    """The held-out texts, ready to be found by their places."""

    def __init__(self, held_out: Sequence[NamedText], frames: Sequence[Frame], threshold: float) -> None:
        self.frames = frames
        self.threshold = threshold
        self.held_out = held_out
        self.exact: dict[str, list[int]] = {}
        self.normal: dict[str, list[int]] = {}
        self.pieces: list[Plain] = []
        self.owners: list[int] = []
        for place, (_, text) in enumerate(held_out):
            own = self._plain(text)
            self.exact.setdefault(text, []).append(place)
            if own.key:
                self.normal.setdefault(own.key, []).append(place)
            if own.size >= LEAST_UNITS:
                parts = pieces(own)
                self.pieces += parts
                self.owners += [place] * len(parts)
        self.index = LeakIndex(self.pieces)

    def matches(self, name: str, text: str) -> Iterator[tuple[int, Leak]]:
        """The held-out texts that a training text gives away, with their places."""
        own = self._plain(text)
        equal = self.exact.get(text, [])
        for place in equal:
            yield place, self._leak("exact", 1.0, place, name)
        for place in self.normal.get(own.key, ()):
            if place not in equal:
                yield place, self._leak("normalised", 1.0, place, name)
        for part in pieces(own) if own.size >= LEAST_UNITS else ():
            for candidate, shared in self.index.candidates(part):
                yield from self._likeness(part, candidate, shared, name)

    def _likeness(self, part: Plain, candidate: int, shared: float, name: str) -> Iterator[tuple[int, Leak]]:
        place, other = self.owners[candidate], self.pieces[candidate]
        alike = similarity(part, other)
        enough = alike >= self.threshold and parts_in_common(part, other) >= ALIKE
        if enough or changed_in_one_place(part, other):
            yield place, self._leak("near", alike, place, name)
        elif shared >= CONTAINED and (inside := containment(part, other)) >= CONTAINED:
            yield place, self._leak("contained", inside, place, name)

    def _leak(self, kind: LeakKind, likeness: float, place: int, trained: str) -> Leak:
        held_out, text = self.held_out[place]
        return Leak(kind, likeness, held_out, trained, text[:200])

    def _plain(self, text: str) -> Plain:
        own = plain(text)
        for frame in self.frames:
            own = frame.inside(own)
        return own


def duplicates(texts: Iterable[str]) -> int:
    """How many texts repeat an earlier one, by their hashes.

    Args:
        texts: any number of texts; 8 bytes are kept of each.
    """
    hashes: NDArray[np.int64] = np.fromiter((hash(text) for text in texts), dtype=np.int64)
    return len(hashes) - len(np.unique(hashes))
