"""The charts of a run as small multiples: one panel for each task, arm or stratum, each readable on a phone alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.ticker import MaxNLocator

from graft.report.explain import arm_order, arm_title
from graft.report.load import EVAL, SEEN, RunFiles
from graft.report.numbers import level, level_order, percent, points
from graft.report.svg import BAND, FAINT, INK, draw_panel
from graft.report.tables import find_contrast, judged_task, mean, of_arm, task_arms
from graft.stats.study import BASE, FORMAT, TRAINED, ArmAccuracy, Contrast, StratumRow

COLOURS = {
    "base": "#7a7f87",
    "trained": "#1f7fbf",
    "format": "#d0610a",
    "shuffled": "#b0569b",
    "direct": "#0f9070",
    "prompted": "#97771d",
}
"""After Okabe & Ito (2008): told apart with any colour vision, and at least 3:1 on white and on near-black."""

MARKERS = {"base": "o", "trained": "s", "format": "D", "shuffled": "v", "direct": "^", "prompted": "P"}

DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1)))
"""One line style for each seed."""

MAX_LEVELS = 14
"""A stratum with more levels is a table, not a chart."""

_ROW = 34.0
_FRAME = 62.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: its file name, its heading, what it shows in words, and the SVG."""

    name: str
    title: str
    label: str
    svg: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Panels that belong together."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]


def draw_charts(files: RunFiles) -> tuple[Chart, ...]:
    """All charts that the run has data for, in the order of the page."""
    charts = (
        _change_chart(files),
        _accuracy_chart(files),
        _loss_chart(files),
        _strata_chart(files),
        _phrasing_chart(files),
        _seen_chart(files),
    )
    return tuple(chart for chart in charts if chart.panels)


def _panel(name: str, title: str, label: str, height: float, draw: Callable[[Any], None]) -> Panel:
    safe = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return Panel(safe, title, label, draw_panel(safe, label, height, draw))


def _change_chart(files: RunFiles) -> Chart:
    """Both required contrasts for each task on one scale, with the margin as a band."""
    found = {task: _shown_contrasts(files, task) for task in files.tasks}
    intervals = [contrast.change.interval for kept in found.values() for contrast in kept]
    margin = 100 * files.study.margin if files.study else 0.0
    low = min([*(100 * interval.low for interval in intervals), -1.5 * margin])
    high = max([*(100 * interval.high for interval in intervals), 1.5 * margin])
    panels = []
    for task, kept in found.items():
        if kept:
            parts = [f"minus {arm_title(c.before).lower()} {points(c.change.estimate)} points" for c in kept]
            draw = partial(_draw_change, contrasts=kept, margin=margin, ends=(low, high))
            label = f"{task}: trained {', '.join(parts)}"
            panels.append(_panel(f"change-{task}", task, label, _FRAME + _ROW * len(kept), draw))
    caption = (
        "Change of the trained model against the base and against the format control, with 95% intervals; ticks are "
        "single seeds. The shaded band is the margin within which a change does not matter. A claim needs both "
        "intervals to lie right of zero."
    )
    return Chart("change", "Change by task", caption, tuple(panels))


def _shown_contrasts(files: RunFiles, task: str) -> list[Contrast]:
    judged = judged_task(files, task)
    pairs = [find_contrast(judged, TRAINED, before) for before in (BASE, FORMAT)] if judged else []
    return [pair for pair in pairs if pair is not None and pair.change.interval.defined]


def _draw_change(axes: Any, contrasts: Sequence[Contrast], margin: float, ends: tuple[float, float]) -> None:
    axes.axvspan(-margin, margin, color=BAND, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.9)
    for row, contrast in enumerate(contrasts):
        interval, colour = contrast.change.interval, COLOURS[contrast.before]
        axes.plot([100 * interval.low, 100 * interval.high], [row, row], color=colour, linewidth=2.4)
        seeds = [100 * value for value in contrast.change.per_seed]
        axes.plot(seeds, [row + 0.24] * len(seeds), "|", color=colour, markersize=8)
        axes.plot([100 * contrast.change.estimate], [row], MARKERS[contrast.before], color=colour, markersize=8)
    names = [f"− {arm_title(contrast.before).lower()}" for contrast in contrasts]
    _name_rows(axes, names, "trained minus …, points")
    room = 0.06 * (ends[1] - ends[0])
    axes.set_xlim(ends[0] - room, ends[1] + room)


