"""The sections of tasks with a closed set of answers: how the likeliest labels were right, and how sure they were."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from graft.report.explain import arm_order, arm_title
from graft.report.figures import Chart
from graft.report.label_charts import confusion_chart, reliability_chart
from graft.report.load import NAN, RunFiles
from graft.report.numbers import (
    DASH,
    number,
    p_value,
    percent,
    percent_with_interval,
    points_with_interval,
    signed,
)
from graft.report.tables import Cell, Table, decimal_cell, percent_cell
from graft.stats.arms import BASE, TRAINED
from graft.stats.intervals import Interval
from graft.stats.label_study import CHOICE, LabelArm, LabelTask

SHOWN = (BASE, TRAINED)
"""Arms with charts and per-class columns."""

MEASURES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "mcc": "MCC"}

CONFUSIONS = 8
"""Most frequent confusions that are listed."""

NOT_SCORED = "this arm was not scored"

WAYS = {
    "sum": "The score of a label is the log-likelihood of all its tokens after the prompt, the end of the turn "
    "included",
    "mean": "The score of a label is the mean log-likelihood of its tokens after the prompt, the end of the turn "
    "included",
    "prior": "The score of a label is its log-likelihood after the prompt, less that after a prompt that says nothing",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A heading with a chart, a table or both."""

    title: str
    table: Table | None = None
    chart: Chart | None = None


