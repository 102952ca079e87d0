"""Corpora that are read text by text and never held together, so their size does not matter.

A pass goes through the texts in the order of their source, mixed by a buffer: each text that comes takes a place among
at most `BUFFER` others, and one of them, drawn by the seed, goes out. Texts that are far apart in the source stay so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count, islice

from graft import errors
from graft.tasks.base import Split, Task, TaskCard
from graft.types import Example, Score

BUFFER = 1024
"""Texts that are mixed at once."""

BUFFERED_CHARACTERS = 1 << 24
"""Characters that are mixed at once, however few texts these are."""

LONGEST = 1 << 20
"""Characters of the longest text; a longer one is read in parts, each a text of its own."""

Texts = Callable[[str], Iterator[Example]]
"""Reads the texts of a part, ``train`` or ``eval``, from the beginning, in their order."""


class StreamTask(Task):
    """A corpus that is streamed; make one with `stream_task`.

    Args:
        texts: reads the texts of a part.
    """

    def __init__(self, texts: Texts) -> None:
        self.texts = texts
        self.size: int | None = None
        """Texts of one training pass; ``None`` until one has ended."""

    def examples(self, split: Split, *, limit: int | None, seed: int) -> Iterator[Example]:
        """Yield texts in a mixed order; training goes round again when `limit` exceeds them.

        Raises:
            DataError: the split has no texts.
        """
        rounds = count() if split == "train" and limit is not None else range(1)
        return islice((example for number in rounds for example in self._round(split, seed, number)), limit)

    def _round(self, split: Split, seed: int, number: int) -> Iterator[Example]:
        part = "eval" if split == "eval" else "train"
        rng = random.Random(f"{self.card.name}/{split}/{seed}/{number}")
        given = 0
        for example in mixed(self.texts(part), rng):
            given += 1
            yield replace(example, id=f"{example.id}/pass-{number + 1}") if number else example
        if not given:
            raise errors.DataError(f"task {self.card.name}: the {split} split has no texts; check its source")
        if part == "train":
            self.size = given

    def score(self, example: Example, reply: str) -> Score:
        """Exact match; a text has no other right continuation, so perplexity is what counts."""
        same = reply.strip() == example.gold
        return Score(strict=same, lenient=same, parsed=bool(reply.strip()), answer=reply.strip() or None)


def stream_task(card: TaskCard, texts: Texts) -> StreamTask:
    """A streamed corpus under a card of its own."""
    made: StreamTask = type(StreamTask.__name__, (StreamTask,), {"card": card})(texts)
    return made


def mixed(examples: Iterable[Example], rng: random.Random) -> Iterator[Example]:
    """Yield texts in a mixed order while they come, holding few of them."""
    waiting: list[Example] = []
    held = 0
    for example in examples:
        waiting.append(example)
        held += len(example.gold)
        while len(waiting) > BUFFER or (held > BUFFERED_CHARACTERS and len(waiting) > 1):
            place = rng.randrange(len(waiting))
            waiting[place], waiting[-1] = waiting[-1], waiting[place]
            held -= len(waiting[-1].gold)
            yield waiting.pop()
    rng.shuffle(waiting)
    yield from waiting
