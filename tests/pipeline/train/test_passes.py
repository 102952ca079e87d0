"""How many rows and steps a number of passes comes to: an incomplete last step, rows that are left out, what ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graft.config.loading import Resolved
from graft.config.training import TrainSection
from graft.errors import DataError, TrainError
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.lab import Lab, prepare
from graft.pipeline.prepare.plan import make_plan, warmup_steps
from graft.pipeline.prepare.preflight import preflight
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import run, train
from graft.pipeline.train.rows import training_rows

Build = Callable[..., Resolved]
TRAINED = Branch("trained", 0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


def recipe_of(build: Build, folder: Path, *, short: int = 34, long: int = 0, **changes: Any) -> Resolved:
    """Rows of which ``short`` fit into 60 tokens and ``long`` do not."""
    prompts = [f"q{n} hello" for n in range(short)] + ["w " * 100 + str(n) for n in range(long)]
    rows = [json.dumps({"prompt": prompt, "completion": "fine thanks"}) for prompt in prompts]
    (folder / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "eval.jsonl").write_text("\n".join(rows[:8]).replace("hello", "there"), encoding="utf-8")
    task = {"name": "t", "train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl")}
    settings = {
        "data__train": "t", "data__tasks": [task], "data__max_length": 60, "study__arms": ["trained"],
        "eval__tasks": ["t"], "eval__seen_items": 0, "train__epochs": 1.0, "train__max_steps": None,
        "train__batch_size": 16, "check__max_leaked": 1.0,
    }  # fmt: skip
    return build(folder / "runs", **settings | changes)


def lab_of(*args: Any, **changes: Any) -> Lab:
    return prepare(recipe_of(*args, **changes).recipe)


@pytest.mark.parametrize("exhausted", ["repeat", "stop", "error"])
def test_one_pass_over_34_rows_is_two_full_steps_and_one_of_two_rows(
    tmp_path: Path, small_recipe: Build, exhausted: str
) -> None:
    lab = lab_of(small_recipe, tmp_path, data__exhausted=exhausted)
    found = training_rows(lab, TRAINED)
    assert (len(found.table), lab.steps, lab.steps_of(len(found.table))) == (34, 3, 3)
    assert found.drawn[0].epochs == 1.0
    assert len({row.prompt for row in found.table}) == 34


def test_rows_that_do_not_fit_are_left_out_of_a_pass_and_not_made_up_for(tmp_path: Path, small_recipe: Build) -> None:
    lab = lab_of(small_recipe, tmp_path, short=17, long=17, train__batch_size=4)
    found = training_rows(lab, TRAINED)
    assert (len(found.table), found.dropped, lab.steps_of(len(found.table))) == (17, 17, 5)
    assert found.drawn[0].epochs == 1.0
    told = preflight(lab, SilentProgress()).estimate
    assert told is not None and told.steps == 5


def test_steps_that_outlast_the_rows_end_or_are_refused(tmp_path: Path, small_recipe: Build) -> None:
    stopped = lab_of(small_recipe, tmp_path, data__exhausted="stop", train__max_steps=9)
    assert len(training_rows(stopped, TRAINED).table) == 34
    refused = lab_of(small_recipe, tmp_path, data__exhausted="error", train__max_steps=9)
    with pytest.raises(DataError, match=r"t has 34 rows, but 144 are wanted"):
        training_rows(refused, TRAINED)
    two = lab_of(small_recipe, tmp_path, train__epochs=2.0)
    assert (len(training_rows(two, TRAINED).table), two.steps) == (68, 5)


def test_a_smaller_last_step_trains_to_the_end(tmp_path: Path, small_recipe: Build) -> None:
    run = train(
        recipe_of(small_recipe, tmp_path, data__exhausted="stop", train__logging_steps=1), progress=SilentProgress()
    ).run
    facts = run.outputs("train-trained-seed0")
    assert (facts["steps"], facts["epochs"]) == (3, {"t": 1.0})


@pytest.mark.parametrize(
    ("settings", "steps", "wanted"),
    [
        ({}, 3, 0), ({}, 70, 2), ({}, 1000, 30), ({"warmup_steps": 20}, 3, 1), ({"warmup_steps": 20}, 20, 10),
        ({"warmup_steps": 20}, 21, 20), ({"warmup_steps": 5}, 1, 0), ({"warmup_share": 1.0}, 10, 5),
        ({"warmup_steps": 0}, 100, 0), ({"schedule": "constant"}, 1000, 0),
    ],
)  # fmt: skip
def test_the_warm_up_is_three_percent_or_what_was_asked_for_and_ends_before_the_training(
    settings: dict[str, Any], steps: int, wanted: int
) -> None:
    assert warmup_steps(TrainSection(**settings), steps) == wanted


def test_a_warm_up_that_is_cut_short_is_told_and_the_peak_is_reached(tmp_path: Path, small_recipe: Build) -> None:
    resolved = recipe_of(small_recipe, tmp_path, train__warmup_steps=20, train__logging_steps=1)
    lab = prepare(resolved.recipe)
    assert make_plan(lab, TRAINED, steps=3).warmup_steps == 1
    assert (
        "train.warmup_steps is 20, but there are 3 steps; the warm-up takes 1 of them"
        in preflight(lab, SilentProgress()).warnings
    )
    run = train(resolved, progress=SilentProgress()).run
    rates = [json.loads(line).get("learning_rate", 0.0) for line in run.metrics.read_text().splitlines()]
    assert max(rates) == pytest.approx(resolved.recipe.train.learning_rate)


def test_a_training_that_would_fail_is_stopped_before_the_base_is_scored(
    tmp_path: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft.train import engine

    def broken(*args: object) -> None:
        raise TrainError("this layout cannot be trained")

    monkeypatch.setattr(engine, "choose_layout", broken)
    resolved = recipe_of(small_recipe, tmp_path, study__arms=["base", "trained"])
    with pytest.raises(TrainError, match="this layout cannot be trained"):
        run(resolved, progress=SilentProgress())
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert not (folder / "stages" / "score-base.done").exists()


def test_trying_a_training_changes_nothing_of_it(
    tmp_path: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft.pipeline import run as stages

    losses = []
    for _ in ("tried", "untried"):
        outcome = run(recipe_of(small_recipe, tmp_path, study__arms=["base", "trained"]), progress=SilentProgress())
        losses.append(outcome.run.outputs("train-trained-seed0")["final_loss"])
        monkeypatch.setattr(stages, "_rehearse", lambda *args: None)
    assert losses[0] == losses[1]