@dataclass(frozen=True, slots=True)
class LabelSection:
    """One task's section of the page."""

    name: str
    title: str
    text: str
    parts: tuple[Part, ...]

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Its charts."""
        return tuple(part.chart for part in self.parts if part.chart)


def label_sections(files: RunFiles) -> tuple[LabelSection, ...]:
    """A section for every task with a closed set of answers."""
    return tuple(_section(task) for task in files.labels.tasks)


def _section(task: LabelTask) -> LabelSection:
    name = "labels-" + re.sub(r"[^a-z0-9]+", "-", task.task.lower()).strip("-")
    shown = tuple(arm for arm in arms_in_order(task) if arm.arm in SHOWN) or task.arms[:1]
    choice = task.kind == CHOICE
    parts = [Part("", _overview(name, task)), Part("", _changes_table(name, task))]
    if choice and task.categories:
        parts.append(Part(f"By {task.stratum.replace('_', ' ')}", _categories_table(name, task)))
    if not choice:
        parts.append(Part("Confusions", _confusions_table(name, task, shown[-1]), confusion_chart(name, task, shown)))
        parts.append(Part("By class", _classes_table(name, task, shown)))
    parts.append(Part("Calibration", _calibration_table(name, task), reliability_chart(name, shown)))
    if any(arm.generation for arm in task.arms):
        parts.append(Part("Likeliest label and free reply", _agreement_table(name, task)))
    return LabelSection(name, f"Labels: {task.task}", _text(task), tuple(parts))


def arms_in_order(task: LabelTask) -> tuple[LabelArm, ...]:
    """The arms in the order of the page."""
    return tuple(sorted(task.arms, key=lambda arm: arm_order(arm.arm)))


def _text(task: LabelTask) -> str:
    kind = "options of each row's own" if task.kind == CHOICE else f"{len(task.labels)} labels"
    return (
        f"{number(task.n)} held-out items, {kind}. {WAYS[task.way]}; the likeliest is the answer. Always giving the "
        f"most frequent answer would be right in {percent(task.majority)}."
    )


def _measures(task: LabelTask) -> tuple[str, ...]:
    return ("accuracy",) if task.kind == CHOICE else tuple(MEASURES)


def _overview(name: str, task: LabelTask) -> Table:
    """Accuracy by arm, and for classes macro-F1 and MCC."""
    measures = _measures(task)
    rows = []
    for arm in arms_in_order(task):
        values: list[Interval] = [getattr(arm.scores, measure) for measure in measures]
        cells = (
            Cell(_with_interval(value, measure), value.reason) for value, measure in zip(values, measures, strict=True)
        )
        rows.append((Cell(arm_title(arm.arm), kind="head"), *cells, Cell(number(arm.scores.seeds))))
    columns = ("Arm", *(MEASURES[measure] for measure in measures), "Seeds")
    return Table(
        f"{name}-overview", "The likeliest label, with 95% intervals over items and seeds", columns, tuple(rows)
    )


def _changes_table(name: str, task: LabelTask) -> Table | None:
    rows = []
    for found in task.changes:
        if found.measure not in _measures(task):
            continue
        change = found.change
        title = f"{arm_title(found.after)} − {arm_title(found.before).lower()}"
        if found.measure == "mcc":
            text = _two(change.estimate, change.interval, signed)
        else:
            text = points_with_interval(change.estimate, change.interval)
        cells = (Cell(text, change.reason), Cell(p_value(change.p), change.reason))
        rows.append((Cell(title, kind="head"), Cell(MEASURES[found.measure], kind="text"), *cells))
    caption = "Changes on the same items: points for shares, with 95% intervals; p is not corrected for looking often"
    return Table(f"{name}-changes", caption, ("Change", "Of", "By", "p"), tuple(rows)) if rows else None


def _with_interval(value: Interval, measure: str) -> str:
    if measure != "mcc":
        return percent_with_interval(value)
    return _two(value.estimate, value, lambda number, digits: f"{number:.{digits}f}".replace("-", "−"))


def _two(estimate: float, interval: Interval, show: Callable[[float, int], str]) -> str:
    """A number between −1 and 1 with its interval, two decimals."""
    if math.isnan(estimate):
        return DASH
    text = show(estimate, 2)
    return f"{text} [{show(interval.low, 2)}, {show(interval.high, 2)}]" if interval.defined else text


def _categories_table(name: str, task: LabelTask) -> Table:
    arms = [arm.arm for arm in arms_in_order(task)]
    rows = tuple(
        (
            Cell(category.name, kind="head"),
            Cell(number(category.n)),
            *(percent_cell(category.accuracy.get(arm, NAN), NOT_SCORED) for arm in arms),
        )
        for category in task.categories
    )
    columns = (task.stratum.replace("_", " ").capitalize(), "Items", *map(arm_title, arms))
    return Table(f"{name}-categories", "Accuracy by category (exploratory)", columns, rows)


def _confusions_table(name: str, task: LabelTask, arm: LabelArm) -> Table | None:
    table = arm.scores.confusion
    pairs = [(table[g][p], g, p) for g in range(len(table)) for p in range(len(table)) if g != p and table[g][p] > 0]
    rows = []
    for count, gold, called in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:CONFUSIONS]:
        share = count / sum(table[gold])
        rows.append(
            (
                Cell(task.labels[gold], kind="head"),
                Cell(task.labels[called], kind="text"),
                Cell(number(count)),
                Cell(percent(share)),
            )
        )
    columns = ("Right answer", "Called", "Items", "Of that answer")
    caption = f"Most frequent confusions, {arm_title(arm.arm).lower()} (mean over seeds)"
    return Table(f"{name}-confusions", caption, columns, tuple(rows)) if rows else None


def _classes_table(name: str, task: LabelTask, shown: tuple[LabelArm, ...]) -> Table:
    rows = []
    for index, label in enumerate(task.labels):
        cells = [Cell(label, kind="head"), Cell(number(shown[0].scores.classes[index].support))]
        for arm in shown:
            row = arm.scores.classes[index]
            cells += [percent_cell(value, row.reason) for value in (row.precision, row.recall, row.f1)]
        rows.append(tuple(cells))
    columns = ["Class", "Items"]
    for arm in shown:
        columns += [f"{arm_title(arm.arm)}: {measure}" for measure in ("precision", "recall", "F1")]
    return Table(f"{name}-classes", "Every class by itself (means over seeds)", tuple(columns), tuple(rows))


def _calibration_table(name: str, task: LabelTask) -> Table:
    columns = (
        "Arm",
        "Brier",
        "ECE",
        "NLL",
        "Temperature",
        "Brier, scaled",
        "ECE, scaled",
        "NLL, scaled",
    )
    rows = tuple(_calibration_row(arm) for arm in arms_in_order(task))
    fitted = max((t.n for arm in task.arms for t in arm.temperatures), default=0)
    caption = (
        "Probabilities of the labels as they are, and with the scores divided by a temperature fitted on "
        f"{number(fitted)} rows that are not scored"
    )
    return Table(f"{name}-calibration", caption, columns, rows)


def _calibration_row(arm: LabelArm) -> tuple[Cell, ...]:
    brier = arm.brier
    text = f"{brier.estimate:.3f}"
    if brier.defined:
        text += f" [{brier.low:.3f}, {brier.high:.3f}]"
    values = [t.value for t in arm.temperatures]
    why = next((t.reason for t in arm.temperatures if t.reason), "no temperature was fitted")
    after = arm.calibrated
    scaled = (after.brier, after.ece, after.nll) if after else (NAN, NAN, NAN)
    heat = Cell(", ".join(f"{v:.2f}" for v in values)) if after else Cell(DASH, why)
    return (
        Cell(arm_title(arm.arm), kind="head"),
        Cell(text, brier.reason),
        decimal_cell(arm.raw.ece, "no items"),
        decimal_cell(arm.raw.nll, "a right answer has probability 0"),
        heat,
        *(decimal_cell(value, why) for value in scaled),
    )


def _agreement_table(name: str, task: LabelTask) -> Table:
    columns = (
        "Arm",
        "Likeliest label right",
        "Reply strict",
        "Reply lenient",
        "Reply parsed",
        "Same label",
        "Same, among parsed",
    )
    rows = []
    for arm in arms_in_order(task):
        free = arm.generation
        keys = ("strict", "lenient", "parsed", "agreement", "agreement_parsed")
        cells = (percent_cell(getattr(free, key) if free else NAN, _why_not(free, key)) for key in keys)
        rows.append((Cell(arm_title(arm.arm), kind="head"), Cell(percent(arm.scores.accuracy.estimate)), *cells))
    caption = "The likeliest label beside the reply that the model wrote to the same item (means over seeds)"
    return Table(f"{name}-agreement", caption, columns, tuple(rows))


def _why_not(free: object, key: str) -> str:
    return "this arm wrote no replies" if free is None or key != "agreement_parsed" else "no reply held a label"