def _accuracy_chart(files: RunFiles) -> Chart:
    """Accuracy of each arm with every seed and the interval; the best trivial answer as a line."""
    panels = []
    for task in files.tasks:
        arms = [arm for arm in task_arms(files, task) if not math.isnan(arm.accuracy.estimate)]
        if not arms:
            continue
        known = [pair for pair in files.results.baselines.get(task, {}).items() if not math.isnan(pair[1])]
        best = max(known, key=lambda pair: pair[1], default=None)
        label = f"{task}: " + ", ".join(f"{arm_title(arm.arm)} {percent(arm.accuracy.estimate)}" for arm in arms)
        if best:
            label += f"; best trivial answer ({best[0]}) {percent(best[1])}"
        draw = partial(_draw_accuracy, arms=arms, trivial=best)
        panels.append(_panel(f"accuracy-{task}", task, label, _FRAME + 8 + _ROW * len(arms), draw))
    caption = (
        "Exact match on held-out words. Filled: mean over seeds with its 95% interval; hollow: every seed. "
        "The dotted line is the best trivial answer; an arrow points to it when it lies outside. Scales differ."
    )
    return Chart("accuracy", "Accuracy by arm", caption, tuple(panels))


def _draw_accuracy(axes: Any, arms: Sequence[ArmAccuracy], trivial: tuple[str, float] | None) -> None:
    for row, arm in enumerate(arms):
        colour, marker = _style(arm.arm)
        interval = arm.accuracy
        if interval.defined:
            axes.plot([100 * interval.low, 100 * interval.high], [row, row], color=colour, linewidth=2.4)
        axes.plot([100 * interval.estimate], [row], marker, color=colour, markersize=8)
        if arm.arm != BASE:
            seeds = [100 * seed.estimate for seed in arm.per_seed]
            axes.plot(seeds, [row + 0.27] * len(seeds), marker, color=colour, markersize=5, markerfacecolor="none")
    axes.margins(x=0.08)
    _name_rows(axes, [arm_title(arm.arm) for arm in arms], "exact match, %")
    axes.set_ylim(len(arms) - 0.45, -0.85)
    if trivial:
        _draw_trivial(axes, trivial[0].replace("_", " "), 100 * trivial[1])


def _draw_trivial(axes: Any, name: str, place: float) -> None:
    """A dotted line; only an arrow when the line would stretch the scale until the arms could not be told apart."""
    low, high = _at_least(axes.get_xlim())
    room = 0.5 * (high - low)
    text, side = f"{name} {place:.1f}%", "left" if place < (low + high) / 2 else "right"
    if low - room <= place <= high + room:
        axes.axvline(place, color=INK, linewidth=1.1, linestyle=(0, (2, 3)))
        text = f" {text} "
    else:
        text, place = (f"← {text}", low) if place < low else (f"{text} →", high)
        axes.set_xlim(low, high)
    axes.annotate(text, (place, -0.62), fontsize=10.5, va="center", ha=side, annotation_clip=False)


def _loss_chart(files: RunFiles) -> Chart:
    """Training loss by step, one panel for each arm, one line for each seed."""
    curves = _loss_curves(files.metrics)
    panels = []
    for arm in sorted(curves, key=arm_order):
        seeds = sorted(curves[arm].items())
        ends = [f"seed {seed or '?'} from {pairs[0][1]:.2f} to {pairs[-1][1]:.2f}" for seed, pairs in seeds]
        label = f"{arm_title(arm)}: training loss, {', '.join(ends)}"
        draw = partial(_draw_loss, seeds=seeds, colour=_style(arm)[0])
        panels.append(_panel(f"loss-{arm}", arm_title(arm), label, 220, draw))
    caption = "Mean loss per trained token during training. Losses of different arms are of different answers."
    return Chart("loss", "Training loss", caption, tuple(panels))


