from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.test_pretrain import paragraphs

from graft.config.loading import Resolved
from graft.errors import ConfigError
from graft.evals.perplexity import TextFit, measure_texts
from graft.models.loading import load_model, load_tokenizer
from graft.pipeline.outcome import Outcome
from graft.pipeline.prepare.corpora import Corpus, prepare_corpus
from graft.pipeline.prepare.forecast import forecast
from graft.pipeline.prepare.lab import prepare
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import report, run
from graft.pipeline.score.corpora import corpus_records
from graft.report.load import load
from graft.report.tables import corpora_table
from graft.runs.metrics import read_metrics
from graft.runs.samples import read_samples
from graft.stats.ratios import ratio_change
from graft.tasks.prose import ProseTask

Build = Callable[..., Resolved]
LINES = [f"Line {text}" for text in paragraphs(60, words=10)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_recipe: Build) -> Outcome:
    """Pretraining on lines, with word tasks scored beside the held-out ones, two seeds."""
    folder = tmp_path_factory.mktemp("corpora")
    path = folder / "lines.txt"
    path.write_text("\n".join(LINES))
    resolved = small_recipe(
        folder / "runs",
        mode="pretrain",
        data__tasks=[{"name": "lines", "train": str(path), "held_out": 0.4}],
        data__train="lines",
        eval__tasks=["lines", "spelling"],
        eval__seen_items=0,
        study__seeds=[0, 1],
        train__eval_steps=2,
        train__learning_rate=1e-2,
    )
    return run(resolved, progress=SilentProgress())


def test_every_arm_leaves_one_record_per_text(finished: Outcome) -> None:
    files = {path.name for path in finished.run.samples.glob("*.lines.jsonl")}
    assert files == {f"{arm}.lines.jsonl" for arm in ("base", "trained-seed0", "trained-seed1")}
    records = [read_samples(finished.run.samples / name) for name in sorted(files)]
    assert all(record.keys() >= {"id", "nats", "tokens", "bytes", "arm", "seed"} for of in records for record in of)
    assert len({tuple(record["id"] for record in of) for of in records}) == 1 and len(records[0]) > 10


def test_totals_and_the_change_are_those_of_the_stored_records(finished: Outcome) -> None:
    corpora = json.loads((finished.run.path / "results.json").read_text())["corpora"]
    stored = {row["arm"]: read_samples(finished.run.samples / f"{row['arm']}.lines.jsonl") for row in corpora["rows"]}
    bits = {}
    for row in corpora["rows"]:
        nats, tokens, size = (sum(record[key] for record in stored[row["arm"]]) for key in ("nats", "tokens", "bytes"))
        bits[row["arm"]] = nats / math.log(2) / size
        assert row["perplexity"] == pytest.approx(math.exp(nats / tokens))
        assert row["bits_per_byte"] == pytest.approx(bits[row["arm"]])
    [change] = corpora["changes"]
    expected = (bits["trained-seed0"] + bits["trained-seed1"]) / 2 - bits["base"]
    interval = change["bits_per_byte"]
    assert interval["estimate"] == pytest.approx(expected)
    assert interval["low"] < interval["estimate"] < interval["high"] < 0
    assert change["seeds"] == 2 and 0 < change["perplexity_ratio"]["high"] < 1


def test_corpora_stay_out_of_the_transfer_study_and_its_forecast(finished: Outcome) -> None:
    verdict = json.loads(finished.run.verdict.read_text())
    results = json.loads((finished.run.path / "results.json").read_text())
    assert verdict["study"] is None and verdict["learned"] == []
    assert {row["task"] for row in verdict["strata"]} <= {"spelling"}
    assert {row["task"] for row in results["rows"]} == {"spelling"}
    assert set(json.loads((finished.run.path / "forecast.json").read_text())["tasks"]) == {"spelling"}


def test_the_report_and_the_terminal_show_the_perplexities(finished: Outcome) -> None:
    files = load(finished.run)
    table = corpora_table(files)
    assert [row[1].text for row in table.rows] == ["base", "trained", "trained"]
    assert "[-" in table.rows[1][-1].text
    page = (finished.run.path / "report.html").read_text()
    assert 'id="perplexity"' in page and "Bits per byte" in page
    assert "perplexity of lines" in " ".join((finished.headline, *finished.notes))
    assert any(key.endswith("lines/bits_per_byte") for key in json.loads(finished.run.summary.read_text())["metrics"])


