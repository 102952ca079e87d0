"""Tables of what stands beside the verdict: rivals of what was learned, leaks, further measures, links of gains."""

from __future__ import annotations

import math

from graft.report.explain import arm_title
from graft.report.load import RunFiles
from graft.report.numbers import DASH, number, p_value, percent, points_with_interval, signed
from graft.report.tables import Cell, Table, decimal_cell
from graft.stats.arms import TRAINED
from graft.stats.correlation import Correlation
from graft.stats.intervals import Interval


def learned_table(files: RunFiles) -> Table | None:
    """What a trained task must beat to count as learned, what each scores and by how much it is beaten."""
    rows = []
    for check in files.conclusion.learned:
        scored = {arm.arm: arm.accuracy.estimate for arm in check.arms}
        for contrast in check.contrasts:
            if not contrast.required:
                continue
            interval = contrast.change.interval
            score = scored[TRAINED] - contrast.change.estimate
            rows.append(
                (
                    Cell(check.task, kind="head"),
                    Cell(check.metric, kind="text"),
                    Cell(arm_title(contrast.before), kind="text"),
                    Cell(percent(score)),
                    Cell(points_with_interval(contrast.change.estimate, interval), contrast.change.reason),
                    Cell("yes" if interval.low > 0 else "no", kind="text"),
                )
            )
    columns = ("Trained task", "Metric", "Against", "Its score", "Trained − it", "Beaten")
    caption = "What counts as learned beats all of these: the whole 95% interval lies above 0 (points)"
    return Table("learned", caption, columns, tuple(rows)) if rows else None


def leaks_table(files: RunFiles) -> Table | None:
    """Share of each task's held-out items that the training rows hold, beside what is said of the task."""
    shares = files.conclusion.leaks
    said = {check.task: check.word.value for check in files.conclusion.learned}
    if files.study is not None:
        said |= {target.task: target.verdict.value for target in files.study.targets}
    rows = tuple(
        (
            Cell(task, kind="head"),
            Cell(said[task], kind="text") if task in said else Cell(DASH, "nothing is said of this task", "text"),
            Cell(DASH, "nothing was compared") if math.isnan(share) else Cell(f"{100 * share:.2f}%"),
        )
        for task, share in shares.items()
    )
    caption = "Share of the held-out items that stand in the training rows, exactly, nearly or as a related word"
    return Table("leaks", caption, ("Task", "Said of it", "Leaked"), rows) if rows else None


def asides_table(files: RunFiles) -> Table | None:
    """Further measures of the same items with their changes; exploratory."""
    rows = tuple(
        (
            Cell(aside.task, kind="head"),
            Cell(aside.measure, kind="text"),
            Cell(f"{_way(aside.after)} − {_way(aside.before).lower()}", kind="text"),
            Cell(number(aside.n_items), f"{aside.left_out} items lack it" if aside.left_out else ""),
            decimal_cell(aside.value_before, aside.change.reason),
            decimal_cell(aside.value_after, aside.change.reason),
            Cell(_with_interval(aside.change.estimate, aside.change.interval), aside.change.reason),
            Cell(p_value(aside.change.p), aside.change.reason),
        )
        for aside in files.conclusion.asides
    )
    columns = ("Task", "Measure", "Change", "Items", "Before", "After", "By", "p")
    caption = "Further measures on the items that have them, with 95% intervals; exploratory, p is not corrected"
    return Table("asides", caption, columns, rows) if rows else None


def links_table(files: RunFiles) -> Table | None:
    """How the gain on the trained task goes with the gain on every other one."""
    rows = []
    for link in files.conclusion.links:
        over = {"words": link.words, "seeds": link.seeds}
        rows += [_link_row(link.trained, link.target, unit, found) for unit, found in over.items()]
    columns = ("Gain on", "With gain on", "Over", "n", "Pearson", "Spearman", "Verdict")
    caption = (
        "Correlation of gains, with 95% bootstrap intervals; over words given what the base knew of both and the "
        "length of the word. Exploratory"
    )
    return Table("links", caption, columns, tuple(rows)) if rows else None


def _link_row(trained: str, target: str, unit: str, found: Correlation) -> tuple[Cell, ...]:
    return (
        Cell(trained, kind="head"),
        Cell(target, kind="text"),
        Cell(unit, kind="text"),
        Cell(number(found.n)),
        Cell(_with_interval(found.linear.estimate, found.linear, 2), found.linear.reason),
        Cell(_with_interval(found.rank.estimate, found.rank, 2), found.rank.reason),
        Cell(found.verdict.value, found.reason, "text"),
    )


def _way(name: str) -> str:
    """An arm's title, with how it answered: ``trained, thinking`` is ``Trained, thinking``."""
    arm, comma, how = name.partition(", ")
    return f"{arm_title(arm)}{comma}{how}"


def _with_interval(estimate: float, interval: Interval, decimals: int = 3) -> str:
    if math.isnan(estimate) or not interval.defined:
        return signed(estimate, decimals)
    low, high = (signed(end, decimals) for end in (interval.low, interval.high))
    return f"{signed(estimate, decimals)} [{low}, {high}]"
