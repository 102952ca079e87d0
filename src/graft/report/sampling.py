"""How replies were generated, and what other ways of sampling would have given."""

from __future__ import annotations

import math
from pathlib import Path

from graft.models.sampling import describe
from graft.report.explain import arm_order, arm_title
from graft.report.load import EVAL, GridRow, ResultRow, RunFiles, load
from graft.report.numbers import DASH, number, percent, percent_with_interval
from graft.report.tables import Cell, Table, mean, percent_cell
from graft.runs.directory import RunDirectory
from graft.stats.intervals import wilson
from graft.types import Sampling

STRICT_NOTE = (
    "This model was not given the right answer to read (it is behind a server, or an encoder-decoder model): exact "
    "match here is the strict score of the generated reply."
)

FIELD_NOTE = (
    "Benchmarks in the field's style are scored by its own rules, whatever the sampling: the likeliest answer stands "
    "as the reply, or a solution is written greedily up to the length that the field gives it. Exact match repeats the "
    "strict score there."
)


def sampling_notes(files: RunFiles) -> tuple[str, ...]:
    """Each way in which replies were generated, in words, and whether exact match is one of them."""
    used = dict.fromkeys(row.sampling for row in files.results.rows if row.sampling is not None)
    notes = tuple(f"Replies: {describe(sampling)}." for sampling in used)
    known = {row.exact_from for row in files.results.rows}
    return (*notes, *[STRICT_NOTE] * ("strict reply" in known), *[FIELD_NOTE] * ("field style" in known))


def code_notes(files: RunFiles) -> tuple[str, ...]:
    """What must be known of programs that were judged: what passes may be their own word, what held them."""
    notes = []
    rows = [row for row in files.results.rows if "could_have_cheated" in row.details and row.split == EVAL]
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        arms = {arm: mean(row.details["could_have_cheated"] for row in own if row.arm == arm) for arm in _arms(own)}
        if any(arms.values()):
            shares = ", ".join(f"{arm_title(arm)} {percent(share)}" for arm, share in arms.items())
            notes.append(
                f"{task}: share of the items that passed where the program could have made the verdict itself, because "
                f"their tests run beside it or its walls were weak: {shares}."
            )
        if any("weak_sandbox" in row.details for row in own):
            notes.append(f"{task}: programs ran in the weak sandbox, which stops accidents and no attack.")
    return tuple(notes)


def _arms(rows: list[ResultRow]) -> list[str]:
    return sorted({row.arm for row in rows}, key=arm_order)


def grid_table(files: RunFiles) -> Table | None:
    """Scores by task, arm and sampling on held-out words, means over seeds; ``None`` when no grid was scored."""
    rows = [row for row in files.grid if row.split == EVAL]
    if not rows:
        return None
    columns = ("Task", "Arm", "Sampling", "Items", "Strict", "Lenient", "Parsed", "Finished", "Reply tokens")
    cells = []
    for task in dict.fromkeys(row.task for row in rows):
        for arm in sorted({row.arm for row in rows if row.task == task}, key=arm_order):
            own = [row for row in rows if (row.task, row.arm) == (task, arm)]
            for sampling in dict.fromkeys(row.sampling for row in own):
                cells.append(_row(task, arm, sampling, [row for row in own if row.sampling == sampling]))
    caption = "Effect of the sampling on the generated replies (held-out items, means over seeds, 95% intervals)"
    return Table("sampling", caption, columns, tuple(cells))


def grid_texts(run: RunDirectory | Path | str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]] | None:
    """The same table as plain text: column names and rows; ``None`` when no grid was scored."""
    table = grid_table(load(run))
    if table is None:
        return None
    return table.columns, tuple(tuple(cell.text for cell in row) for row in table.rows)


def _row(task: str, arm: str, sampling: Sampling, own: list[GridRow]) -> tuple[Cell, ...]:
    tokens = mean(row.reply_tokens for row in own)
    return (
        Cell(task, kind="head"),
        Cell(arm_title(arm), kind="text"),
        Cell(describe(sampling), kind="text"),
        Cell(number(own[0].n)),
        _interval_cell(mean(row.strict for row in own), own[0].n),
        _interval_cell(mean(row.lenient for row in own), own[0].n),
        percent_cell(mean(row.parsed for row in own), "not measured"),
        percent_cell(mean(row.finished for row in own), "not measured"),
        Cell(DASH, "the server did not count its tokens") if math.isnan(tokens) else Cell(f"{tokens:.1f}"),
    )


def _interval_cell(share: float, n: int) -> Cell:
    interval = wilson(share * n, n)
    return Cell(percent_with_interval(interval), interval.reason)
