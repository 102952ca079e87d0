"""`graft init`: questions or flags, and always a commented recipe that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from graft.cli.main import cli, main
from graft.cli.options import Common
from graft.config.loading import load_recipe
from graft.config.schema import Recipe


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def answer(*lines: str) -> str:
    done = CliRunner().invoke(cli, ["init", "my.yaml"], input="\n".join(lines) + "\n", obj=Common())
    assert done.exit_code == 0, done.output
    return done.output


def test_answers_stand_in_the_recipe() -> None:
    answer("Qwen/Qwen3-0.6B", "count", "none", "2", "count,length", "0,1,2")
    recipe = load_recipe(Path("my.yaml")).recipe
    assert recipe.model.id == "Qwen/Qwen3-0.6B"
    assert recipe.data.train[0].task == "count"
    assert recipe.adapter.kind == "none"
    assert recipe.train.epochs == 2.0
    assert recipe.eval.tasks == ("count", "length")
    assert recipe.study.seeds == (0, 1, 2)


def test_enter_takes_every_default() -> None:
    output = answer("", "", "", "", "", "")
    assert load_recipe(Path("my.yaml")).recipe == Recipe()
    assert "graft check my.yaml" in output


def test_a_wrong_answer_is_asked_again() -> None:
    output = answer("", "cuont", "count", "maybe", "lora", "-1", "1", "", "0,0", "0,1")
    assert "Did you mean 'count'?" in output
    assert "adapter.kind must be one of lora, none, but got 'maybe'" in output
    assert "train.epochs must be greater than 0, but got -1" in output
    assert "study.seeds must not repeat" in output
    assert load_recipe(Path("my.yaml")).recipe.study.seeds == (0, 1)


def test_flags_ask_nothing_and_keep_the_comments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "my.yaml", "--task", "count", "--lora-r", "8", "--seeds", "0,1", "--name", "7"]) == 0
    resolved = load_recipe(Path("my.yaml"))
    assert set(resolved.origins) == {"data.train", "adapter.r", "study.seeds", "name"}
    assert (resolved.recipe.adapter.r, resolved.recipe.study.seeds, resolved.recipe.name) == (8, (0, 1), "7")
    text = Path("my.yaml").read_text(encoding="utf-8")
    assert text.count("#") > 60
    assert "Rank of the adapters." in text
    assert "  # max_steps: null" in text


def test_full_trains_every_weight() -> None:
    assert main(["init", "my.yaml", "--full"]) == 0
    assert load_recipe(Path("my.yaml")).recipe.adapter.kind == "none"


def test_an_existing_file_stays_unless_forced() -> None:
    Path("my.yaml").write_text("name: precious\n", encoding="utf-8")
    assert main(["init", "my.yaml", "--yes"]) == 2
    assert Path("my.yaml").read_text(encoding="utf-8") == "name: precious\n"
    assert main(["init", "my.yaml", "--yes", "--force"]) == 0
    assert load_recipe(Path("my.yaml")).recipe.name is None


def test_quiet_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "a.yaml", "--yes", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["init", "b.yaml", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"recipe": "b.yaml"}
