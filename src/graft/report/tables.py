"""Numbers to rows: the tables of the page, and the same result table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graft.report.explain import arm_order, arm_title
from graft.report.load import NAN, ResultRow, RunFiles, load
from graft.report.numbers import (
    DASH,
    number,
    p_value,
    percent,
    percent_with_interval,
    points,
    points_with_interval,
    signed,
)
from graft.runs.directory import RunDirectory
from graft.stats.arms import BASE, CONTROLS, FORMAT, TRAINED, ArmAccuracy, Contrast
from graft.stats.intervals import Interval, undefined, wilson
from graft.stats.learned import TrainedCheck
from graft.stats.study import Collateral, TargetVerdict, Verdict

ACCURACY = "accuracy"
"""The metric that goes without saying: the share of right items."""

NO_STUDY = "no verdict was computed for this run"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: what is shown.
        note: for a dash the reason, printed as a footnote; else a remark.
        kind: ``""`` for a number, ``head`` for the row's name, ``text`` for words, ``verdict`` for a verdict word.
    """

    text: str
    note: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption; row cells are as many as columns."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def footnotes(self) -> tuple[str, ...]:
        """Reasons of all dashes, each once, in the order of their first use."""
        return tuple(dict.fromkeys(cell.note for row in self.rows for cell in row if cell.text == DASH and cell.note))

    def mark(self, cell: Cell) -> str:
        """The footnote number of a dash, empty for other cells."""
        return str(self.footnotes.index(cell.note) + 1) if cell.text == DASH and cell.note else ""


