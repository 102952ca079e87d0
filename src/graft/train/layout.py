"""How the rows of one optimizer step are laid out in micro-batches. The layout never changes the gradient.

A packed micro-batch is one token row: documents end to end, positions that restart, borders for the attention. On
devices where code is compiled, token rows come in a few fixed sizes and with a fixed number of borders.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from graft.models.attention import Documents, group_documents
from graft.models.forward import MicroBatch, padded_batch, seq2seq_batch
from graft.types import TokenRow

SHORTEST_SHARE = 0.7
"""A row shorter than this share of a micro-batch's longest begins a new one: chats are not padded to prose."""

SIZES = 4
"""Fixed sizes of token rows: the budget, its half, its quarter, its eighth."""

FULL = 0.8
"""A token row filled less than this is laid out in smaller ones instead."""

NEAR = 8
"""Rows before one in which its conversation is looked for."""

GRAIN = 64
"""Fixed sizes are multiples of this many tokens."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The way from rows to micro-batches, the same for all steps of a training.

    Attributes:
        kind: ``packed``, ``padded``, or ``seq2seq`` for the padded batches of an encoder-decoder.
        pad_id: token id to pad with.
        start_id: what a decoder reads first.
        fixed: token rows are padded to fixed sizes, with a fixed number of borders.
        kernel: the attention reads borders; else documents come in groups.
        longest: tokens of the longest row of the training.
        largest: tokens of its largest step.
        step_rows: rows of a step.
        joins: turns of one conversation are read once (`joined`).
    """

    kind: Literal["packed", "padded", "seq2seq"]
    pad_id: int
    start_id: int = 0
    fixed: bool = False
    kernel: bool = False
    longest: int = 0
    largest: int = 0
    step_rows: int = 0
    joins: bool = False

    def micro_batches(self, rows: Sequence[TokenRow], token_budget: int) -> list[MicroBatch]:
        """Lay rows out within a budget, the largest micro-batch first."""
        if self.joins:
            rows = joined(rows)
        if self.kind == "packed":
            return [self._packed(group, size) for group, size in self._token_rows(rows, token_budget)]
        if self.kind == "seq2seq":
            return [
                seq2seq_batch(group, self.pad_id, self.start_id)
                for group in by_budget(rows, token_budget, apart=True)
            ]  # fmt: skip
        return [padded_batch(group, self.pad_id) for group in by_budget(rows, token_budget)]

    def sizes(self, token_budget: int) -> tuple[int, ...]:
        """Fixed sizes of token rows under a budget, largest first."""
        most = min(token_budget, self.largest) if self.largest else token_budget
        return tuple(dict.fromkeys(-(-max(most >> part, 1) // GRAIN) * GRAIN for part in range(SIZES)))

    def _token_rows(self, rows: Sequence[TokenRow], token_budget: int) -> list[tuple[list[TokenRow], int]]:
        """Groups of rows, each with the size of its token row, largest first."""
        if not self.fixed:
            groups = best_fit(rows, token_budget)
            return [(group, held) for group in groups if (held := sum(map(len, group)))]
        sizes = self.sizes(token_budget)
        groups = [part for group in best_fit(rows, sizes[0]) for part in _cover(group, sizes)]
        sized = [(group, _size(sum(map(len, group)), sizes)) for group in groups]
        return sorted(sized, key=lambda pair: -pair[1])

    def _packed(self, rows: Sequence[TokenRow], size: int) -> MicroBatch:
        """One token row of that many tokens; padding is laid out as documents of its own that nothing is read from."""
        ids: list[int] = []
        where: list[int] = []
        targets: list[int] = []
        lengths = [len(row) for row in rows]
        for row in rows:
            start, trained = len(ids), row.trained()
            ids += row.prompt
            ids += row.completion
            where += [start + place - 1 for place in trained]
            targets += [ids[start + place] for place in trained]
        padding = size - len(ids)
        ids += [self.pad_id] * padding
        if padding:
            piece = max(self.longest, 1)
            lengths += [piece] * (padding // piece) + [padding % piece] * bool(padding % piece)
        positions = torch.cat([torch.arange(length) for length in lengths])
        return MicroBatch(
            torch.tensor([ids]), torch.tensor(where, dtype=torch.long), torch.tensor(targets, dtype=torch.long),
            positions[None], self._documents(lengths, size),
        )  # fmt: skip

    def _documents(self, lengths: Sequence[int], size: int) -> Documents:
        borders = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
        groups = () if self.kernel else group_documents(lengths)
        if not self.fixed:
            return Documents(borders, max(lengths), groups)
        most = self.step_rows + size // max(self.longest, 1) + 2
        filled = torch.nn.functional.pad(borders, (0, most + 1 - len(borders)), value=size)
        return Documents(filled, max(self.longest, 1), groups)


def joined(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """Rows with each that another one begins with put into it: earlier answers of a conversation are trained in the
    row of the last one, where the chat template writes them in the history as it does in an answer.

    What a causal model reads at a token does not depend on what follows, so the loss and its gradient are the same.

    Args:
        rows: the rows of a step, in the order in which they were drawn: turns of a conversation follow each other.
    """
    found: list[TokenRow] = []
    for row in rows:
        near = range(len(found) - 1, max(len(found) - 1 - NEAR, -1), -1)
        place = next((place for place in near if _goes_on(found[place], row)), None)
        if place is None:
            found.append(row)
            continue
        begun = found[place]
        ids = row.prompt + row.completion
        read = (*begun.read, (len(begun), len(row.prompt)))
        found[place] = TokenRow(begun.prompt, ids[len(begun.prompt) :], read)
    return found


def _goes_on(begun: TokenRow, row: TokenRow) -> bool:
    """Whether the prompt of a row begins with all of another one."""
    size = len(begun)
    return len(row.prompt) > size and row.prompt[:size] == begun.prompt + begun.completion


def by_budget(rows: Sequence[TokenRow], token_budget: int, *, apart: bool = False) -> list[list[TokenRow]]:
    """Cut rows, longest first, into groups of at most ``token_budget`` tokens with padding and of similar length.

    Longest first, so that the largest micro-batch comes at once and running out of memory shows at the first step.

    Args:
        rows: what to group.
        token_budget: most tokens of a group; a longer row is a group of its own.
        apart: prompts and completions are padded for themselves, as encoder and decoder read them.
    """
    groups: list[list[TokenRow]] = []
    for row in sorted(rows, key=len, reverse=True):
        if groups and len(row) >= SHORTEST_SHARE * len(groups[-1][0]):
            joined = [*groups[-1], row]
            if len(joined) * _width(joined, apart) <= token_budget:
                groups[-1].append(row)
                continue
        groups.append([row])
    return groups


def best_fit(rows: Sequence[TokenRow], capacity: int) -> list[list[TokenRow]]:
    """Pack rows into groups of at most ``capacity`` tokens: longest first, each where the least room is left over.

    A row longer than the capacity is a group of its own. Source: Johnson 1973, "Near-optimal bin packing algorithms",
    best-fit decreasing.
    """
    groups: list[list[TokenRow]] = []
    rooms: list[tuple[int, int]] = []  # room left and number of the group, ascending
    for row in sorted(rows, key=len, reverse=True):
        place = bisect_left(rooms, (len(row), -1))
        if place < len(rooms):
            room, number = rooms.pop(place)
            groups[number].append(row)
            insort(rooms, (room - len(row), number))
        else:
            groups.append([row])
            insort(rooms, (max(0, capacity - len(row)), len(groups) - 1))
    return groups


def _cover(rows: list[TokenRow], sizes: tuple[int, ...]) -> list[list[TokenRow]]:
    """Spread rows that would leave much of a token row empty over smaller ones."""
    held = sum(map(len, rows))
    if held > sizes[0] or held >= FULL * _size(held, sizes) or held <= sizes[-1]:
        return [rows]
    smaller = next(size for size in sizes if size < held)
    if len(rows[0]) > smaller:
        return [rows]
    return [part for group in best_fit(rows, smaller) for part in _cover(group, sizes)]


def _size(held: int, sizes: tuple[int, ...]) -> int:
    """The smallest fixed size that holds so many tokens; beyond the largest, multiples of the smallest."""
    return min((size for size in sizes if size >= held), default=-(-held // sizes[-1]) * sizes[-1])


def _width(rows: Sequence[TokenRow], apart: bool) -> int:
    if not apart:
        return len(rows[0])
    return max(len(row.prompt) for row in rows) + max(len(row.completion) for row in rows)
