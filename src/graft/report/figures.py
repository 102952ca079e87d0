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
from graft.stats.arms import BASE, COMPARED, TRAINED, ArmAccuracy, Contrast
from graft.stats.study import StratumRow

COLOURS = {
    "base": "#7a7f87",
    "trained": "#1f7fbf",
    "format": "#d0610a",
    "self": "#6b5fc7",
    "shuffled": "#b0569b",
    "direct": "#0f9070",
    "prompted": "#97771d",
}
"""After Okabe & Ito (2008): told apart with any colour vision, and at least 3:1 on white and on near-black."""

MARKERS = {"base": "o", "trained": "s", "format": "D", "self": "X", "shuffled": "v", "direct": "^", "prompted": "P"}

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
        _reward_chart(files) or _loss_chart(files),
        _strata_chart(files),
        _phrasing_chart(files),
        _seen_chart(files),
    )
    return tuple(chart for chart in charts if chart.panels)


def _panel(name: str, title: str, label: str, height: float, draw: Callable[[Any], None]) -> Panel:
    safe = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return Panel(safe, title, label, draw_panel(safe, label, height, draw))


def _change_chart(files: RunFiles) -> Chart:
    """The change against base and controls for each task on one scale, with the margin as a band."""
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
        "Change of the trained model against the base and against each control, with 95% intervals; ticks are single "
        "seeds. The shaded band is the margin within which a change does not matter. A claim needs all required "
        "intervals to lie right of zero."
    )
    return Chart("change", "Change by task", caption, tuple(panels))


def _shown_contrasts(files: RunFiles, task: str) -> list[Contrast]:
    judged = judged_task(files, task)
    pairs = [find_contrast(judged, TRAINED, before) for before in COMPARED] if judged else []
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
    room = 0.06 * (ends[1] - ends[0]) or 1.0
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
        "Right answers on held-out items. Filled: mean over seeds with its 95% interval; hollow: every seed. "
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
    _name_rows(axes, [arm_title(arm.arm) for arm in arms], "right, %")
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


@dataclass(frozen=True, slots=True)
class _Curve:
    """One training: (step, loss) pairs of training and held-out items, and how it ended.

    Attributes:
        seed: its seed, empty when unknown.
        training: mean loss per trained token since the pair before.
        held_out: loss on held-out items, empty when it was not measured.
        best: step whose weights were kept; None where no rule kept any.
        stopped: step at which the stopping rule ended it; None when it ran to its last step.
    """

    seed: str
    training: tuple[tuple[float, float], ...]
    held_out: tuple[tuple[float, float], ...] = ()
    best: float | None = None
    stopped: float | None = None


def _loss_chart(files: RunFiles) -> Chart:
    """Training and held-out loss by step, one panel for each arm, one line style for each seed."""
    curves = _loss_curves(files.metrics)
    panels = []
    for arm in sorted(curves, key=arm_order):
        label = f"{arm_title(arm)}: training loss, {', '.join(map(_curve_label, curves[arm]))}"
        draw = partial(_draw_loss, curves=curves[arm], colour=_style(arm)[0])
        panels.append(_panel(f"loss-{arm}", arm_title(arm), label, 220, draw))
    caption = "Mean loss per trained token during training. Losses of different arms are of different answers."
    every = [curve for found in curves.values() for curve in found]
    if any(curve.held_out for curve in every):
        caption += " Lines with circles: loss on held-out items of all scored tasks."
    if any(curve.best is not None for curve in every):
        caption += " A star marks the step whose weights were kept, a cross where the training was stopped early."
    return Chart("loss", "Training loss", caption, tuple(panels))