def test_the_report_is_made_again_from_the_run_alone(finished: Outcome) -> None:
    before = (finished.run.path / "results.json").read_text()
    report(finished.run)
    assert (finished.run.path / "results.json").read_text() == before


def test_held_out_loss_during_training_counts_the_texts(finished: Outcome) -> None:
    lines = [line for line in read_metrics(finished.run.metrics) if "held_out/loss" in line]
    assert [line["step"] for line in lines] == [2, 4, 2, 4]
    assert lines[1]["held_out/loss"] < lines[0]["held_out/loss"]
    assert all("held_out/exact/lines" not in line and "held_out/exact/spelling" in line for line in lines)


def test_a_run_that_only_scores_a_corpus_shows_its_table(tmp_path: Path, small_recipe: Build) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(" ".join(LINES[start:] + LINES[:start]) for start in range(60)))
    resolved = small_recipe(
        tmp_path / "runs", data__corpus=[str(path)], eval__tasks=["prose"], eval__items=20, study__arms=["base"]
    )
    outcome = run(resolved, progress=SilentProgress())
    assert outcome.table.columns[:3] == ("Corpus", "Arm", "Seed") and len(outcome.table.rows) == 1
    assert outcome.headline.startswith("perplexity of prose on 20 held-out texts: base")


def test_a_servers_model_tells_no_likelihoods(small_recipe: Build, tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(LINES))
    recipe = small_recipe(tmp_path, model__backend="ollama", study__arms=["base"]).recipe
    with pytest.raises(ConfigError, match=r"eval\.tasks holds prose, whose score is a perplexity, but model\.backend"):
        prepare_corpus(recipe, ProseTask([path]))


def test_a_long_text_is_cut_and_its_nats_are_those_of_all_its_pieces(toy_folder: Path) -> None:
    model, tokenizer = load_model(str(toy_folder), device="cpu"), load_tokenizer(str(toy_folder))
    texts = (" ".join(LINES), LINES[0], LINES[1])
    corpus = Corpus("lines", ("a", "b", "c"), texts)
    records = list(corpus_records(model, tokenizer, corpus, max_length=32, batch_size=4))
    expected = measure_texts(model, tokenizer, texts, max_length=32, batch_size=1)
    assert [record["nats"] for record in records] == pytest.approx([fit.nats for fit in expected], rel=1e-5)
    assert [record["bytes"] for record in records] == [len(text.encode()) for text in texts]
    assert records[0]["tokens"] == len(tokenizer(texts[0], add_special_tokens=False)["input_ids"])


def test_the_interval_of_a_ratio_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        sizes = rng.integers(20, 400, size=150).astype(float)
        before = sizes * rng.normal(1.2, 0.2, size=150)
        after = before + sizes * rng.normal(-0.1, 0.15, size=150)
        found = ratio_change(before, after, sizes, rng, resamples=400)
        inside += found.low <= -0.1 <= found.high
    assert 180 <= inside <= 199


def test_a_ratio_of_one_text_has_no_interval_and_says_why() -> None:
    found = ratio_change([10.0], [8.0], [4.0], np.random.default_rng(0))
    assert found.estimate == -0.5 and math.isnan(found.low) and "one text only" in found.reason
    lost = ratio_change([10.0, math.nan], [8.0, 8.0], [4.0, 4.0], np.random.default_rng(0))
    assert math.isnan(lost.estimate) and "finite" in lost.reason


def test_texts_add_up_as_the_row_says() -> None:
    whole = TextFit(2.0, 4, 8) + TextFit(6.0, 4, 8)
    assert (whole.perplexity, whole.bits_per_byte) == pytest.approx((math.e, 8 / math.log(2) / 16))


def test_the_forecast_of_a_lab_with_corpora_alone_names_no_task(tmp_path: Path, small_recipe: Build) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(" ".join(LINES[start:] + LINES[:start]) for start in range(60)))
    settings: dict[str, Any] = {"data__corpus": [str(path)], "eval__tasks": ["prose"], "study__arms": ["base"]}
    assert forecast(prepare(small_recipe(tmp_path, **settings).recipe), {})["tasks"] == {}