def result_table(run: RunDirectory | Path | str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The main table of a run as plain text.

    Args:
        run: a run directory or its path.

    Returns:
        Column names, and one row of texts for each task: trained tasks first, then the targets.

    Raises:
        RunError: the folder or a file in it is missing or damaged.
    """
    files = load(run)
    table = corpora_table(files) if files.results.corpora.rows and not files.tasks else main_table(files)
    return table.columns, tuple(tuple(cell.text for cell in row) for row in table.rows)


def corpora_table(files: RunFiles) -> Table:
    """Perplexity and bits per byte of every arm and seed on held-out texts, and the change from base to trained."""
    columns = (
        "Corpus",
        "Arm",
        "Seed",
        "Texts",
        "Tokens",
        "Perplexity",
        "Bits per byte",
        "Trained − base, bits per byte",
    )
    corpora = files.results.corpora
    changes = {change.task: change.bits_per_byte for change in corpora.changes}
    rows = [
        (
            Cell(row.task, kind="head"),
            Cell(row.arm, kind="text"),
            Cell(DASH, "an arm that is not trained has no seed") if row.seed is None else Cell(str(row.seed)),
            Cell(number(row.texts)),
            Cell(number(row.tokens)),
            _plain(row.perplexity, 2),
            _plain(row.bits_per_byte, 4),
            _bits_cell(changes.get(row.task), row.arm),
        )
        for row in corpora.rows
    ]
    caption = (
        "How well held-out texts are predicted; fewer is better, changes are means over seeds with 95% intervals over "
        "texts"
    )
    return Table("corpora", caption, columns, tuple(rows))


def _bits_cell(change: Interval | None, arm: str) -> Cell:
    if arm != TRAINED:
        return Cell(DASH, "only the trained arm is compared with the base")
    if change is None:
        return Cell(DASH, f"'{TRAINED}' or '{BASE}' was not scored on this corpus")
    if not change.defined:
        return Cell(DASH, change.reason)
    return Cell(f"{change.estimate:+.4f} [{change.low:+.4f}, {change.high:+.4f}]")


def _plain(value: float, digits: int) -> Cell:
    return Cell(DASH, "a likelihood was not a finite number") if math.isnan(value) else Cell(f"{value:,.{digits}f}")


def main_table(files: RunFiles) -> Table:
    """Accuracy of base, trained and the control that comes nearest, the changes, p and the verdict word, by task."""
    controls = _controls(files)
    if len(controls) == 1:
        names = (arm_title(controls[0]), f"Trained − {controls[0]}")
    else:
        names = ("Nearest control", "Trained − nearest")
    columns = ("Task", "Base", "Trained", names[0], "Trained − base", names[1], "p (Holm)", "Verdict")
    rows = []
    for task in files.tasks:
        judged = judged_task(files, task)
        cells = _judged_row(judged, controls) if judged else _measured_row(files, task, controls)
        rows.append((Cell(task_title(files, task), kind="head"), *cells))
    kind = (
        "with 95% intervals"
        if files.study or files.conclusion.learned
        else "without intervals, since nothing is compared"
    )
    caption = f"Accuracy by task on held-out items, or the metric that is named, and changes in points {kind}"
    return Table("results", caption, columns, tuple(rows))


def _controls(files: RunFiles) -> tuple[str, ...]:
    """The trained controls that were scored; the first where none was, since its place stays empty."""
    scored = {row.arm for row in files.results.rows}
    return tuple(arm for arm in CONTROLS if arm in scored) or (FORMAT,)


def _nearest(judged: Judged, controls: Sequence[str]) -> str:
    """The control that the trained arm is least far above."""
    found = {arm: contrast for arm in controls if (contrast := find_contrast(judged, TRAINED, arm)) is not None}
    return min(found, key=lambda arm: found[arm].change.estimate, default=controls[0])


def metric_of(files: RunFiles, task: str) -> str:
    """The metric of a task's scores."""
    return next((row.metric for row in files.rows(task)), ACCURACY)


def task_title(files: RunFiles, task: str) -> str:
    """A task with its metric, where that is no accuracy, and a benchmark with the style of its prompts."""
    metric, style = metric_of(files, task), files.forecast.get("tasks", {}).get(task, {}).get("style")
    said = [metric] * (metric != ACCURACY) + [f"{style} style"] * bool(style)
    return f"{task} ({', '.join(said)})" if said else task


Judged = TrainedCheck | TargetVerdict | Collateral
"""What a study says about one task."""


def judged_task(files: RunFiles, task: str) -> Judged | None:
    """What the study says about a task, None when it says nothing."""
    learned = next((check for check in files.conclusion.learned if check.task == task), None)
    if files.study is None:
        return learned
    judged: tuple[Judged, ...] = (*files.study.targets, *files.study.collateral)
    found = [one for one in judged if one.task == task]
    if files.study.trained is not None and files.study.trained.task == task:
        return files.study.trained
    return found[0] if found else learned


def find_contrast(judged: Judged, after: str, before: str) -> Contrast | None:
    """One contrast of a task."""
    return next((item for item in judged.contrasts if (item.after, item.before) == (after, before)), None)


def _judged_row(judged: Judged, controls: Sequence[str]) -> tuple[Cell, ...]:
    accuracy = {arm.arm: arm.accuracy for arm in judged.arms}
    control = _nearest(judged, controls)
    cells = []
    for arm in (BASE, TRAINED, control):
        shown = accuracy.get(arm)
        cells.append(percent_cell(shown.estimate, shown.reason) if shown else _not_run(arm))
    cells[-1] = _named(cells[-1], control, controls)
    cells += [_contrast_cell(judged, TRAINED, BASE), _contrast_cell(judged, TRAINED, control)]
    if isinstance(judged, TargetVerdict):
        harmed = judged.verdict is Verdict.HARMED
        cells.append(Cell(p_value(judged.harm_p_adjusted if harmed else judged.claim_p_adjusted), judged.reason))
        return (*cells, Cell(judged.verdict.value, judged.reason, "verdict"))
    if isinstance(judged, Collateral):
        said = "harmed" if judged.harmed else "not harmed" if judged.excluded else "open"
        return (*cells, Cell(p_value(judged.p_adjusted), judged.headline), Cell(said, judged.headline, "verdict"))
    return (
        *cells,
        Cell(DASH, "the trained task is no part of the claim: it only shows whether training worked"),
        Cell(judged.word.value, judged.headline, "verdict"),
    )


def _named(cell: Cell, control: str, controls: Sequence[str]) -> Cell:
    """A control's score with its name, where it could be another's."""
    return replace(cell, text=f"{cell.text} ({control})") if len(controls) > 1 and cell.text != DASH else cell


def _measured_row(files: RunFiles, task: str, controls: Sequence[str]) -> tuple[Cell, ...]:
    """A row without a study: what was measured, without intervals of change."""
    means = {arm: mean(row.score for row in of_arm(files.rows(task), arm)) for arm in (BASE, TRAINED, *controls)}
    control = max(controls, key=lambda arm: -math.inf if math.isnan(means[arm]) else means[arm])
    cells = []
    for arm in (BASE, TRAINED, control):
        cells.append(percent_cell(means[arm], f"the arm '{arm}' was not scored"))
    cells[-1] = _named(cells[-1], control, controls)
    for before in (BASE, control):
        change = means[TRAINED] - means[before]
        cells.append(
            Cell(points(change), f"'{TRAINED}' or '{before}' was not scored" if math.isnan(change) else NO_STUDY)
        )
    return (*cells, Cell(DASH, NO_STUDY), Cell(DASH, NO_STUDY, "verdict"))


def arms_table(files: RunFiles) -> Table:
    """Every arm's accuracy with its interval by task, and the trivial answers beside."""
    tasks = files.tasks
    shown = {task: {arm.arm: arm.accuracy for arm in task_arms(files, task)} for task in tasks}
    arms = sorted({arm for found in shown.values() for arm in found}, key=arm_order)
    rows = []
    for arm in arms:
        cells = [Cell(arm_title(arm), kind="head")]
        for task in tasks:
            interval = shown[task].get(arm)
            cells.append(Cell(percent_with_interval(interval), interval.reason) if interval else _not_run(arm))
        rows.append(tuple(cells))
    cells = [Cell("Trivial answers", kind="head")]
    for task in tasks:
        trivial = sorted(files.results.baselines.get(task, {}).items(), key=lambda pair: -pair[1])
        text = ", ".join(f"{name.replace('_', ' ')} {percent(value)}" for name, value in trivial)
        cells.append(Cell(text, kind="text") if text else Cell(DASH, "no trivial answer is defined for this task"))
    caption = "Score of every arm with 95% intervals (mean over seeds), and what answers without the skill would score"
    return Table("arms", caption, ("Arm", *(task_title(files, task) for task in tasks)), (*rows, tuple(cells)))


def task_arms(files: RunFiles, task: str) -> tuple[ArmAccuracy, ...]:
    """Accuracy of each arm on a task, from the study or, without one, from the stored scores."""
    judged = judged_task(files, task)
    if judged is not None:
        return judged.arms
    rows = files.rows(task)
    found = []
    for arm in sorted({row.arm for row in rows}, key=arm_order):
        own = of_arm(rows, arm)
        seeds = tuple(_interval(row.score, row) for row in own)
        found.append(ArmAccuracy(arm, _interval(mean(row.score for row in own), own[0]), seeds))
    return tuple(found)


def decision_table(files: RunFiles) -> Table | None:
    """What the decision rests on for each target: equivalence, smallest detectable effect, words that would decide."""
    if files.study is None or not files.study.targets:
        return None
    columns = (
        "Target",
        "Items",
        "Words",
        "Seeds",
        "90% interval of trained − base",
        "Within the margin",
        "Smallest detectable",
        "Words that would decide",
        "Gap to the ceiling",
        "Normalised transfer",
    )
    rows = tuple(_decision_row(target) for target in files.study.targets)
    margin = signed(100 * files.study.margin).lstrip("+")
    return Table("decision", f"What each verdict rests on (points; margin ± {margin} points)", columns, rows)


def _decision_row(target: TargetVerdict) -> tuple[Cell, ...]:
    contrast = find_contrast(target, TRAINED, BASE)
    head = (
        Cell(target.task, kind="head"),
        *(Cell(number(n)) for n in (target.n_items, target.n_clusters, target.seeds)),
    )
    if contrast is None:
        middle: tuple[Cell, ...] = tuple(Cell(DASH, "trained or base was not scored") for _ in range(3))
    else:
        interval = contrast.change.interval90
        inside = f"{'yes' if contrast.equivalence.shown else 'no'} (p {p_value(contrast.equivalence.p)})"
        least = contrast.smallest_detectable
        middle = (
            Cell(f"{points(interval.low)} to {points(interval.high)}")
            if interval.defined
            else Cell(DASH, interval.reason),
            Cell(inside) if not math.isnan(contrast.equivalence.p) else Cell(DASH, contrast.equivalence.reason),
            Cell(DASH, "undefined with these items") if math.isnan(least) else Cell(f"{100 * least:.1f}"),
        )
    words = Cell(number(target.words_to_decide), target.words_reason)
    share = target.normalised
    normalised = Cell(DASH, share.reason) if math.isnan(share.estimate) else Cell(_share_with_interval(share))
    gap = target.ceiling_gap
    ceiling = Cell(points_with_interval(gap.estimate, gap), gap.reason)
    return (*head, *middle, words, ceiling, normalised)


def _share_with_interval(share: Interval) -> str:
    return f"{share.estimate:.2f} [{share.low:.2f}, {share.high:.2f}]" if share.defined else f"{share.estimate:.2f}"


def of_arm(rows: Iterable[ResultRow], arm: str) -> list[ResultRow]:
    """The rows of one arm, by seed."""
    return sorted((row for row in rows if row.arm == arm), key=lambda row: -1 if row.seed is None else row.seed)


def mean(values: Iterable[float]) -> float:
    """Mean of the defined values, NaN when there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else NAN


def _interval(share: float, row: ResultRow) -> Interval:
    """Wilson's interval of a share of right items; another metric needs the items themselves."""
    if math.isnan(share) or row.metric != ACCURACY:
        return undefined("not measured" if math.isnan(share) else NO_STUDY, n=row.n, estimate=share)
    return wilson(share * row.n, row.n)


def percent_cell(share: float, reason: str) -> Cell:
    """A proportion, or a dash with its reason."""
    return Cell(percent(share), reason if math.isnan(share) else "")


def decimal_cell(value: float, reason: str) -> Cell:
    """A number with three decimals and a true minus, or a dash with its reason."""
    return Cell(DASH, reason) if math.isnan(value) else Cell(f"{value:.3f}".replace("-", "−"))


def _contrast_cell(judged: Judged, after: str, before: str) -> Cell:
    contrast = find_contrast(judged, after, before)
    if contrast is None:
        return Cell(DASH, f"'{after}' or '{before}' was not scored on this task")
    return Cell(points_with_interval(contrast.change.estimate, contrast.change.interval), contrast.change.reason)


def _not_run(arm: str) -> Cell:
    return Cell(DASH, f"the arm '{arm}' was not scored on this task")
