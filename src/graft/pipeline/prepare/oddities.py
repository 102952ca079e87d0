"""What is odd about the examples of a task, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graft.data.survey import Survey
from graft.errors import DataError
from graft.evals.items import Items

MOST_LOST = 20
"""Characters that a warning names."""

SKEWED = 0.9
"""Share of one label from which the balance is worth a warning."""

DROPPED = 0.01
"""Share of held-out rows that may be too long without a warning."""

FEW_ITEMS = 30
"""Held-out items below which a share says next to nothing: its 95% interval is wider than 30 points."""


def oddities(one: Survey, max_length: int, *, plain: bool) -> Iterator[str]:
    """What may spoil the result.

    Args:
        one: what was found in the examples.
        max_length: longest row in tokens.
        plain: the examples are texts, which are cut into pieces.
    """
    where = f"{one.task}, {'training' if one.part == 'train' else 'held out'}"
    if not plain and one.too_long > (DROPPED * one.examples if one.part == "eval" else 0):
        yield _too_long(one, max_length)
    if one.part == "eval" and one.examples - one.too_long < FEW_ITEMS:
        yield f"{where}: there are {one.examples - one.too_long:,} examples only, so a share of them says little"
    if one.contradicting:
        yield f"{where}: {one.contradicting:,} examples have a prompt that is answered otherwise elsewhere"
    if one.part == "eval" and one.repeated:
        yield f"{where}: {one.repeated:,} of {one.examples:,} examples repeat another"
    if one.empty:
        yield f"{where}: {one.empty:,} prompts are empty"
    if one.lossy:
        yield (
            f"{where}: {one.lossy:,} of {one.examples:,} rows hold characters that the tokenizer cannot write "
            f"({' '.join(one.lost[:MOST_LOST])}); the model reads each as unknown"
        )
    if one.spelling:
        yield (
            f"{where}: {one.spelling:,} of {one.examples:,} rows spell control tokens "
            f"({', '.join(one.spelled)}); they are read as plain text"
        )
    most = max(one.labels.values(), default=0)
    if len(one.labels) > 1 and most > SKEWED * one.examples:
        yield f"{where}: {most / one.examples:.0%} of the examples have the label {next(iter(one.labels))}"


def small_losses(one: Survey, max_length: int) -> Iterator[str]:
    """Held-out rows that are left out, where they are too few for a warning."""
    if one.part == "eval" and 0 < one.too_long <= DROPPED * one.examples:
        yield _too_long(one, max_length)


def cut_answers(items: Items, longest: int) -> Iterator[str]:
    """Held-out answers that no reply can hold.

    Args:
        items: the items of a task.
        longest: the longest reply in tokens.
    """
    needed = [len(row.completion) for row in items.rows if len(row.completion) > longest]
    if needed:
        yield (
            f"{items.task.card.name}, held out: {len(needed):,} of {len(items):,} answers have more tokens than "
            f"sampling.max_new_tokens={longest}, so no reply can be such an answer and its end; {max(needed)} fits all"
        )


def require_held_out(surveys: Sequence[Survey], max_length: int, max_dropped: float) -> None:
    """Refuse to score a selection of the held-out rows.

    Raises:
        DataError: more of a task's rows than allowed are too long to be scored.
    """
    for one in surveys:
        if one.part == "eval" and one.too_long > max_dropped * one.examples:
            raise DataError(
                f"{_too_long(one, max_length)}, and check.max_dropped is {max_dropped:.1%}; set data.max_length to "
                f"{one.longest}, which keeps them all, or raise check.max_dropped if that is meant"
            )


def _too_long(one: Survey, max_length: int) -> str:
    shift = one.shift
    told = "" if shift is None else f"; the share of {shift.label} goes from {shift.before:.1%} to {shift.after:.1%}"
    where = f"{one.task}, {'training' if one.part == 'train' else 'held out'}"
    return (
        f"{where}: {one.too_long:,} of {one.examples:,} rows are longer than data.max_length={max_length} and are left "
        f"out{told}"
    )
