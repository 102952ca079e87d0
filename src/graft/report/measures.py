"""Tables behind the verdict: how replies were scored, every seed, every stratum, seen words, what training cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from graft.report.explain import arm_order, arm_title
from graft.report.load import EVAL, NAN, SEEN, ResultRow, RunFiles, ThinkingFacts
from graft.report.numbers import DASH, level, level_order, number, p_value, percent, points, points_with_interval
from graft.report.tables import Cell, Table, judged_task, mean, of_arm, percent_cell
from graft.stats.arms import BASE, COMPARED, TRAINED
from graft.stats.study import StratumRow


def scoring_table(files: RunFiles) -> Table:
    """All scores of the generated replies by task and arm, means over seeds; what thinking took where there was any."""
    thinking = [row.thinking for task in files.tasks for row in files.rows(task) if row.thinking is not None]
    columns: tuple[str, ...] = (
        "Task",
        "Arm",
        "Items",
        "Exact",
        "Strict",
        "Lenient",
        "Constrained",
        "Parsed",
        "Agreement",
        "Reply tokens",
        *(("Replies an item", "Think tokens", "Unclosed", "Cut") if thinking else ()),
        "Other measures",
    )
    rows = []
    for task in files.tasks:
        for arm in sorted({row.arm for row in files.rows(task)}, key=arm_order):
            own = of_arm(files.rows(task), arm)
            shares = [
                mean(getattr(row, key) for row in own)
                for key in ("exact", "strict", "lenient", "constrained", "parsed", "agreement")
            ]
            tokens = mean(row.reply_tokens for row in own)
            rows.append(
                (
                    Cell(task, kind="head"),
                    Cell(arm_title(arm), kind="text"),
                    Cell(number(own[0].n)),
                    *(percent_cell(share, "not measured for this arm") for share in shares),
                    Cell(DASH, "not measured for this arm") if math.isnan(tokens) else Cell(f"{tokens:.1f}"),
                    *(_thinking_cells(own) if thinking else ()),
                    Cell(_other_measures(own), kind="text"),
                )
            )
    caption = "How the replies were scored (held-out items, means over seeds)"
    return Table("scores", caption + (_drawn(thinking[0]) if thinking else ""), columns, tuple(rows))


def _thinking_cells(rows: Sequence[ResultRow]) -> tuple[Cell, ...]:
    facts = [row.thinking for row in rows if row.thinking is not None]
    if not facts:
        return (Cell(DASH, "this arm answered without thinking"),) * 4
    return (
        Cell(number(facts[0].samples)),
        Cell(f"{mean(fact.think_tokens for fact in facts):.1f}"),
        Cell(percent(mean(fact.unclosed for fact in facts))),
        Cell(percent(mean(fact.truncated for fact in facts))),
    )


def _drawn(facts: ThinkingFacts) -> str:
    """How replies with thinking were drawn and what their exact match means, for the caption."""
    shown = ("temperature", "top_p", "top_k", "min_p", "max_new_tokens")
    values = ", ".join(f"{name} {number(float(facts.sampling[name]))}" for name in shown if name in facts.sampling)
    return f". With thinking, exact: most of an item's replies are strictly right; drawn with {values}"


def _other_measures(rows: Sequence[ResultRow]) -> str:
    names = dict.fromkeys(name for row in rows for name in row.details)
    means = {name: mean(row.details.get(name, NAN) for row in rows) for name in names}
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in means.items())


def split_table(files: RunFiles) -> Table:
    """The lenient change split into answering in a readable form and being right when readable.

    With accuracy = parse rate q x accuracy among parsed c, the change is Δq·mean(c) + mean(q)·Δc exactly.
    """
    columns = (
        "Task",
        "Lenient change",
        "From more replies parsed",
        "From parsed replies being right",
        "Among parsed, base",
        "Among parsed, trained",
    )
    rows = []
    for task in files.tasks:
        values = {}
        for arm in (BASE, TRAINED):
            own = of_arm(files.rows(task), arm)
            parsed, lenient = mean(row.parsed for row in own), mean(row.lenient for row in own)
            values[arm] = (parsed, lenient / parsed if parsed > 0 else NAN, lenient)
        (q0, c0, a0), (q1, c1, a1) = values[BASE], values[TRAINED]
        reason = "base or trained has no parsed replies"
        parts = (
            points(a1 - a0),
            points((q1 - q0) * (c0 + c1) / 2),
            points((c1 - c0) * (q0 + q1) / 2),
            percent(c0),
            percent(c1),
        )
        rows.append((Cell(task, kind="head"), *(Cell(part, reason if part == DASH else "") for part in parts)))
    return Table("split", "Where the change of the lenient score comes from (points)", columns, tuple(rows))


def seeds_table(files: RunFiles) -> Table | None:
    """Each seed on its own: the change, gained and lost items, and the exact McNemar test."""
    columns = ("Task", "Change", "Seed", "Points", "Gained", "Lost", "Items", "McNemar p")
    rows = []
    for task in files.tasks:
        judged = judged_task(files, task)
        for contrast in judged.contrasts if judged else ():
            if contrast.after != TRAINED or contrast.before not in COMPARED:
                continue
            for index, test in enumerate(contrast.mcnemar):
                change = contrast.change.per_seed[index] if index < len(contrast.change.per_seed) else NAN
                counts = (number(test.gained), number(test.lost), number(test.n), p_value(test.p))
                rows.append(
                    (
                        Cell(task, kind="head"),
                        Cell(f"{arm_title(contrast.after)} − {arm_title(contrast.before).lower()}", kind="text"),
                        Cell(seed_name(files, index, len(contrast.mcnemar))),
                        Cell(points(change), contrast.change.reason),
                        *(Cell(count) for count in counts),
                    )
                )
    return Table("seeds", "Every seed on its own, with the exact McNemar test", columns, tuple(rows)) if rows else None


def seed_name(files: RunFiles, index: int, count: int) -> str:
    """The number of the seed at a position, by the scored rows; its rank when they do not tell."""
    seeds = sorted({row.seed for row in files.results.rows if row.arm == TRAINED and row.seed is not None})
    return str(seeds[index]) if len(seeds) == count else f"#{index + 1}"


def strata_tables(files: RunFiles) -> tuple[Table, ...]:
    """The change within each level of each stratum, one table for each task."""
    columns = ("Stratum", "Level", "Items", "Words", "Base", "Trained", "Change", "p", "p (BH)")
    tables = []
    for task in dict.fromkeys(row.task for row in files.conclusion.strata):
        own = [row for row in files.conclusion.strata if row.task == task]
        places = {name: place for place, name in enumerate(dict.fromkeys(row.stratum for row in own))}
        own.sort(key=lambda row: (places[row.stratum], level_order(row.level)))
        rows = tuple(_stratum_cells(row) for row in own)
        caption = f"{task}: exploratory changes by stratum (points, 95% interval; p corrected by Benjamini–Hochberg)"
        tables.append(Table(f"strata-{task}", caption, columns, rows))
    return tuple(tables)


def _stratum_cells(row: StratumRow) -> tuple[Cell, ...]:
    reason = row.change.reason or "not enough items"
    return (
        Cell(row.stratum.replace("_", " "), kind="head"),
        Cell(level(row.level), kind="text"),
        Cell(number(row.n_items)),
        Cell(number(row.n_clusters)),
        percent_cell(row.before, reason),
        percent_cell(row.after, reason),
        Cell(points_with_interval(row.change.estimate, row.change), reason),
        Cell(p_value(row.p), reason),
        Cell(p_value(row.p_adjusted), reason),
    )


def seen_table(files: RunFiles) -> Table | None:
    """Held-out words beside training words, by task and arm."""
    rows = []
    for task in files.tasks:
        for arm in sorted({row.arm for row in files.rows(task, SEEN)}, key=arm_order):
            values = [mean(row.score for row in of_arm(files.rows(task, split), arm)) for split in (EVAL, SEEN)]
            cells = [percent_cell(value, "not scored on these words") for value in values]
            gap = values[1] - values[0]
            rows.append(
                (
                    Cell(task, kind="head"),
                    Cell(arm_title(arm), kind="text"),
                    *cells,
                    Cell(points(gap), "not scored on these words" if math.isnan(gap) else ""),
                )
            )
    if not rows:
        return None
    caption = "Held-out items beside trained ones (trained ones never carry the claim)"
    return Table("seen", caption, ("Task", "Arm", "Held-out words", "Training words", "Difference"), tuple(rows))


def trainings_table(files: RunFiles) -> Table | None:
    """What each training took, from the line that it logged at its end."""
    columns = (
        "Training",
        "Steps",
        "Tokens",
        "Trained tokens",
        "Trained tokens a row",
        "Seconds",
        "Tokens per second",
        "Trainable parameters",
        "All parameters",
    )
    keys = (
        "steps",
        "tokens",
        "trained_tokens",
        "seconds",
        "tokens_per_second",
        "parameters_trainable",
        "parameters_total",
    )
    lines = {str(line.get("arm", "")): line for line in files.metrics if line.get("event") == "trained"}
    rows = tuple(
        (
            Cell(name, kind="head"),
            *(Cell(number(line.get(key)), "not logged") for key in keys[:3]),
            _tokens_a_row(files, line),
            *(Cell(number(line.get(key)), "not logged") for key in keys[3:]),
        )
        for name, line in lines.items()
    )
    return Table("trainings", "What each training took", columns, rows) if rows else None


def _tokens_a_row(files: RunFiles, line: Mapping[str, Any]) -> Cell:
    """Tokens that carried loss in a row: controls should have as many as the trained arm."""
    rows = line.get("steps", 0) * files.setting("train.batch_size", 0) * files.setting("train.gradient_accumulation", 1)
    tokens = line.get("trained_tokens")
    return Cell(f"{tokens / rows:.1f}") if rows and tokens is not None else Cell(DASH, "not logged")
