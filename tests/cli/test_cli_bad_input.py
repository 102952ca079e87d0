"""Mistakes on the command line: one clear message, the right exit code, nothing on stdout but JSON when asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graft.cli.main import main
from graft.config.loading import load_recipe
from graft.runs.directory import RunDirectory


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


MISTAKES = [
    (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
    (["xyzzy"], "No such command 'xyzzy'. Commands: init, check"),
    (["recipes/x.yaml"], "To run that recipe: graft run recipes/x.yaml"),
    (["run", "--resum", "x"], "--resume"),
    (["train", "--max-step", "3"], "--max-steps"),
    (["train", "--max-steps"], "requires an argument"),
    (["--jso", "runs"], "--json"),
    (["runs", "lst"], "list"),
    (["run"], "graft run needs a recipe"),
    (["check"], "graft check needs a recipe"),
    (["run", "train.max_steps=3"], "graft run needs a recipe"),
    (["run", "nowhere.yaml"], "nowhere.yaml: there is no such recipe."),
    (["check", "nowhere.yaml"], "nowhere.yaml: there is no such recipe."),
    (["check", "good.yaml", "train.max_step=3"], "unknown key train.max_step. Did you mean train.max_steps?"),
    (["check", "good.yaml", "more"], "an override is written key=value"),
    (["check", "typo.yaml"], "typo.yaml:2: unknown key train.max_step. Did you mean train.max_steps?"),
    (["check", "type.yaml"], "train.batch_size must be a whole number, but got 'many' (type.yaml:2)"),
    (["check", "broken.yaml"], "broken.yaml:2:"),
    (["run", "typo.yaml"], "Did you mean train.max_steps?"),
    (["train", "--max-steps", "0"], "train.max_steps must be at least 1, but got 0 (command line)"),
    (["train", "--device", "gpu"], "model.device must be one of auto, cuda, mps, cpu, but got 'gpu'"),
    (["train", "--task", "speling"], "speling"),
    (["check", "good.yaml", "eval.tasks=cuont"], "cuont"),
    (["check", "good.yaml", "words.source=no-such-file.txt"], "no-such-file.txt"),
    (["train", "--resume", "nothing"], "nothing"),
    (["run", "--resume", "latest"], "no run in runs stopped before its end"),
    (["eval", "latest"], "there is no run in runs yet"),
    (["report", "nothing"], "nothing"),
    (["report", "latest"], "there is no run in runs yet"),
    (["runs", "show", "nothing"], "nothing"),
    (["runs", "delete", "nothing", "--yes"], "nothing"),
    (["runs", "list", "--filter", "what"], "what"),
    (["compare", "one"], "at least two runs, but got 1"),
    (["tasks", "show", "cuont"], "Did you mean 'count'?"),
    (["tasks", "show", "count", "-n", "0"], "0"),
    (["completion", "tcsh"], "tcsh"),
    (["train", "--full", "--lora-r", "8"], "adapter.r is 8 (command line), but adapter.kind is none"),
    (["train", "--lora-r", "8", "--lora-r", "4"], "--lora-r is given 2 times; give it once"),
    (["train", "train.max_steps=3", "train.max_steps=4"], "train.max_steps= is given twice on the command line"),
    (["check", "good.yaml", "train.max_steps=4", "train={max_steps: 3}"], "train.max_steps= is given twice"),
    (["train", "--task", "echo", "--rates", "0.5"], "--rates is 0.5, but 1 --task are given"),
    (["train", "--task", "echo", "--task", "count", "--rates", "1"], "there are 2 tasks (echo, count)"),
    (["train", "--task", "echo", "--task", "count", "--rates", "1,x"], "'x', which is no number"),
    (["eval", "sprout", "--max-steps", "9"], "train.max_steps is 9 (command line), but graft eval does not read it"),
    (["eval", "sprout", "--arms", "trained"], "study.arms is trained (command line), but graft eval does not read it"),
    (["eval", "sprout", "--model", "other"], "model.id is other (command line), but graft eval does not read it"),
    (["chat", "sprout", "train.max_steps=9"], "train.max_steps is 9 (command line), but graft chat does not read it"),
    (["chat", "sprout", "sampling.temperature=0", "sampling.top_p=0.9"], "sampling is greedy"),
    (["init", "good.yaml"], "good.yaml exists already"),
    (["init", "new.yaml", "--task", "cuont"], "Did you mean 'count'?"),
    (["init", "new.yaml", "--lora-r", "0"], "adapter.r must be at least 1"),
    (["init", "nowhere/new.yaml", "--yes"], "there is no folder nowhere"),
    (["--runs", "good.yaml", "runs"], "good.yaml"),
]


def test_several_tasks_are_mixed_in_equal_parts_or_at_the_rates_that_are_given() -> None:
    def sources(*arguments: str) -> list[tuple[str, float]]:
        assert main(["init", "mix.yaml", "--force", "--task", "echo", "--task", "count", *arguments]) == 0
        return [(source.task, source.rate) for source in load_recipe(Path("mix.yaml")).recipe.data.train]

    assert sources() == [("echo", 0.5), ("count", 0.5)]
    assert sources("--rates", "0.7,0.3") == [("echo", 0.7), ("count", 0.3)]


def write_recipes() -> None:
    Path("good.yaml").write_text("train:\n  max_steps: 2\n", encoding="utf-8")
    Path("typo.yaml").write_text("train:\n  max_step: 2\n", encoding="utf-8")
    Path("type.yaml").write_text("train:\n  batch_size: many\n", encoding="utf-8")
    Path("broken.yaml").write_text("train: [1,\n", encoding="utf-8")


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_exits_with_2_and_one_message(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipes()
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("error: ") == 1
    assert said in " ".join(shown.err.split())
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("place", [0, None])
def test_with_json_the_error_is_on_stdout_too(place: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "nowhere.yaml"]
    arguments.insert(len(arguments) if place is None else place, "--json")
    assert main(arguments) == 2
    shown = capsys.readouterr()
    error = json.loads(shown.out)["error"]
    assert error["kind"] == "ConfigError"
    assert error["message"].startswith("nowhere.yaml: there is no such recipe.")
    assert "error: nowhere.yaml" in shown.err


def test_with_json_a_usage_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--json", "--nonsense"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "NoSuchOption"


def test_every_problem_of_a_recipe_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.yaml").write_text("train:\n  batch_size: 0\n  max_step: 2\n", encoding="utf-8")
    assert main(["check", "x.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: train.batch_size must be at least 1, but got 0 (x.yaml:2)",
        "       x.yaml:3: unknown key train.max_step. Did you mean train.max_steps?",
    ]


def test_debug_shows_where_an_error_came_from() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graft", "check", "nowhere.yaml", "--debug"], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" in done.stderr
    assert "nowhere.yaml: there is no such recipe" in done.stderr


def test_the_exit_code_reaches_the_shell() -> None:
    done = subprocess.run([sys.executable, "-m", "graft", "rnu"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "typo.yaml"],
        ["run", "good.yaml", "eval.tasks=cuont"],
        ["train", "--task", "cuont"],
        ["eval", "sprout", "--words", "no-such-file.txt"],
        ["run", "good.yaml", "runs=good.yaml"],
        ["run", "--resume", "nothing"],
        ["check", "good.yaml", "data.train=cuont"],
        ["report", "nothing"],
        ["compare", "nothing", "more"],
    ],
    ids=" ".join,
)
def test_names_and_files_are_checked_before_torch_is_imported(arguments: list[str]) -> None:
    write_recipes()
    script = (
        f"import sys; from graft.cli.main import main; code = main({arguments!r})\n"
        "sys.exit(0 if code == 2 and 'torch' not in sys.modules else f'exit code {code}, or torch is loaded')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("error: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert main(["init", "locked/x.yaml", "--yes"]) == 2
    assert "locked" in capsys.readouterr().err


def test_a_question_that_nobody_answers_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    RunDirectory.create(Path("runs"), "kept")
    done = subprocess.run(
        [sys.executable, "-m", "graft", "runs", "delete", "kept"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "use flags or --yes" in done.stderr
    assert Path("runs/kept").is_dir()


def test_ctrl_c_exits_with_130_and_one_line() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "graft", "init", "new.yaml"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.read(5) == "Model"  # the first question is on the screen
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip().splitlines()[-1] == "Stopped."
    assert "Traceback" not in told
    assert not Path("new.yaml").exists()
