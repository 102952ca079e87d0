import shutil
from pathlib import Path

import pytest
from run_builder import RunBuilder

from graft.errors import RunError
from graft.report.html import write_report
from graft.report.load import load
from graft.stats import Verdict

REST = '"split": "eval", "right": true'
"""What every reply has beside."""


def test_a_complete_run_is_read(example: Path) -> None:
    files = load(example)
    assert files.tasks == ("spelling", "position", "count")
    assert files.study is not None and files.study.verdict in Verdict
    assert len(files.replies["position"]["trained"]) == 150  # held-out items only
    assert set(files.replies["count"]) == {"base", "trained", "format"}
    assert files.setting("train.learning_rate") == 0.003
    assert files.setting("train.no_such", "x") == "x"


FILES = (
    "recipe.yaml",
    "run.json",
    "provenance.json",
    "audit.json",
    "forecast.json",
    "metrics.jsonl",
    "samples",
    "results.json",
    "verdict.json",
)


def test_every_file_may_be_missing(build: RunBuilder, tmp_path: Path) -> None:
    complete = build(words=20, seeds=(0,), study=False, seen=0)
    for place in FILES:
        folder = tmp_path / place
        shutil.copytree(complete, folder)
        target = folder / place
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        assert "</html>" in write_report(folder).read_text()


def test_a_verdict_without_the_scores_behind_it_is_still_shown(example: Path, tmp_path: Path) -> None:
    shutil.copy(example / "verdict.json", tmp_path)
    text = write_report(tmp_path).read_text()
    assert 'id="table-results"' in text and 'id="seeds"' in text and 'id="scores"' not in text


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path: Path) -> None:
    assert "This run holds no scores yet." in write_report(tmp_path).read_text()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("results.json", '{"rows": [\n{"arm": }]}', "results.json"),
        ("results.json", "[1]", "results.json, line 1"),
        ("results.json", '{"rows": [{"arm": "base", "seed": null, "task": "count", "n": 3}]}', "rows[0]"),
        ("verdict.json", '{"study": {"verdict": "maybe"}}', "verdict.json.study.verdict"),
        ("audit.json", '{"ok": tru', "audit.json"),
        ("metrics.jsonl", '{"step": 1}\nnot json\n{"step": 2}\n', "metrics.jsonl, line 2"),
        ("recipe.yaml", "a: 1\nb: [1\n", "recipe.yaml, line"),
        ("recipe.yaml", "- 1\n", "recipe.yaml, line 1"),
        ("samples/base.count.jsonl", f'{{"id": "a", "exact": "no", {REST}}}\n', "base.count.jsonl, line 1"),
        ("samples/base.count.jsonl", f'{{"id": "a", "exact": true, {REST}}}\n{{"id": "b"}}\n', "line 2"),
    ],
)
def test_a_damaged_file_is_named_with_its_place(build: RunBuilder, file: str, text: str, expected: str) -> None:
    folder = build(words=20, seeds=(0,), study=False, seen=0)
    (folder / file).write_text(text)
    with pytest.raises(RunError) as error:
        load(folder)
    assert expected in str(error.value)


def test_a_torn_last_line_of_the_samples_is_left_out(build: RunBuilder) -> None:
    folder = build(words=20, seeds=(0,), study=False, seen=0)
    path = folder / "samples" / "base.count.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert len(load(folder).replies["count"]["base"]) == 19


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere"):
        load(tmp_path / "nowhere")
