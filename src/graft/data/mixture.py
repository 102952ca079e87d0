"""Drawing training examples from several sources at fixed rates."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from graft.errors import DataError
from graft.tasks.base import Task
from graft.tasks.dataset import DatasetTask
from graft.tasks.stream import StreamTask
from graft.types import Example

Exhausted = Literal["repeat", "stop", "error"]
"""What happens when a source has given all its rows: it begins again, the training ends there, or it is refused."""

_SLACK = 1e-9
"""Rounding of positions, far below one example for any number of them."""


def draw_order(rates: Sequence[float], count: int) -> list[int]:
    """Which source each of the next ``count`` examples comes from.

    Every prefix holds each source's share to within 1 - 1 / (2n - 2) of an example for n sources: the j-th example of a
    source may be drawn once its share of the prefix reaches j - 1 + 1 / (2n - 2), must be before it reaches j - that
    fraction, and of those that may be drawn the most urgent one is.

    Args:
        rates: shares of the sources, summing to 1.
        count: number of examples.

    Returns:
        Source indices, shape (count,).

    Source: Tijdeman 1980, "The chairman assignment problem", Discrete Mathematics 32, theorem 1.
    """
    if len(rates) == 1:
        return [0] * count
    total = math.fsum(rates)
    shares = [rate / total for rate in rates]
    spare = 1 / (2 * len(shares) - 2)
    drawn = [0] * len(shares)
    order: list[int] = []
    waiting = [(math.ceil(spare / share - _SLACK), source) for source, share in enumerate(shares)]
    heapq.heapify(waiting)  # by the position from which a source may be drawn again
    urgent: list[tuple[float, int]] = []
    for position in range(1, count + 1):
        while waiting and (waiting[0][0] <= position or not urgent):
            _, source = heapq.heappop(waiting)
            heapq.heappush(urgent, ((drawn[source] + 1 - spare) / shares[source], source))
        _, source = heapq.heappop(urgent)
        order.append(source)
        drawn[source] += 1
        heapq.heappush(waiting, (math.ceil((drawn[source] + spare) / shares[source] - _SLACK), source))
    return order


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a mixture took from one source.

    Attributes:
        source: task name.
        rate: its share, in (0, 1].
        rows: examples drawn.
        distinct: how many of them were different; after that they came again, in another order.
        size: examples of one pass over the source; 0 for a streamed one that was not read to its end.
    """

    source: str
    rate: float
    rows: int
    distinct: int
    size: int

    @property
    def epochs(self) -> float:
        """Passes over the source; NaN where nobody knows how many rows it has."""
        return self.rows / self.size if self.size else math.nan

    @property
    def left(self) -> int:
        """Examples that were never drawn."""
        return max(0, self.size - self.distinct)


class Mixture:
    """Examples of several tasks at fixed rates, made one at a time.

    Iterating yields them in the same order every time.

    Args:
        sources: tasks with their rates, which sum to 1; no two of one name.
        count: number of examples wanted.
        seed: seeds the order of every source; each pass over one has an order of its own.
        exhausted: what happens when a source has given all its rows.

    Raises:
        DataError: `exhausted` is ``error`` and a source has too few rows, or a source has none.
    """

    def __init__(
        self, sources: Sequence[tuple[Task, float]], *, count: int, seed: int, exhausted: Exhausted = "repeat"
    ) -> None:
        self.tasks = [task for task, _ in sources]
        self.rates = [rate for _, rate in sources]
        self.seed = seed
        self.order = draw_order(self.rates, count)
        self.ended_by: str | None = None
        if exhausted != "repeat":
            self._limit(exhausted)

    def __len__(self) -> int:
        """Number of examples: what was wanted, or fewer under ``stop``."""
        return len(self.order)

    def __iter__(self) -> Iterator[Example]:
        streams = [_stream(task, self.order.count(source), self.seed) for source, task in enumerate(self.tasks)]
        return (next(streams[source]) for source in self.order)

    @property
    def drawn(self) -> tuple[Drawn, ...]:
        """What is taken from each source when all examples are drawn."""
        return tuple(
            Drawn(task.card.name, rate, rows := self.order.count(source), min(rows, size or rows), size)
            for source, (task, rate) in enumerate(zip(self.tasks, self.rates, strict=True))
            for size in [pass_size(task, self.seed)]
        )

    def _limit(self, exhausted: Exhausted) -> None:
        """End the order where the first source has no further row, or refuse it."""
        wanted = [self.order.count(source) for source in range(len(self.tasks))]
        short = {
            source: size
            for source, task in enumerate(self.tasks)
            if (size := _up_to(task, self.seed, wanted[source])) < wanted[source]
        }
        if short and exhausted == "error":
            lacking = "; ".join(
                f"{self.tasks[source].card.name} has {size:,} rows, but {wanted[source]:,} are wanted of it"
                for source, size in short.items()
            )
            raise DataError(f"data.exhausted is error, and {lacking}; train less, add rows, or take repeat or stop")
        if short:
            ends = {source: _position(self.order, source, size) for source, size in short.items()}
            first = min(ends, key=lambda source: ends[source])
            self.ended_by = self.tasks[first].card.name
            self.order = self.order[: ends[first]]
        if not self.order:
            raise DataError(f"task {self.ended_by}: its training rows are none, so nothing can be trained; add rows")


def pass_size(task: Task, seed: int = 0) -> int:
    """Examples of one pass over a task's training rows; for a dataset its rows, labelled or not; 0 if not known."""
    if isinstance(task, StreamTask):
        return task.size or 0
    if isinstance(task, DatasetTask):
        return len(task.rows("train"))
    return sum(1 for _ in task.examples("train", limit=None, seed=seed))


def _up_to(task: Task, seed: int, limit: int) -> int:
    """Examples of one pass, counted no further than the limit."""
    return sum(1 for _ in islice(task.examples("train", limit=None, seed=seed), limit))


def _position(order: Sequence[int], source: int, drawn: int) -> int:
    """The place in the order at which a source would be drawn once more than ``drawn`` times."""
    places = (place for place, at in enumerate(order) if at == source)
    return next(islice(places, drawn, None))


def _stream(task: Task, count: int, seed: int) -> Iterator[Example]:
    """The first examples of a task, which goes through its rows again as often as that takes.

    Raises:
        DataError: it gives fewer.
    """
    given = 0
    for example in task.examples("train", limit=count, seed=seed):
        given += 1
        yield example
    raise DataError(f"task {task.card.name}: {count:,} training examples are wanted, but it gives {given:,}; add rows")
