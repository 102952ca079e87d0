import json
import xml.etree.ElementTree as ET
from pathlib import Path

from run_builder import RunBuilder

from graft.report.figures import draw_charts
from graft.report.html import write_report
from graft.report.load import load


def test_all_charts_are_there_and_every_seed_is_drawn(example: Path) -> None:
    charts = {chart.name: chart for chart in draw_charts(load(example))}
    assert list(charts) == ["change", "accuracy", "loss", "strata", "phrasing", "seen"]
    assert [panel.title for panel in charts["accuracy"].panels] == ["spelling", "position", "count"]
    assert [panel.title for panel in charts["loss"].panels] == ["Trained", "Format control"]
    assert all(seed in charts["loss"].panels[0].svg for seed in (">seed 0<", ">seed 1<"))


def test_charts_are_the_same_bytes_every_time(example: Path) -> None:
    files = load(example)
    assert draw_charts(files) == draw_charts(files)
    assert "dc:date" not in draw_charts(files)[0].panels[0].svg


def test_charts_say_what_they_show_and_share_no_ids(example: Path) -> None:
    panels = [panel for chart in draw_charts(load(example)) for panel in chart.panels]
    ids: list[str] = []
    for panel in panels:
        root = ET.fromstring(panel.svg)
        assert root.attrib["role"] == "img" and panel.title.split()[0] in root.attrib["aria-label"]
        ids += [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids)) > 0


def test_figures_are_saved_beside_the_report(build: RunBuilder) -> None:
    folder = build(words=60, seeds=(0,), study=False)
    write_report(folder)
    saved = sorted(path.name for path in (folder / "figures").glob("*.svg"))
    assert "accuracy-count.svg" in saved and "loss-trained.svg" in saved
    assert not [name for name in saved if name.startswith(("change", "stratum"))]
    for name in saved:
        ET.parse(folder / "figures" / name)


def test_names_with_markup_or_mathematics_are_drawn_as_text(build: RunBuilder) -> None:
    folder = build(words=40, seeds=(0,), study=False, seen=0)
    text = (folder / "results.json").read_text().replace('"short"', json.dumps("<b>$\\frac$ & 字"))
    (folder / "results.json").write_text(text)
    panel = next(chart for chart in draw_charts(load(folder)) if chart.name == "phrasing").panels[0]
    assert "&lt;b&gt;$\\frac$ &amp; 字" in panel.svg


def test_a_step_logged_twice_counts_once(build: RunBuilder) -> None:
    folder = build(words=40, seeds=(0,), study=False, seen=0)
    lines = [{"arm": "trained-seed0", "step": step, "loss": loss} for step, loss in ((10, 2.0), (20, 9.0), (20, 1.0))]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    panel = next(chart for chart in draw_charts(load(folder)) if chart.name == "loss").panels[0]
    assert panel.label == "Trained: training loss, seed 0 from 2.00 to 1.00"


def test_the_stopping_point_and_the_best_step_are_drawn(build: RunBuilder) -> None:
    folder = build(words=40, seeds=(0,), study=False, seen=0)
    lines = [{"arm": "trained-seed0", "step": step, "loss": 3 - step / 20} for step in (10, 20, 30)]
    lines += [
        {"arm": "trained-seed0", "step": step, "held_out/loss": loss} for step, loss in ((10, 2), (20, 1), (30, 2))
    ]
    plain = [*lines, {"arm": "trained-seed0", "step": 30, "event": "trained", "steps": 30}]
    ended = {"event": "trained", "steps": 30, "stopped_early": 1, "best_step": 20}
    found = []
    for rows in (plain, [*lines, {"arm": "trained-seed0", "step": 30, **ended}]):
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found.append(next(chart for chart in draw_charts(load(folder)) if chart.name == "loss"))
    without, with_end = (chart.panels[0] for chart in found)
    assert without.label == "Trained: training loss, seed 0 from 2.50 to 1.50 (held-out from 2.00 to 2.00)"
    assert with_end.label == f"{without.label}, stopped early at step 30, best at step 20"
    assert with_end.svg.count("<path") > without.svg.count("<path")
    assert "star marks" in found[1].caption and "star marks" not in found[0].caption
