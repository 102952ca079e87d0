"""What `graft train` trains and what `graft eval` does with settings for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graft.cli.main import main
from graft.config.loading import Resolved, load_recipe
from graft.config.writing import to_yaml
from graft.errors import RunError
from graft.runs.directory import RunDirectory


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Resolved]:
    """The recipes that were to be trained; each training ends at once."""
    found: list[Resolved] = []

    def stop(resolved: Resolved, **_: Any) -> None:
        found.append(resolved)
        raise RunError("enough is known")

    monkeypatch.setattr("graft.pipeline.run.train", stop)
    return found


def test_train_trains_the_task_alone_unless_arms_are_named(asked: list[Resolved]) -> None:
    Path("mine.yaml").write_text("study: {arms: [base, trained, format]}\n", encoding="utf-8")
    for arguments in ([], ["study.seeds=[3,4]"], ["--recipe", "mine.yaml"], ["--arms", "trained,self"]):
        assert main(["train", "--task", "echo", *arguments]) == 2
    studies = [(resolved.recipe.study.arms, resolved.recipe.study.seeds) for resolved in asked]
    assert studies[:2] == [(("base", "trained"), (0,)), (("base", "trained"), (3, 4))]
    assert [arms for arms, _ in studies[2:]] == [("base", "trained", "format"), ("trained", "self")]
    assert asked[0].origins["study.arms"] == "graft train"


def test_settings_for_a_run_that_keeps_its_own_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.create(Path("runs"), "mine")
    run.recipe.write_text(to_yaml(load_recipe()), encoding="utf-8")
    for arguments in (["sampling.max_new_tokens=3"], ["--device", "cpu"], ["--recipe", "other.yaml"]):
        Path("other.yaml").write_text("eval: {items: 3}\n", encoding="utf-8")
        assert main(["eval", run.name, *arguments]) == 2
        assert "mine is a run, which is scored by its own recipe" in capsys.readouterr().err


def test_the_spellings_of_other_trainers_are_understood(asked: list[Resolved]) -> None:
    words = "--model_name_or_path sprout --learning_rate 1e-3 --per_device_train_batch_size=4 --num_train_epochs 2"
    words += " --eval-steps 5 --save_steps=7 --output_dir there --lora_r 8 --warmup_ratio 0.2 --seed 3"
    assert main(["train", *words.split(), "--task", "echo"]) == 2
    recipe = asked[0].recipe
    train = recipe.train
    assert (train.learning_rate, train.batch_size, train.epochs, train.eval_steps) == (1e-3, 4, 2.0, 5)
    assert (train.save_steps, train.warmup_share, recipe.adapter.r) == (7, 0.2, 8)
    assert (str(recipe.runs), recipe.study.seeds, recipe.data.train[0].task) == ("there", (3,), "echo")
