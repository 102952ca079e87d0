"""Sampling and servers through the whole of `graft eval`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.models.stand_in import Answer, Asked, serving

from graft.config.grid import sampling_grid
from graft.config.loading import Resolved
from graft.config.schema import SamplingSection
from graft.errors import ConfigError
from graft.models.sampling import from_section
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import evaluate, report, run
from graft.report.decode import decode
from graft.runs.files import read_json
from graft.runs.samples import read_samples
from graft.types import Sampling

SMALL: dict[str, Any] = {"eval__tasks": "[spelling, count]", "eval__items": 12, "eval__seen_items": 0}


def grid_rows(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_json(folder / "sampling_grid.json")["rows"]
    return rows


def test_a_grid_scores_every_combination_once(
    small_recipe: Callable[..., Resolved], toy_folder: Path, tmp_path: Path
) -> None:
    resolved = small_recipe(tmp_path, **SMALL)
    grid = "temperature=0,1.5 top_p=0.5,1"
    outcome = evaluate(str(toy_folder), resolved, progress=SilentProgress(), sampling_grid=grid)
    rows = grid_rows(outcome.run.path)
    used = [decode(Sampling, row["sampling"], "row") for row in rows if row["task"] == "count"]
    greedy = Sampling(max_new_tokens=6)
    drawn = Sampling(temperature=1.5, max_new_tokens=6)
    assert used == [greedy, Sampling(temperature=1.5, top_p=0.5, max_new_tokens=6), drawn]  # greedy means one thing
    assert all(row["n"] == 12 for row in rows)
    files = sorted(path.name for path in (outcome.run.samples / "grid").iterdir())
    assert len(files) == 4  # the run's own sampling is not scored twice
    replies = {tuple(record["reply"] for record in read_samples(outcome.run.samples / "grid" / name)) for name in files}
    assert len(replies) == 4
    assert outcome.table.rows[0][2].startswith("greedy")
    page = outcome.report.read_text(encoding="utf-8") if outcome.report else ""
    assert "temperature 1.5, top_p 0.5" in page
    assert "Replies: greedy, at most 6 tokens." in page


def test_a_grid_goes_on_where_it_stopped(
    small_recipe: Callable[..., Resolved], toy_folder: Path, tmp_path: Path
) -> None:
    resolved = small_recipe(tmp_path, **SMALL)
    first = evaluate(str(toy_folder), resolved, progress=SilentProgress(), sampling_grid="temperature=1")
    before = {path: path.stat().st_mtime_ns for path in (first.run.samples / "grid").iterdir()}
    again = evaluate(first.run.name, resolved, progress=SilentProgress(), sampling_grid="temperature=1,1.5")
    assert again.run.path == first.run.path
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(grid_rows(first.run.path)) == 4


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("temperature=3", r"sampling.temperature must be at most 2, but got 3"),
        ("top_q=1", r"unknown key sampling.top_q. Did you mean sampling.top_p"),
        ("temperature", r"each part is written key=value,value"),
        ("temperature=0, 0.7", r"each part is written key=value,value"),
        ("top_p=1 top_p=0.5", r"names top_p twice"),
        ("  ", r"is empty"),
    ],
)
def test_a_grid_that_cannot_be_read_says_why(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        sampling_grid(text, SamplingSection())


def test_a_grid_keeps_what_it_does_not_name() -> None:
    base = SamplingSection(preset="qwen3-thinking", max_new_tokens=9, seed=5)
    cold, hot = (from_section(section) for section in sampling_grid("temperature=0.1,2", base))
    assert cold == Sampling(0.1, 0.95, 20, 0.0, 9, 1.0, 5)
    assert hot == Sampling(2.0, 0.95, 20, 0.0, 9, 1.0, 5)


def test_the_results_hold_the_sampling(small_recipe: Callable[..., Resolved], toy_folder: Path, tmp_path: Path) -> None:
    resolved = small_recipe(tmp_path, **SMALL, sampling__preset="qwen3-non-thinking", sampling__seed=4)
    outcome = evaluate(str(toy_folder), resolved, progress=SilentProgress())
    (sampling,) = {json.dumps(row["sampling"]) for row in read_json(outcome.run.path / "results.json")["rows"]}
    assert decode(Sampling, json.loads(sampling), "row") == Sampling(0.7, 0.8, 20, 0.0, 6, 1.0, 4)
    records = read_samples(outcome.run.samples_file("base.count"))
    assert all(record["generated"] and record["exact_from"] == "one pass" for record in records)
    assert outcome.notes[-1] == "replies: temperature 0.7, top_p 0.8, top_k 20, min_p 0, seed 4, at most 6 tokens"


def openai(asked: Asked) -> Answer:
    """A model that answers every question with 2."""
    reply = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "2"}}
    return Answer({"choices": [reply], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})


def test_a_server_is_scored_by_its_replies_alone(small_recipe: Callable[..., Resolved], tmp_path: Path) -> None:
    with serving(openai) as server:
        resolved = small_recipe(tmp_path, **SMALL, model__backend="openai", model__url=server.url)
        outcome = evaluate("served:1b", resolved, progress=SilentProgress())
    records = read_samples(outcome.run.samples_file("base.count"))
    assert len(records) == 12
    assert any(record["strict"] for record in records)
    for record in records:
        assert record["exact"] == record["strict"] == (record["gold"] == "2")
        assert (record["exact_from"], record["generated"]) == ("strict reply", True)
        assert record["prompt_ids"] is record["rendered"] is None
        assert record["reply_tokens"] == 2
        assert "word_tokens" not in record["strata"]
    assert {asked.body["model"] for asked in server.asked} == {"served:1b"}
    page = report(outcome.run).read_text(encoding="utf-8")
    assert "exact match here is the strict score of the generated reply" in page


def test_a_server_with_a_known_tokenizer_is_broken_down_by_tokens(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    with serving(openai) as server:
        more = {"model__backend": "openai", "model__url": server.url, "model__tokenizer": "sprout"}
        outcome = evaluate("served:1b", small_recipe(tmp_path, **SMALL, **more), progress=SilentProgress())
    assert all("word_tokens" in r["strata"] for r in read_samples(outcome.run.samples_file("base.count")))


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"model__url": "http://x/v1"}, r"model.url is http://x/v1, but backend transformers"),
        ({"model__backend": "openai"}, r"model.url is missing"),
        ({"sampling__top_p": 1.5}, r"sampling.top_p must be at most 1, but got 1.5"),
        ({"sampling__temperature": -0.1}, r"sampling.temperature must be at least 0"),
        ({"sampling__top_k": -1}, r"sampling.top_k must be at least 0"),
        ({"sampling__min_p": 2}, r"sampling.min_p must be at most 1"),
        ({"sampling__preset": "qwen3-thinkin"}, r"Did you mean qwen3-thinking"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    setting: dict[str, Any], why: str, small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=why):
        small_recipe(tmp_path, **setting)


def test_a_server_is_not_trained(small_recipe: Callable[..., Resolved], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.backend is ollama, which can be scored but not trained"):
        run(small_recipe(tmp_path, model__backend="ollama"), progress=SilentProgress())
