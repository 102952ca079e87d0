"""The training rows of a branch: drawn from its sources, tokenised, and kept in the cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from graft.data.cache import cached_rows
from graft.data.mixture import Drawn
from graft.data.table import TableWriter, TokenTable
from graft.data.tokens import token_ids
from graft.errors import DataError
from graft.models.tokenizer import tokenizer_hash
from graft.pipeline.branches import Branch, branch_sources
from graft.pipeline.prepare.examples import branch_examples, mixture
from graft.pipeline.prepare.lab import Lab
from graft.types import Example


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows of one branch, in training order.

    Attributes:
        table: as token ids, read from disk one by one.
        dropped: examples that were longer than ``data.max_length`` and were passed over.
        drawn: what each source gave.
    """

    table: TokenTable
    dropped: int
    drawn: tuple[Drawn, ...]


def training_rows(lab: Lab, branch: Branch, on_rows: Callable[[int], None] = lambda rows: None) -> TrainingRows:
    """The token rows of a branch, from the cache when nothing they depend on has changed.

    Args:
        lab: the shared parts of the run.
        branch: a trained branch.
        on_rows: called with the number of rows just made.

    Raises:
        DataError: a source runs out of rows that may not be repeated, or no row fits ``data.max_length``.
    """
    cached = cached_rows(
        f"{lab.examples:,} rows of {', '.join(source.task for source in branch_sources(lab.recipe, branch))}",
        _parts(lab, branch),
        lambda writer: _write(lab, branch, writer, on_rows),
    )
    drawn = tuple(Drawn(**facts) for facts in cached.facts["drawn"])
    return TrainingRows(cached.table, cached.facts["dropped"], drawn)


def _fills(lab: Lab) -> bool:
    """Whether rows that are left out make room for others: with a number of steps, but not with one of passes."""
    return lab.recipe.train.max_steps is not None


def _parts(lab: Lab, branch: Branch) -> dict[str, Any]:
    sources = branch_sources(lab.recipe, branch)
    return {
        "sources": [source.model_dump() for source in sources],
        "content": {source.task: lab.book.fingerprint(source.task) for source in sources},
        "arm": branch.arm if branch.arm in ("format", "shuffled", "swapped") else "",
        "seed": branch.seed,
        "exhausted": lab.recipe.data.exhausted,
        "count": lab.examples,
        "fills": _fills(lab),
        "tokenizer": tokenizer_hash(lab.tokenizer),
        "template": str(lab.tokenizer.chat_template),
        "policy": asdict(lab.policy),
        "length": lab.recipe.data.max_length,
        "positions": lab.limits.positions,
    }


def _pieces(ids: Sequence[int], length: int, cut: int) -> Iterator[tuple[Sequence[int], int]]:
    """A text as rows, each beginning with the last token of the one before, so that every token is trained once, but
    for the first of a text that nothing precedes.

    Args:
        ids: what the tokenizer puts before a text, the text and its end.
        length: longest row.
        cut: how many of the ids stand before the text.
    """
    yield ids[:length], cut
    for start in range(length - 1, len(ids) - 1, length - 1):
        yield ids[start : start + length], 1


def _check_reads(lab: Lab, example: Example, count: int) -> None:
    """Refuse a row that the model cannot read; the preflight has seen the first ones only."""
    limit = lab.limits.positions
    if limit is not None and count > limit and not lab.policy.apart:
        raise DataError(
            f"example {example.id} has {count:,} tokens, but the model has {limit:,} positions; set data.max_length to "
            f"{limit} at most, and longer rows are left out"
        )


def _write(lab: Lab, branch: Branch, writer: TableWriter, on_rows: Callable[[int], None]) -> dict[str, Any]:
    """Draw, tokenise and write until there are enough rows, or until all passes that were asked for are over."""
    length, fills = lab.recipe.data.max_length, _fills(lab)
    most = lab.examples if fills else sys.maxsize
    taken = dropped = 0
    while writer.rows < most:
        examples = islice(branch_examples(lab, branch, lab.examples + dropped * fills), taken, None)
        before = taken
        for example, ids, cut in token_ids(lab.tokenizer, examples, policy=lab.policy):
            taken += 1
            _check_reads(lab, example, min(len(ids), length))
            if len(ids) <= length:
                writer.append(ids, cut)
            elif example.prompt is None:  # plain text has no answer to lose
                for piece, read in islice(_pieces(ids, length, cut), most - writer.rows):
                    writer.append(piece, read)
            else:
                dropped += 1
            on_rows(1)
            if writer.rows >= most:
                break
        if taken == before or not writer.rows:  # the sources or the passes have ended, or nothing fits
            break
    if not writer.rows:
        raise DataError(
            f"data.max_length is {length}, but all of the first {taken:,} rows are longer; raise it"
            if taken
            else "data.train gives no rows; add some"
        )
    return {"dropped": dropped, "drawn": [asdict(drawn) for drawn in mixture(lab, branch, taken).drawn]}
