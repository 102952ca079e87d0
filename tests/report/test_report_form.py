from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from run_builder import RunBuilder

from graft.report.form import collateral_table, form_table
from graft.report.html import write_report
from graft.report.load import load
from graft.report.tables import main_table
from graft.runs.files import write_json
from graft.stats import TaskScores, judge, to_json

N = 600
WORDS = np.arange(N)


def right(share: float, seeds: int = 5) -> np.ndarray:
    return np.tile(np.arange(N) < share * N, (seeds, 1))


def scores(task: str, trained: float, **more: object) -> TaskScores:
    arms = {"trained": right(trained), "format": right(0.5)}
    return TaskScores(task, WORDS, right(0.5)[0], arms, **more)  # type: ignore[arg-type]


def judged(folder: Path) -> Path:
    """A run whose exact match rose with the form, while one task of general ability got worse."""
    strict = {"base": right(0, 1), "trained": right(0.2), "format": right(0.2)}
    parsed = {"base": right(0.7, 1), "trained": right(1), "format": right(1)}
    study = judge(
        scores("spelling", 0.7),
        [scores("position", 0.5, strict=strict, parsed=parsed), scores("count", 0.5)],
        audit_ok=True,
        collateral=[scores("sums", 0.4)],
    )
    write_json(folder / "verdict.json", {"study": to_json(study), "strata": []})
    return folder


def test_form_and_skill_stand_side_by_side_for_each_rival(build: RunBuilder) -> None:
    table = form_table(load(judged(build("run"))))
    assert table is not None
    shown = [tuple(cell.text for cell in row) for row in table.rows]
    assert [row[0] for row in shown] == ["position", "position"]  # nothing was recorded of count
    assert shown[0][2].startswith("0.0 [") and shown[0][3].startswith("+20.0 [") and shown[0][4].startswith("+30.0 [")
    assert shown[0][5].startswith("−21.4 [")  # 50 of 70 readable replies were right, now 50 of 100


def test_harm_to_a_collateral_task_is_told_in_table_and_page(build: RunBuilder) -> None:
    folder = judged(build("run"))
    table = collateral_table(load(folder))
    assert table is not None and [cell.text for cell in table.rows[0]][-1] == "yes"
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Training on spelling harmed sums: −10.0 points" in page and "Form and skill" in page


def test_a_run_without_them_has_no_such_tables(build: RunBuilder) -> None:
    files = load(build("run"))
    assert form_table(files) is None and collateral_table(files) is None


def test_the_main_table_tells_harm_to_a_collateral_task_with_its_interval(build: RunBuilder) -> None:
    folder = judged(build("run"))
    results = json.loads((folder / "results.json").read_text())
    results["rows"] += [{**row, "task": "sums"} for row in results["rows"] if row["task"] == "count"]
    write_json(folder / "results.json", results)
    row = next(row for row in main_table(load(folder)).rows if row[0].text == "sums")
    assert row[4].text.startswith("−10.0 [") and row[-1].text == "harmed" and row[-2].text == "< 0.001"
