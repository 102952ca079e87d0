"""The training rows of a branch: drawn from its sources, tokenised, and kept in the cache."""

from __future__ import annotations

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


def training_rows(
    lab: Lab, branch: Branch, count: int | None = None, on_rows: Callable[[int], None] = lambda rows: None
) -> TrainingRows:
    """The token rows of a branch, from the cache when nothing they depend on has changed.

    Args:
        lab: the shared parts of the run.
        branch: a trained branch.
        count: number of rows; those of all steps when ``None``.
        on_rows: called with the number of rows just made.

    Raises:
        DataError: a source runs out of rows that may not be repeated, or no row fits ``data.max_length``.
    """
    wanted = lab.steps * lab.per_step if count is None else count
    cached = cached_rows(
        f"{wanted:,} rows of {', '.join(source.task for source in branch_sources(lab.recipe, branch))}",
        _parts(lab, branch, wanted),
        lambda writer: _write(lab, branch, wanted, writer, on_rows),
    )
    drawn = tuple(Drawn(**facts) for facts in cached.facts["drawn"])
    return TrainingRows(cached.table, cached.facts["dropped"], drawn)


def _parts(lab: Lab, branch: Branch, count: int) -> dict[str, Any]:
    sources = branch_sources(lab.recipe, branch)
    return {
        "sources": [source.model_dump() for source in sources],
        "content": {source.task: lab.book.fingerprint(source.task) for source in sources},
        "arm": branch.arm if branch.arm in ("shuffled", "swapped") else "",
        "seed": branch.seed,
        "exhausted": lab.recipe.data.exhausted,
        "count": count,
        "tokenizer": tokenizer_hash(lab.tokenizer),
        "template": str(lab.tokenizer.chat_template),
        "policy": asdict(lab.policy),
        "length": lab.recipe.data.max_length,
    }


def _pieces(ids: Sequence[int], length: int) -> Iterator[tuple[Sequence[int], int]]:
    """A text as rows, each beginning with the last token of the one before, so that every token but the first of the
    text is trained once.
    """
    yield ids[:length], 0
    for start in range(length - 1, len(ids) - 1, length - 1):
        yield ids[start : start + length], 1


def _write(
    lab: Lab, branch: Branch, wanted: int, writer: TableWriter, on_rows: Callable[[int], None]
) -> dict[str, Any]:
    """Draw, tokenise and write until there are enough rows; an example that is too long makes room for the next."""
    length = lab.recipe.data.max_length
    taken = dropped = 0
    while writer.rows < wanted:
        examples = islice(branch_examples(lab, branch, wanted + dropped), taken, None)
        before = taken
        for example, ids, cut in token_ids(lab.tokenizer, examples, policy=lab.policy):
            taken += 1
            if len(ids) <= length:
                writer.append(ids, cut)
            elif example.prompt is None:  # plain text has no answer to lose
                for piece, read in islice(_pieces(ids, length), wanted - writer.rows):
                    writer.append(piece, read)
            else:
                dropped += 1
            on_rows(1)
            if writer.rows >= wanted:
                break
        if taken == before or not writer.rows:  # the sources have ended (data.exhausted is stop), or nothing fits
            break
    if not writer.rows:
        raise DataError(
            f"data.max_length is {length}, but all of the first {taken:,} rows are longer; raise it"
            if taken
            else "data.train gives no rows; add some"
        )
    return {"dropped": dropped, "drawn": [asdict(drawn) for drawn in mixture(lab, branch, taken).drawn]}