def _loss_curves(metrics: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """(step, loss) pairs by arm, then seed; the later of two lines for one step counts, as after a resume."""
    logged: dict[str, dict[str, dict[float, float]]] = {}
    for line in metrics:
        step, loss = line.get("step"), line.get("loss")
        if line.get("event") or not isinstance(step, int | float) or not isinstance(loss, int | float):
            continue
        arm, _, seed = str(line.get("arm", TRAINED)).partition("-seed")
        if not math.isnan(loss):
            seeds = logged.setdefault(arm, {})
            seeds.setdefault(seed or str(line.get("seed", "")), {})[float(step)] = float(loss)
    return {arm: {seed: sorted(pairs.items()) for seed, pairs in seeds.items()} for arm, seeds in logged.items()}


def _draw_loss(axes: Any, seeds: Sequence[tuple[str, Sequence[tuple[float, float]]]], colour: str) -> None:
    for index, (seed, pairs) in enumerate(seeds):
        label = f"seed {seed}" if seed else None
        dashes = DASHES[index % len(DASHES)]
        axes.plot(*zip(*pairs, strict=True), color=colour, linestyle=dashes, label=label, linewidth=1.6)
    axes.set(xlabel="step", ylabel="training loss")
    axes.margins(x=0.02, y=0.1)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if any(seed for seed, _ in seeds):
        axes.legend(fontsize=11, loc="upper right")


def _strata_chart(files: RunFiles) -> Chart:
    """Base and trained accuracy by level, one panel for each task and stratum."""
    groups: dict[tuple[str, str], list[StratumRow]] = {}
    for row in files.conclusion.strata:
        groups.setdefault((row.task, row.stratum), []).append(row)
    panels = []
    for (task, stratum), rows in groups.items():
        if 2 <= len(rows) <= MAX_LEVELS:
            ordered = sorted(rows, key=lambda row: level_order(row.level))
            title = f"{task} by {stratum.replace('_', ' ')}"
            parts = [f"{level(row.level)}: {percent(row.before)} to {percent(row.after)}" for row in ordered]
            label = f"{title}, base to trained: {'; '.join(parts)}"
            panels.append(_panel(f"stratum-{task}-{stratum}", title, label, 210, partial(_draw_levels, rows=ordered)))
    caption = "Base and trained accuracy by properties declared in advance. The intervals are in the table of strata."
    return Chart("strata", "Accuracy by stratum (exploratory)", caption, tuple(panels))


def _draw_levels(axes: Any, rows: Sequence[StratumRow]) -> None:
    places = list(range(len(rows)))
    for arm, values in ((BASE, [row.before for row in rows]), (TRAINED, [row.after for row in rows])):
        colour, marker = _style(arm)
        shown = [100 * value for value in values]
        axes.plot(places, shown, f"{marker}-", color=colour, linewidth=1.3, markersize=7, label=arm_title(arm))
    short = sum(len(row.level) + 1 for row in rows) <= 40
    axes.set_xticks(places, [level(row.level) for row in rows], rotation=0 if short else 40)
    axes.set_ylabel("exact match, %")
    axes.margins(x=0.08, y=0.12)
    axes.set_ylim(_at_least(axes.get_ylim()))
    axes.legend(fontsize=11, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=0)


def _phrasing_chart(files: RunFiles) -> Chart:
    """How much the wording of the question matters: accuracy by held-out phrasing."""
    panels = []
    for task in files.tasks:
        rows = [row for row in files.rows(task) if row.arm in (BASE, TRAINED, FORMAT) and row.phrasings]
        names = list(dict.fromkeys(name for row in rows for name in row.phrasings))
        values = {
            arm: {name: [row.phrasings[name] for row in of_arm(rows, arm) if name in row.phrasings] for name in names}
            for arm in sorted({row.arm for row in rows}, key=arm_order)
        }
        if names:
            panels.append(_dots_panel(f"phrasing-{task}", task, names, values))
    caption = (
        "Exact match by phrasing of the question; no phrasing was used in training. "
        "Filled: mean over seeds; hollow: every seed."
    )
    return Chart("phrasing", "Spread over phrasings", caption, tuple(panels))


def _seen_chart(files: RunFiles) -> Chart:
    """Held-out words beside words that were in training."""
    panels = []
    names = {EVAL: "Held-out words", SEEN: "Training words"}
    for task in files.tasks:
        arms = sorted({row.arm for row in files.rows(task, SEEN)}, key=arm_order)
        values = {
            arm: {name: [row.exact for row in of_arm(files.rows(task, split), arm)] for split, name in names.items()}
            for arm in arms
        }
        if values:
            panels.append(_dots_panel(f"seen-{task}", task, list(names.values()), values))
    caption = "Exact match on held-out words and on words that were trained; the latter never carry the claim."
    return Chart("seen", "Held-out and training words", caption, tuple(panels))


def _dots_panel(
    name: str, title: str, groups: Sequence[str], values: Mapping[str, Mapping[str, Sequence[float]]]
) -> Panel:
    """One row for each group, in it one mark for each arm, above each other."""
    parts = [f"{arm_title(arm)} {group} {percent(mean(by[group]))}" for arm, by in values.items() for group in groups]
    height = _FRAME + 18 * math.ceil(len(values) / 3) + len(groups) * max(_ROW, 15.0 * len(values))
    draw = partial(_draw_dots, groups=groups, values=values)
    return _panel(name, title, f"{title}: {', '.join(parts)}", height, draw)


def _draw_dots(axes: Any, groups: Sequence[str], values: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    for rank, (arm, by_group) in enumerate(values.items()):
        colour, marker = _style(arm)
        offset = (rank - (len(values) - 1) / 2) * 0.8 / max(len(values), 3)
        axes.plot([], [], marker, color=colour, markersize=7, label=arm_title(arm))
        for row, group in enumerate(groups):
            seeds = [100 * value for value in by_group[group] if not math.isnan(value)]
            if len(seeds) > 1:
                place = [row + offset] * len(seeds)
                axes.plot(seeds, place, marker, color=colour, markersize=5, markerfacecolor="none")
            if seeds:
                axes.plot([sum(seeds) / len(seeds)], [row + offset], marker, color=colour, markersize=7)
    _name_rows(axes, groups, "exact match, %")
    for line in range(1, len(groups)):
        axes.axhline(line - 0.5, color=FAINT, linewidth=0.6)
    axes.margins(x=0.08)
    axes.set_xlim(_at_least(axes.get_xlim()))
    place_above = {"loc": "lower center", "bbox_to_anchor": (0.4, 1.0), "borderaxespad": 0.2}
    axes.legend(fontsize=11, ncols=3, handletextpad=0.1, columnspacing=0.9, **place_above)


def _name_rows(axes: Any, names: Sequence[str], xlabel: str) -> None:
    """Rows from the top down, named on the left."""
    axes.set_yticks(range(len(names)), [_wrap(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(xlabel)
    axes.grid(visible=False, axis="y")


def _wrap(name: str, width: int = 18) -> str:
    """Break a long row name so that it leaves room for the chart."""
    lines = [""]
    for word in name.replace("_", " ").split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(line if len(line) <= width + 4 else f"{line[: width + 3]}…" for line in lines[:3])


def _at_least(ends: tuple[float, float], span: float = 2.0) -> tuple[float, float]:
    """Widen a scale in percent that would magnify nothing."""
    room = max(0.0, span - (ends[1] - ends[0])) / 2
    return (ends[0] - room, ends[1] + room)


def _style(arm: str) -> tuple[str, str]:
    kind = arm.partition("-")[0]
    return COLOURS.get(kind, "#5f6672"), MARKERS.get(kind, "X")
