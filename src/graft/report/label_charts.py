"""Charts of tasks with a closed set of answers: the confusion matrix and the reliability diagram, one panel an arm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from matplotlib.patches import Rectangle

from graft.report.explain import arm_title
from graft.report.figures import COLOURS, MARKERS, Chart, Panel
from graft.report.numbers import percent
from graft.report.svg import FAINT, INK, draw_panel
from graft.stats.calibration import Bin
from graft.stats.label_study import LabelArm, LabelTask

FILL = "#1f7fbf"
DARKEST = 0.72
"""Opacity of a cell that holds its whole row: text stays readable on it, light or dark."""

NAMED_COLUMNS = 6
"""With more classes the columns carry numbers, which the rows explain."""

PERCENT_CELLS = 8
"""With more classes the cells are too small for numbers."""

LONGEST_NAME = 16


def confusion_chart(name: str, task: LabelTask, arms: Sequence[LabelArm]) -> Chart:
    """Where the items of every right answer went, as shares of its row."""
    panels = []
    for arm in arms:
        right = percent(arm.scores.accuracy.estimate)
        label = f"{task.task}, {arm_title(arm.arm)}: confusion matrix of {len(task.labels)} labels, {right} right"
        draw = partial(_draw_confusion, table=arm.scores.confusion, labels=task.labels)
        panel = f"{name}-confusion-{arm.arm}"
        panels.append(Panel(panel, arm_title(arm.arm), label, draw_panel(panel, label, _height(task), draw)))
    numbered = " The columns are numbered like the rows." if len(task.labels) > NAMED_COLUMNS else ""
    caption = (
        "Rows are right answers, columns the likeliest labels; a row sums to 100%. The framed diagonal is right, "
        f"darker is more.{numbered}"
    )
    return Chart(f"{name}-confusion", "Confusions", caption, tuple(panels))


def reliability_chart(name: str, arms: Sequence[LabelArm]) -> Chart:
    """Accuracy against confidence, before and after the temperature."""
    panels = []
    for arm in arms:
        after = arm.calibrated
        label = f"{arm_title(arm.arm)}: expected calibration error {arm.raw.ece:.3f}"
        label += f", with temperature {after.ece:.3f}" if after else ""
        draw = partial(_draw_reliability, arm=arm.arm, before=arm.raw.bins, after=after.bins if after else ())
        panel = f"{name}-reliability-{arm.arm}"
        panels.append(Panel(panel, arm_title(arm.arm), label, draw_panel(panel, label, 250, draw)))
    caption = (
        "How often the likeliest label is right (up) when the model gives it this probability (right), in bins of "
        "equal width; larger marks hold more items. On the line a probability means what it says. Hollow: as the "
        "model is; filled: with the temperature."
    )
    return Chart(f"{name}-reliability", "Calibration", caption, tuple(panels))


def _height(task: LabelTask) -> float:
    return 78 + max(150, min(340, 26 * len(task.labels)))


def _draw_confusion(axes: Any, table: Sequence[Sequence[float]], labels: Sequence[str]) -> None:
    count = len(labels)
    for row, values in enumerate(table):
        total = sum(values)
        for column, value in enumerate(values):
            share = value / total if total else 0.0
            if share:
                cell = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=FILL, alpha=DARKEST * share, linewidth=0)
                axes.add_patch(cell)
            if count <= PERCENT_CELLS and total:
                size = 12 if count <= 4 else 9
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=size)
        axes.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=0.8))
    numbered = count > NAMED_COLUMNS
    small = 9 if count > PERCENT_CELLS else 11
    rows = [f"{_short(label)}  {index + 1}" if numbered else _short(label) for index, label in enumerate(labels)]
    slanted = not numbered and max(map(len, labels)) * count > 26
    columns = [str(index + 1) for index in range(count)] if numbered else [_short(label) for label in labels]
    turn: dict[str, Any] = {"rotation": 35, "ha": "right"} if slanted else {}
    axes.set_xticks(range(count), columns, fontsize=small, **turn)
    axes.set_yticks(range(count), rows, fontsize=small)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlabel("likeliest label")
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)


def _draw_reliability(axes: Any, arm: str, before: Sequence[Bin], after: Sequence[Bin]) -> None:
    colour, marker = COLOURS.get(arm, FILL), MARKERS.get(arm, "o")
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=1)
    for bins, filled in ((before, False), (after, True)):
        known = [part for part in bins if part.n]
        most = max((part.n for part in known), default=1)
        for part in known:
            axes.plot([100 * part.confidence], [100 * part.accuracy], marker, color=colour, markeredgewidth=1.4,
                      markersize=4 + 7 * (part.n / most) ** 0.5,
                      markerfacecolor=colour if filled else "none")  # fmt: skip
    axes.set_xlim(0, 103)
    axes.set_ylim(-3, 103)
    axes.set_xlabel("probability of the label, %")
    axes.set_ylabel("right, %")


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_NAME else label[: LONGEST_NAME - 1].rstrip() + "…"