def _reward_chart(files: RunFiles) -> Chart | None:
    """Reward by step, one panel for each training; ``None`` without rewards. The loss of GRPO is near 0 throughout."""
    panels = []
    for (arm, seed), pairs in sorted(_pairs(files.metrics, "reward").items()):
        title = f"{arm_title(arm)}, seed {seed or '?'}"
        quarter = max(1, len(pairs) // 4)
        first, last = (sum(value for _, value in part) / quarter for part in (pairs[:quarter], pairs[-quarter:]))
        label = f"{title}: mean reward from {first:.2f} (first quarter of the steps) to {last:.2f} (last quarter)"
        draw = partial(_draw_reward, pairs=pairs, colour=_style(arm)[0])
        panels.append(_panel(f"reward-{arm}-{seed}", title, label, 220, draw))
    caption = "Mean reward of the drawn replies by step, and its running mean over a tenth of the steps."
    return Chart("reward", "Reward", caption, tuple(panels)) if panels else None


def _draw_reward(axes: Any, pairs: Sequence[tuple[float, float]], colour: str) -> None:
    steps, rewards = zip(*pairs, strict=True)
    width = max(1, len(pairs) // 10)
    means = [sum(rewards[max(0, end - width) : end]) / min(width, end) for end in range(1, len(rewards) + 1)]
    axes.plot(steps, rewards, color=colour, linewidth=0.8, alpha=0.45)
    axes.plot(steps, means, color=colour, linewidth=2.0)
    axes.set(xlabel="step", ylabel="reward")
    axes.margins(x=0.02, y=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _curve_label(curve: _Curve) -> str:
    text = f"seed {curve.seed or '?'} from {curve.training[0][1]:.2f} to {curve.training[-1][1]:.2f}"
    if curve.held_out:
        text += f" (held-out from {curve.held_out[0][1]:.2f} to {curve.held_out[-1][1]:.2f})"
    if curve.stopped is not None:
        text += f", stopped early at step {curve.stopped:g}"
    return text + (f", best at step {curve.best:g}" if curve.best is not None else "")


def _loss_curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[_Curve]]:
    """The curves by arm, ordered by seed."""
    training, held_out = _pairs(metrics, "loss"), _pairs(metrics, "held_out/loss")
    ends = {_arm_and_seed(line): line for line in metrics if line.get("event") == "trained"}
    curves: dict[str, list[_Curve]] = {}
    for (arm, seed), pairs in sorted(training.items()):
        end = ends.get((arm, seed), {})
        stopped = end.get("steps") if end.get("stopped_early") else None
        curve = _Curve(seed, pairs, held_out.get((arm, seed), ()), end.get("best_step"), stopped)
        curves.setdefault(arm, []).append(curve)
    return curves


def _pairs(metrics: Iterable[Mapping[str, Any]], key: str) -> dict[tuple[str, str], tuple[tuple[float, float], ...]]:
    """(step, value) pairs by arm and seed; the later of two lines for one step counts, as after a resume."""
    logged: dict[tuple[str, str], dict[float, float]] = {}
    for line in metrics:
        step, value = line.get("step"), line.get(key)
        if line.get("event") or not isinstance(step, int | float) or not isinstance(value, int | float):
            continue
        if not math.isnan(value):
            logged.setdefault(_arm_and_seed(line), {})[float(step)] = float(value)
    return {place: tuple(sorted(pairs.items())) for place, pairs in logged.items()}


def _arm_and_seed(line: Mapping[str, Any]) -> tuple[str, str]:
    arm, _, seed = str(line.get("arm", TRAINED)).partition("-seed")
    return arm, seed or str(line.get("seed", ""))


def _draw_loss(axes: Any, curves: Sequence[_Curve], colour: str) -> None:
    for index, curve in enumerate(curves):
        label = f"seed {curve.seed}" if curve.seed else None
        dashes = DASHES[index % len(DASHES)]
        axes.plot(*zip(*curve.training, strict=True), color=colour, linestyle=dashes, label=label, linewidth=1.6)
        if curve.held_out:
            axes.plot(
                *zip(*curve.held_out, strict=True), "o", color=INK, linestyle=dashes, linewidth=1.1, markersize=4,
                markerfacecolor="none", label="held-out" if index == 0 else None,
            )  # fmt: skip
        heights = dict(curve.held_out or curve.training)
        for step, mark, size in ((curve.best, "*", 13), (curve.stopped, "X", 8)):
            if step is not None:
                axes.axvline(step, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
                axes.plot([step], [heights.get(step, 0.0)], mark, color=INK, markersize=size)
    axes.set(xlabel="step", ylabel="loss" if any(curve.held_out for curve in curves) else "training loss")
    axes.margins(x=0.02, y=0.1)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if any(curve.seed or curve.held_out for curve in curves):
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
    axes.set_ylabel("right, %")
    axes.margins(x=0.08, y=0.12)
    axes.set_ylim(_at_least(axes.get_ylim()))
    axes.legend(fontsize=11, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=0)


def _phrasing_chart(files: RunFiles) -> Chart:
    """How much the wording of the question matters: accuracy by held-out phrasing."""
    panels = []
    for task in files.tasks:
        rows = [row for row in files.rows(task) if row.arm in (TRAINED, *COMPARED) and row.phrasings]
        names = list(dict.fromkeys(name for row in rows for name in row.phrasings if name))
        values = {
            arm: {name: [row.phrasings[name] for row in of_arm(rows, arm) if name in row.phrasings] for name in names}
            for arm in sorted({row.arm for row in rows}, key=arm_order)
        }
        if names:
            panels.append(_dots_panel(f"phrasing-{task}", task, names, values))
    caption = (
        "Right answers by phrasing of the question; no phrasing was used in training. "
        "Filled: mean over seeds; hollow: every seed."
    )
    return Chart("phrasing", "Spread over phrasings", caption, tuple(panels))


def _seen_chart(files: RunFiles) -> Chart:
    """Held-out items beside items that were in training."""
    panels = []
    names = {EVAL: "Held-out items", SEEN: "Training items"}
    for task in files.tasks:
        arms = sorted({row.arm for row in files.rows(task, SEEN)}, key=arm_order)
        values = {
            arm: {name: [row.score for row in of_arm(files.rows(task, split), arm)] for split, name in names.items()}
            for arm in arms
        }
        if values:
            panels.append(_dots_panel(f"seen-{task}", task, list(names.values()), values))
    caption = "Right answers on held-out items and on items that were trained; the latter never carry the claim."
    return Chart("seen", "Held-out and training items", caption, tuple(panels))


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
    _name_rows(axes, groups, "right, %")
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
