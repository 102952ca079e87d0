"""The report: one HTML file that holds everything it shows and asks no network for anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graft.report import asides, exports, form, measures, sampling, separation, tables
from graft.report.explain import GLOSSARY, arm_meaning, arm_order, arm_title
from graft.report.figures import Chart, draw_charts
from graft.report.items import OUTCOMES, browse
from graft.report.labels import LabelSection, label_sections
from graft.report.load import RunFiles, load
from graft.report.numbers import number, percent
from graft.report.page import environment
from graft.report.svg import standalone
from graft.runs.directory import RunDirectory
from graft.runs.files import write_text
from graft.stats.arms import BASE, TRAINED


def write_report(run: RunDirectory | Path | str) -> Path:
    """Write report.html and figures/*.svg into a run directory, from the files that are in it.

    Args:
        run: a run directory or its path.

    Returns:
        Path of report.html.

    Raises:
        RunError: the folder is missing or a file in it is damaged.
        StorageError: the report cannot be written.
    """
    files = load(run)
    charts, labels = draw_charts(files), label_sections(files)
    for chart in (*charts, *(chart for section in labels for chart in section.charts)):
        for panel in chart.panels:
            write_text(files.path / "figures" / f"{panel.name}.svg", standalone(panel.svg))
    path = files.path / "report.html"
    write_text(path, render(files, charts, labels))
    return path


def render(files: RunFiles, charts: Sequence[Chart], labels: Sequence[LabelSection] = ()) -> str:
    """The page as text."""
    page = environment().get_template("template.html.j2")
    styles, artefacts = separation.read_separation(files), exports.read_artefacts(files)
    return page.render(
        files=files,
        study=files.study,
        headline=headline(files),
        problem=_problem(files),
        forecast=smallest_detectable(files),
        result=tables.main_table(files) if files.tasks else None,
        arms_table=tables.arms_table(files) if files.results.rows or files.study else None,
        decision=tables.decision_table(files),
        form=form.form_table(files),
        collateral=form.collateral_table(files),
        corpora=tables.corpora_table(files) if files.results.corpora.rows else None,
        charts=charts,
        labels=labels,
        sampling_notes=(*sampling.sampling_notes(files), *sampling.code_notes(files)),
        grid=sampling.grid_table(files),
        styles=styles,
        separation=separation.separation_table(styles),
        exports=exports.exports_table(artefacts),
        exports_chart=exports.exports_chart(artefacts),
        scoring=measures.scoring_table(files) if files.results.rows else None,
        split=measures.split_table(files) if files.results.rows else None,
        seen=measures.seen_table(files),
        seeds=measures.seeds_table(files),
        strata=measures.strata_tables(files),
        learned=asides.learned_table(files),
        leaks=asides.leaks_table(files),
        asides=asides.asides_table(files),
        links=asides.links_table(files),
        items=browse(files),
        outcomes=OUTCOMES,
        arms=[(arm_title(arm), arm_meaning(arm)) for arm in _arms(files)],
        trainings=measures.trainings_table(files),
        glossary=GLOSSARY,
        audit={key: value for key, value in files.audit.items() if key not in ("ok", "reasons")},
        command=_command(files),
    )


def headline(files: RunFiles) -> str:
    """The conclusion in one sentence; for a plain training what was measured on its first task."""
    if styled := separation.read_separation(files).get("headline"):
        return str(styled)
    if files.study is not None:
        return files.study.headline
    if files.conclusion.learned:
        return " ".join(check.headline for check in files.conclusion.learned)
    if not files.tasks and files.results.corpora.rows:
        return _corpora_headline(files)
    if not files.tasks:
        return "This run holds no scores yet."
    task = files.tasks[0]
    means = {arm: tables.mean(row.score for row in tables.of_arm(files.rows(task), arm)) for arm in (BASE, TRAINED)}
    if any(math.isnan(value) for value in means.values()):
        return f"Scores of {task} without a comparison; no study was made."
    metric = tables.metric_of(files, task)
    return (
        f"{metric[:1].upper()}{metric[1:]} on {task} went from {percent(means[BASE])} to {percent(means[TRAINED])} on "
        "held-out items; no study was made, so nothing is claimed about other tasks."
    )


def _corpora_headline(files: RunFiles) -> str:
    """What the first corpus came to."""
    corpora = files.results.corpora
    change = next(iter(corpora.changes), None)
    if change is None:
        row = corpora.rows[0]
        return f"Perplexity of {row.task} is {row.perplexity:,.2f} ({row.arm}); nothing was compared."
    bits = change.bits_per_byte
    between = f"95% interval {bits.low:+.4f} to {bits.high:+.4f}" if bits.defined else bits.reason
    return f"Bits per byte of {change.task} changed by {bits.estimate:+.4f} on held-out texts ({between})."


def smallest_detectable(files: RunFiles) -> str:
    """The change each task's items and seeds can detect, as it was forecast before training; empty when unknown."""
    known: Any = files.forecast.get("tasks")
    if not isinstance(known, Mapping):
        return ""
    parts = []
    for task, forecast in known.items():
        least = forecast.get("smallest_detectable") if isinstance(forecast, Mapping) else None
        if isinstance(least, int | float):
            items = f" ({number(forecast['items'])} items)" if "items" in forecast else ""
            parts.append(f"{task} {100 * least:.1f} points{items}")
    return ", ".join(parts)


def _problem(files: RunFiles) -> str:
    """What a reader must know when the run did not end well."""
    status = str(files.state.get("status", ""))
    if status not in ("failed", "interrupted", "crashed"):
        return ""
    message = str(files.state.get("message") or "").strip()
    return f"This run is {status}: the report shows what was written until then. {message}".strip()


def _arms(files: RunFiles) -> list[str]:
    scored = {row.arm for row in files.results.rows} | {file.arm for file in files.samples}
    return sorted(scored, key=arm_order)


def _command(files: RunFiles) -> str:
    folder = Path(str(files.setting("runs", "."))) / files.name
    return f"graft run {folder / 'recipe.yaml'}" if files.recipe_text else ""
