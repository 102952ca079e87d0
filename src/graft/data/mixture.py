"""Drawing training examples from several sources at fixed rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graft.types import Example


def draw_order(rates: Sequence[float], count: int) -> list[int]:
    """Which source each of the next ``count`` examples comes from.

    Every prefix holds each source's share to within one example: the source that lags most behind its rate is next.

    Args:
        rates: shares of the sources, summing to 1.
        count: number of examples.

    Returns:
        Source indices, shape (count,).
    """
    drawn = [0] * len(rates)
    order = []
    for position in range(1, count + 1):
        source = max(range(len(rates)), key=lambda k: rates[k] * position - drawn[k])
        drawn[source] += 1
        order.append(source)
    return order


def mix(streams: Mapping[str, Iterator[Example]], rates: Sequence[float], count: int) -> Iterator[Example]:
    """Yield ``count`` examples from the streams in `draw_order`; each stream must be long enough."""
    sources = list(streams.values())
    return (next(sources[source]) for source in draw_order(rates, count))
