import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_builder import RunBuilder

from graft.report.figures import draw_charts
from graft.report.html import write_report
from graft.report.load import load
from graft.report.measures import scoring_table, seeds_table, split_table, strata_tables
from graft.report.numbers import percent, points, points_with_interval
from graft.report.sampling import code_notes
from graft.report.tables import Cell, Table, arms_table, find_contrast, main_table, result_table


def by_name(table: Table) -> dict[str, dict[str, Cell]]:
    return {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_the_result_table_holds_the_verdicts_own_numbers(example: Path) -> None:
    columns, rows = result_table(example)
    assert [row[0] for row in rows] == ["spelling", "position", "count"]
    study = load(example).study
    assert study is not None
    for target, row in zip(study.targets, rows[1:], strict=True):
        cells = dict(zip(columns, row, strict=True))
        for column, before in (("Trained − base", "base"), ("Trained − format", "format")):
            contrast = find_contrast(target, "trained", before)
            assert contrast is not None
            assert cells[column] == points_with_interval(contrast.change.estimate, contrast.change.interval)
            assert "[" in cells[column]
        assert cells["Verdict"] == target.verdict.value
    assert rows[0][-1] == "learned"


def test_a_run_without_a_study_shows_what_was_measured(build: RunBuilder) -> None:
    folder = build(study=False, words=60, hostile=False)
    row = by_name(main_table(load(folder)))["spelling"]
    stored = json.loads((folder / "results.json").read_text())["rows"]
    own = [
        r["exact"]
        for r in stored
        if (r["task"], r["arm"], r["split"]) == ("spelling", f"trained-seed{r['seed']}", "eval")
    ]
    base = [r["exact"] for r in stored if (r["task"], r["arm"], r["split"]) == ("spelling", "base", "eval")]
    assert row["Trained"].text == percent(sum(own) / 2)
    assert row["Trained − base"].text == points(sum(own) / 2 - base[0])
    assert row["Verdict"].text == "–"


def test_every_dash_has_a_footnote_with_its_reason(build: RunBuilder, change_json: Callable[..., None]) -> None:
    folder = build(words=40, study=False)

    def only_base(value: Any) -> None:
        value["rows"] = [row for row in value["rows"] if row["arm"] == "base"]
        for row in value["rows"]:
            row["strict"] = None

    change_json(folder / "results.json", only_base)
    files = load(folder)
    for table in (main_table(files), arms_table(files), scoring_table(files), split_table(files)):
        dashes = [cell for row in table.rows for cell in row if cell.text == "–"]
        assert all(cell.note and table.mark(cell) for cell in dashes), table.name
    assert by_name(main_table(files))["count"]["Trained"].note == "the arm 'trained' was not scored"
    assert by_name(scoring_table(files))["count"]["Strict"].text == "–"


def test_passes_that_a_program_could_have_made_itself_are_told(
    build: RunBuilder, change_json: Callable[..., None]
) -> None:
    folder = build(words=40)
    assert code_notes(load(folder)) == ()

    def of_programs(value: Any) -> None:
        for row in value["rows"]:
            if row["task"] == "count":
                share = 0.25 if row["arm"].startswith("trained") else 0.0
                row["details"] = {"passed": 0.5, "could_have_cheated": share, "weak_sandbox": 1.0}

    change_json(folder / "results.json", of_programs)
    cheated, weak = code_notes(load(folder))
    assert cheated.startswith("count: share of the items that passed where the program could have made the verdict")
    assert "Trained 25.0%" in cheated and "Base 0.0%" in cheated
    assert "weak sandbox" in weak and cheated in write_report(folder).read_text()


def test_the_two_parts_of_the_lenient_change_add_up(example: Path) -> None:
    files = load(example)
    for task, row in by_name(split_table(files)).items():
        rows = [r for r in files.results.rows if (r.task, r.split) == (task, "eval")]
        base = next(r for r in rows if r.arm == "base").lenient
        trained = [r.lenient for r in rows if r.arm == "trained"]
        assert row["Lenient change"].text == points(sum(trained) / len(trained) - base)
        whole, *parts = (
            float(row[column].text.replace("−", "-"))
            for column in ("Lenient change", "From more replies parsed", "From parsed replies being right")
        )
        assert math.isclose(whole, sum(parts), abs_tol=0.11)


def test_replies_that_never_parse_leave_the_second_part_undefined(
    build: RunBuilder, change_json: Callable[..., None]
) -> None:
    folder = build(words=40, study=False)

    def never(value: Any) -> None:
        for row in value["rows"]:
            if row["arm"] == "base":
                row["parsed"] = row["lenient"] = 0.0

    change_json(folder / "results.json", never)
    row = by_name(split_table(load(folder)))["count"]
    assert row["Lenient change"].text.startswith("+")
    assert row["From parsed replies being right"] == Cell("–", "base or trained has no parsed replies")


def test_every_seed_is_listed_with_gains_and_losses(example: Path) -> None:
    files = load(example)
    table = seeds_table(files)
    assert table is not None and files.study is not None
    targets = [row for row in table.rows if row[0].text == "count"]
    assert [row[2].text for row in targets] == ["0", "1", "0", "1"]
    test = files.study.targets[1].contrasts[0].mcnemar[1]
    assert (targets[1][4].text, targets[1][5].text) == (str(test.gained), str(test.lost))


def test_the_control_that_answers_as_the_base_does_is_listed_by_seed_and_drawn(example: Path) -> None:
    files = load(example)
    assert files.study is not None
    own = [replace(contrast, before="self") for contrast in files.study.targets[1].contrasts[1:2]]
    target = replace(files.study.targets[1], contrasts=(*files.study.targets[1].contrasts, *own))
    study = replace(files.study, targets=(target,))
    files = replace(files, conclusion=replace(files.conclusion, study=study))
    table = seeds_table(files)
    assert table is not None
    assert [row[1].text for row in table.rows if row[0].text == "count"][-2:] == ["Trained − self control"] * 2
    [chart] = [chart for chart in draw_charts(files) if chart.name == "change"]
    assert "minus self control" in chart.panels[-1].label


def test_of_two_controls_the_one_that_comes_nearest_stands_in_the_main_table(example: Path) -> None:
    files = load(example)
    assert files.study is not None
    target = files.study.targets[1]
    nearer = replace(target.contrasts[1], before="self")
    moved = replace(nearer, change=replace(nearer.change, estimate=target.contrasts[1].change.estimate - 0.01))
    own = replace(next(arm for arm in target.arms if arm.arm == "format"), arm="self")
    target = replace(target, contrasts=(*target.contrasts, moved), arms=(*target.arms, own))
    rows = (*files.results.rows, replace(files.results.rows[0], arm="self"))
    files = replace(
        files,
        results=replace(files.results, rows=rows),
        conclusion=replace(files.conclusion, study=replace(files.study, targets=(target,))),
    )
    table = main_table(files)
    assert (table.columns[3], table.columns[5]) == ("Nearest control", "Trained − nearest")
    row = by_name(table)["count"]
    assert row["Nearest control"].text.endswith("% (self)")
    assert row["Trained − nearest"].text.startswith(f"{100 * moved.change.estimate:+.1f}".replace("-", "−"))


def test_strata_are_called_exploratory_in_every_caption(example: Path) -> None:
    tables = strata_tables(load(example))
    assert [table.name for table in tables] == ["strata-spelling", "strata-position", "strata-count"]
    assert all("exploratory" in table.caption and "Benjamini–Hochberg" in table.caption for table in tables)
    assert {cell.text for row in tables[0].rows for cell in row[1:2]} >= {"yes", "no", "10"}


def test_trivial_answers_stand_beside_the_arms(example: Path) -> None:
    row = by_name(arms_table(load(example)))["Trivial answers"]
    assert row["count"].text == "always 1 35.6%, word length 2.1%"


@pytest.mark.parametrize("task", ["spelling", "position", "count"])
def test_every_arm_has_an_interval(example: Path, task: str) -> None:
    rows = by_name(arms_table(load(example)))
    assert all("[" in rows[arm][task].text for arm in ("Base", "Trained", "Format control"))
