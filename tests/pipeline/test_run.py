from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graft.config.loading import Resolved, load_recipe
from graft.config.writing import to_yaml
from graft.errors import ConfigError, GraftError
from graft.pipeline.judge.conclude import read_records
from graft.pipeline.judge.scores import task_scores
from graft.pipeline.outcome import Outcome
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import evaluate, report, run, train
from graft.runs.directory import RunDirectory
from graft.runs.files import is_committed
from graft.runs.listing import list_runs
from graft.runs.metrics import read_metrics
from graft.runs.samples import read_samples

Build = Callable[..., Resolved]
ARMS = ("base", "prompted", "trained-seed0", "format-seed0", "shuffled-seed0", "direct-position-seed0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_recipe: Build) -> Outcome:
    """A study with every arm, run once for the tests of this file."""
    arms = ["base", "trained", "format", "shuffled", "direct", "prompted"]
    resolved = small_recipe(tmp_path_factory.mktemp("runs"), study__arms=arms, eval__tasks=["spelling", "position"])
    return run(resolved, progress=SilentProgress())


def test_a_run_leaves_everything_it_promises(finished: Outcome) -> None:
    names = {path.name for path in finished.run.path.iterdir()}
    assert names >= {
        "recipe.yaml", "provenance.json", "metrics.jsonl", "samples", "checkpoints", "logs", "tensorboard", "figures",
        "report.html", "audit.json", "forecast.json", "results.json", "verdict.json", "summary.json",
    }  # fmt: skip
    assert finished.run.log.read_text().count("scored on") == len(ARMS) * 2
    assert {path.name for path in finished.run.samples.iterdir()} == {
        f"{arm}.{task}.jsonl" for arm in ARMS for task in ("spelling", "position")
    }


def test_every_scored_item_is_stored_whole(finished: Outcome) -> None:
    records = read_samples(finished.run.samples / "trained-seed0.position.jsonl")
    assert [sum(r["split"] == split for r in records) for split in ("eval", "seen")] == [60, 20]
    keys = {"prompt", "rendered", "gold", "reply", "prompt_ids", "reply_ids", "gold_ids", "exact", "strict", "strata"}
    assert all(record.keys() >= keys for record in records)
    assert all(record["strata"]["pieces"].replace("|", "") == record["word"] for record in records)


def test_no_held_out_word_is_trained(finished: Outcome) -> None:
    splits: dict[str, set[str]] = {"eval": set(), "seen": set()}
    for path in finished.run.samples.iterdir():
        for record in read_samples(path):
            splits[record["split"]].add(record["word"])
    assert not splits["eval"] & splits["seen"]
    audit = json.loads((finished.run.path / "audit.json").read_text())
    assert (audit["ok"], audit["train_words"], audit["eval_words"]) == (True, 200, 60)


def test_all_arms_are_scored_on_the_same_items(finished: Outcome) -> None:
    recipe = load_recipe(finished.run.recipe).recipe
    scores = task_scores(finished.run, read_records(finished.run, recipe), "position", "strict", "constrained")
    assert set(scores.arms) == {"trained", "format", "shuffled", "direct"}
    assert scores.base is not None and scores.base.shape == (60,)
    assert all(rows.shape == (1, 60) for rows in scores.arms.values())


def test_one_pass_exact_match_agrees_with_generation_on_every_item(finished: Outcome) -> None:
    rows = json.loads((finished.run.path / "results.json").read_text())["rows"]
    assert {row["agreement"] for row in rows if row["arm"] != "prompted"} == {1.0}


def test_the_verdict_is_computed_from_the_stored_items_alone(finished: Outcome) -> None:
    before = finished.run.verdict.read_text()
    report(finished.run)
    assert finished.run.verdict.read_text() == before
    assert json.loads(before)["study"]["verdict"] in {"transfer", "no transfer", "inconclusive", "invalid"}


def test_the_run_is_listed_with_its_result(finished: Outcome) -> None:
    (listed,) = list_runs(finished.run.path.parent)
    assert (listed.status, listed.task, listed.mode) == ("complete", "spelling", "sft")
    assert listed.headline == finished.headline


def test_the_stored_recipe_gives_the_same_recipe(finished: Outcome) -> None:
    again = load_recipe(finished.run.recipe)
    assert to_yaml(again).count("# from") == to_yaml(load_recipe(finished.run.recipe)).count("# from") > 5


def test_metrics_hold_each_branchs_loss_and_speed(finished: Outcome) -> None:
    metrics = [m for m in read_metrics(finished.run.metrics) if m["arm"] == "trained-seed0"]
    assert [m["step"] for m in metrics if "loss" in m] == [2, 4]
    (summary,) = (m for m in metrics if m.get("event") == "trained")
    assert summary["tokens"] > summary["trained_tokens"] > 0
    assert 0 < summary["parameters_trainable"] < summary["parameters_total"]


def test_training_then_scoring_is_the_same_as_both_at_once(
    tmp_path: Path, small_recipe: Build, finished: Outcome
) -> None:
    changes = {"eval__tasks": ["spelling", "position"]}
    trained = train(small_recipe(tmp_path, **changes), progress=SilentProgress())
    assert trained.table.rows[0][0] == "trained-seed0"
    assert not (trained.run.path / "results.json").exists()
    scored = evaluate(trained.run.name, small_recipe(tmp_path), progress=SilentProgress())
    name = "trained-seed0.spelling.jsonl"
    assert read_samples(scored.run.samples / name) == read_samples(finished.run.samples / name)


def test_a_model_alone_can_be_scored(tmp_path: Path, small_recipe: Build, toy_folder: Path) -> None:
    outcome = evaluate(str(toy_folder), small_recipe(tmp_path, model__id="sprout"), progress=SilentProgress())
    rows = json.loads((outcome.run.path / "results.json").read_text())["rows"]
    (spelled,) = (row["right"] for row in rows if row["task"] == "spelling" and row["split"] == "eval")
    assert f"base spelling {100 * spelled:.1f}%" in outcome.headline
    assert {path.name.split(".")[0] for path in outcome.run.samples.iterdir()} == {"base"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__train": "speling"}, "unknown task 'speling'.*Did you mean 'spelling'"),
        ({"eval__tasks": ["cuont"]}, "unknown task 'cuont'.*Did you mean 'count'"),
        ({"model__id": "./nowhere"}, "there is no such folder"),
        ({"model__id": "Qwen/Qwen3-0.6B"}, "cannot load the config of 'Qwen/Qwen3-0.6B' .offline"),
        ({"train__optimizer": "sdg"}, "train.optimizer is 'sdg'.*Did you mean 'sgd'"),
        ({"train__schedule": "cosinus"}, "train.schedule is 'cosinus'.*Did you mean 'cosine'"),
        (
            {"data__train": "prose", "data__corpus": [__file__], "study__arms": ["shuffled"]},
            "study.arms holds shuffled, which exchanges answers, but prose",
        ),
        ({"data__corpus": ["nowhere.txt"]}, "data.corpus names nowhere.txt, but there is no such file"),
        ({"words__source": "nowhere.txt"}, "words.source is 'nowhere.txt', but there is no such file"),
        ({"words__train": 99_999}, "[0-9]+ train words, but 99999 are wanted"),
        ({"eval__tasks": ["spelling"], "study__arms": ["direct"]}, "every task of eval.tasks is trained"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    tmp_path: Path, small_recipe: Build, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraftError, match=message):
        run(small_recipe(tmp_path / "runs", **changes), progress=SilentProgress())
    assert not list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True


def test_another_recipe_cannot_continue_a_run(finished: Outcome) -> None:
    changed = load_recipe(finished.run.recipe, ["train.learning_rate=0.5"])
    with pytest.raises(ConfigError, match=r"cannot continue .*: train\.learning_rate differ"):
        run(changed, progress=SilentProgress(), resume=finished.run)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_continues_to_the_same_result(
    tmp_path: Path, small_recipe: Build, toy_folder: Path
) -> None:
    changes: dict[str, Any] = {"eval__tasks": ["spelling", "count"], "train__save_steps": 2, "train__max_steps": 8}
    changes["study__resamples"] = None  # a file may not say what has no effect
    whole = run(small_recipe(tmp_path / "whole", **changes), progress=SilentProgress())
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(small_recipe(tmp_path / "cut", **changes)))
    command = [sys.executable, "-m", "graft", "-q", "run", str(recipe)]
    checkpoints = ("checkpoints/trained-seed0/checkpoint-*", "checkpoints/format-seed0/checkpoint-*")
    for sign in (checkpoints[0], "samples/trained-seed0.*", checkpoints[1]):
        with subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while not list((tmp_path / "cut").glob(f"*/{sign}")):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        (listed,) = list_runs(tmp_path / "cut")
        assert listed.status in {"crashed", "complete"}  # complete: it came to its end before the signal came
        command = [*command[:4], "run", str(recipe), "--resume", str(listed.path)]
    (cut,) = (RunDirectory.open(listed.path, tmp_path) for listed in list_runs(tmp_path / "cut"))
    outcome = run(load_recipe(recipe), progress=SilentProgress(), resume=cut)
    for name in ("trained-seed0", "format-seed0"):
        ours, theirs = (r.checkpoints / name / "final" for r in (outcome.run, whole.run))
        assert is_committed(ours)
        weights = "adapter_model.safetensors"
        assert (ours / weights).read_bytes() == (theirs / weights).read_bytes()
    assert outcome.run.verdict.read_text() == whole.run.verdict.read_text()
