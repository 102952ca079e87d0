"""An exact index of held-out texts by windows of letters: which of them may a training text give away?

Every window of every held-out piece stands in one sorted table with the pieces that hold it, so a lookup is exact and
the memory is that of the held-out texts, however many training texts there are. Windows that very many held-out pieces
share are boilerplate and lead nowhere; of long pieces every eighth window stands for its neighbours.

Legend: W windows of one piece, K different windows of all, P (window, piece) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from graft.data.plain import Plain

PIECE = 1024
"""Units of the longest piece; a longer text is compared in pieces that overlap by half, so that nothing stands in it by
chance because it is long."""

MANY_WINDOWS = 256
"""A piece with more windows is represented by every eighth of them."""

CANDIDATE = 0.25
"""Share of the windows of the piece with fewer of them that two pieces must have in common to be compared."""

COMMON_SHARE = 0.02
COMMON_LEAST = 10
"""A window is boilerplate that more than this share of the pieces hold, and more than this many."""


def pieces(text: Plain) -> list[Plain]:
    """A text as overlapping pieces of at most `PIECE` units; most texts are one."""
    if len(text.units) <= PIECE:
        return [text]
    starts = range(0, len(text.units) - PIECE // 2, PIECE // 2)
    return [_piece(text, text.units[start : start + PIECE]) for start in starts]


def _piece(text: Plain, units: tuple[str, ...]) -> Plain:
    return Plain("".join(units), units, text.dense, len(units))


class LeakIndex:
    """The windows of held-out pieces.

    Args:
        held_out: the pieces, known from here on by their places.
    """

    def __init__(self, held_out: Sequence[Plain]) -> None:
        common = max(COMMON_LEAST, COMMON_SHARE * len(held_out))
        short, long = [], []
        for piece in held_out:
            windows_W = piece.windows()
            none_W = windows_W[:0]
            is_long = len(windows_W) > MANY_WINDOWS
            short.append(none_W if is_long else windows_W)
            long.append(_eighth(windows_W) if is_long else none_W)
        self._short, self._long = _Table(short, common), _Table(long, common)

    def candidates(self, trained: Plain) -> Iterator[tuple[int, float]]:
        """The held-out pieces that share enough windows with a training piece to be compared with it.

        Yields:
            The place of each and about which share of the windows of the piece with fewer of them is shared.
        """
        windows_W = trained.windows()
        yield from self._short.sharing(windows_W)
        yield from self._long.sharing(_eighth(windows_W))


class _Table:
    """Which pieces hold a window.

    Args:
        windows: the different windows of each piece.
        common: a window that more pieces hold is boilerplate.
    """

    def __init__(self, windows: Sequence[NDArray[np.uint64]], common: float) -> None:
        owners_P = np.repeat(np.arange(len(windows), dtype=np.int32), [len(own_W) for own_W in windows])
        windows_P = np.concatenate(windows) if windows else np.empty(0, np.uint64)
        order_P = np.argsort(windows_P)
        self._owners_P = owners_P[order_P]
        self._keys_K, self._starts_K, self._counts_K = np.unique(
            windows_P[order_P], return_index=True, return_counts=True
        )
        self._common_K = self._counts_K > common
        rare_P = np.repeat(~self._common_K, self._counts_K)
        self._sizes = np.bincount(self._owners_P[rare_P], minlength=len(windows))

    def sharing(self, windows_W: NDArray[np.uint64]) -> Iterator[tuple[int, float]]:
        """The pieces that share enough of these windows, each with the share."""
        if not len(windows_W) or not len(self._keys_K):
            return
        places_W = np.minimum(np.searchsorted(self._keys_K, windows_W), len(self._keys_K) - 1)
        there_W = self._keys_K[places_W] == windows_W
        common_W = there_W & self._common_K[places_W]
        rare_W = places_W[there_W & ~common_W]
        if not len(rare_W):
            return
        counts_W = self._counts_K[rare_W]
        first_P = np.repeat(self._starts_K[rare_W] - np.cumsum(counts_W) + counts_W, counts_W)
        owners, shared = np.unique(self._owners_P[first_P + np.arange(len(first_P))], return_counts=True)
        own = len(windows_W) - np.count_nonzero(common_W)
        shares = shared / np.minimum(own, self._sizes[owners])
        enough = shares >= CANDIDATE
        yield from zip(owners[enough].tolist(), shares[enough].tolist(), strict=True)


def _eighth(windows_W: NDArray[np.uint64]) -> NDArray[np.uint64]:
    kept: NDArray[np.uint64] = windows_W[windows_W & np.uint64(7) == 0]
    return kept
