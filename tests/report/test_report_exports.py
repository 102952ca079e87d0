"""The section "What leaves the lab": artefacts, how they were compared, and what their items gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graft.report.exports import exports_chart, exports_table, read_artefacts
from graft.report.html import render
from graft.report.load import load


def scores(change: float, same: float) -> dict[str, Any]:
    interval = {
        "estimate": change, "low": change - 0.02, "high": change + 0.02, "level": 0.95, "n": 500, "reason": "",
    }  # fmt: skip
    task = {
        "measure": "lenient", "n": 500, "branch": 0.6, "exported": 0.6 + change, "change": interval,
        "same_replies": same, "smallest_loss": 0.031,
    }  # fmt: skip
    return {"runtime": "llama.cpp", "tasks": {"count": task}, "seconds": 9.0, "tokens_per_second": 1234.5}


def run_with(folder: Path, *records: dict[str, Any]) -> Path:
    (folder / "exports").mkdir()
    (folder / "exports" / "trained-seed0-gguf-f16.count.jsonl").write_text("{}\n")
    for index, record in enumerate(records):
        (folder / "exports" / f"{index}.json").write_text(json.dumps({"arm": "trained-seed0", **record}))
    return folder


def test_every_artefact_has_a_row_for_each_task_and_grids_get_a_figure(tmp_path: Path) -> None:
    files = {
        "f16": {"bytes": 2_000_000, "summary": "all the same", "scores": scores(0.0, 1.0)},
        "q4_k_m": {"bytes": 700_000, "summary": "14 of 16", "scores": scores(-0.05, 0.8)},
    }
    grid = {"form": "gguf", "dtype": "float32", "bytes": 2_700_000, "summary": "both", "files": files}
    merged = {"form": "merged", "dtype": "bfloat16", "bytes": 2_000_001, "summary": "16 of 16"}
    found = load(run_with(tmp_path, grid, merged))
    artefacts = read_artefacts(found)
    table, chart = exports_table(artefacts), exports_chart(artefacts)
    assert table is not None and chart is not None
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts[0][:3] == ["trained-seed0, merged bfloat16", "2.0 MB", "–"]
    assert texts[1] == [
        "trained-seed0, gguf f16", "2.0 MB", "count", "500", "60.0%", "60.0%", "0.0 [−2.0, +2.0]", "100.0%", "−3.1",
        "1,234", "all the same",
    ]  # fmt: skip
    assert texts[2][5:8] == ["55.0%", "−5.0 [−7.0, −3.0]", "80.0%"]
    assert "graft export --score" in table.footnotes[0]
    assert [panel.title for panel in chart.panels] == ["count"]
    page = render(found, ())
    assert "What leaves the lab" in page and "Size against accuracy" in page


def test_a_run_that_exported_nothing_has_no_such_section(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert exports_table(read_artefacts(found)) is None
    assert "What leaves the lab" not in render(found, ())
