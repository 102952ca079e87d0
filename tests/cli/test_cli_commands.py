"""The commands that need no model: runs, tasks, check's printing, version, schema, completion."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from graft import __version__
from graft.cli.main import cli, main
from graft.cli.options import Common
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_run(name: str, task: str = "spelling", root: str = "runs", headline: str = "no transfer") -> RunDirectory:
    run = RunDirectory.create(Path(root), name)
    summary = {"model": "sprout", "task": task, "mode": "sft", "headline": headline, "metrics": {"base/count": 0.5}}
    write_json(run.summary, summary)
    with run.hold():
        pass
    return run


def output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_runs_are_listed_filtered_and_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("a-run", "spelling")
    make_run("b-run", "count")
    for arguments in (["runs"], ["runs", "list"]):
        text = output(arguments, capsys)
        assert "a-run" in text
        assert "b-run" in text
        assert "complete" in text
    names = [run["name"] for run in json.loads(output(["runs", "list", "--sort", "name", "--json"], capsys))]
    assert names == ["a-run", "b-run"]
    assert "a-run" not in output(["runs", "list", "--filter", "task=count"], capsys)
    assert "no run that matches" in output(["runs", "list", "--filter", "task=none"], capsys)


@pytest.mark.parametrize(
    "arguments", [["--runs", "else", "runs"], ["runs", "--runs", "else"], ["runs", "list", "--runs", "else"]]
)
def test_the_folder_of_runs_may_be_named_anywhere(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    make_run("far", root="else")
    assert "far" in output(arguments, capsys)
    assert "There is no run in runs" in output(["runs"], capsys)


def test_one_run_is_shown_with_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("a-run")
    text = output(["runs", "show", "latest"], capsys)
    assert "a-run" in text
    assert "base/count" in text
    assert "summary.json" in text
    shown = json.loads(output(["--json", "runs", "show", "a-run"], capsys))
    assert (shown["status"], shown["headline"]) == ("complete", "no transfer")
    assert "summary.json" in shown["files"]


def test_a_name_cannot_colour_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("a-run", headline="\x1b[31mred [bold]and bold[/bold]")
    text = output(["runs"], capsys)
    assert "\x1b" not in text
    assert "[bold]and bold[/bold]" in text


def test_deleting_asks_first() -> None:
    run = make_run("a-run")
    kept = CliRunner().invoke(cli, ["runs", "delete", "a-run"], input="n\n", obj=Common())
    assert "Nothing was deleted." in kept.output
    assert run.path.is_dir()
    CliRunner().invoke(cli, ["runs", "delete", "a-run"], input="y\n", obj=Common())
    assert not run.path.exists()


def test_several_runs_are_deleted_without_a_question(capsys: pytest.CaptureFixture[str]) -> None:
    make_run("a-run")
    make_run("b-run")
    text = output(["runs", "delete", "a-run", "b-run", "a-run", "--yes", "--json"], capsys)
    assert json.loads(text) == {"deleted": ["a-run", "b-run"]}
    assert "There is no run" in output(["runs"], capsys)


def test_nothing_is_deleted_when_one_name_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("a-run")
    assert main(["runs", "delete", "a-run", "b-run", "--yes"]) == 2
    assert run.path.is_dir()


def test_tasks_are_listed_and_shown_with_real_items(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(["tasks"], capsys)
    assert "spelling" in text
    assert "prose" in text
    assert text.split() == output(["tasks", "list"], capsys).split()
    shown = json.loads(output(["tasks", "show", "count", "-n", "2", "--json"], capsys))
    assert [len(items) for items in shown["examples"].values()] == [2, 2]
    (first, _), _ = shown["examples"].values()
    told = output(["tasks", "show", "count", "-n", "2"], capsys)
    assert first["prompt"] in told
    assert f"→ {first['gold']}" in told
    assert "prose" in output(["tasks", "show", "prose"], capsys)


def test_versions_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    versions = json.loads(output(["version", "--json"], capsys))
    assert versions["graft"] == __version__
    assert versions["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert versions["torch"][0].isdigit()
    assert __version__ in output(["--version"], capsys)


def test_the_json_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "train" in json.loads(output(["schema"], capsys))["properties"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_valid_for_its_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = output(["completion", shell], capsys)
    assert "_GRAFT_COMPLETE" in script
    assert script.splitlines()[-1].startswith("# To install: graft completion")
    assert shell != "zsh" or script.startswith("#compdef graft")
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("graft ru", {"run", "runs"}),
        ("graft runs ", {"list", "show", "verify", "delete"}),
        ("graft report ", {"latest", "a-run"}),
        ("graft train --device c", {"cuda", "cpu"}),
        ("graft tasks show sp", {"spelling"}),
        ("graft train --lora", {"--lora-r", "--lora-alpha"}),
    ],
)
def test_the_shell_is_offered_what_fits(words: str, offered: set[str]) -> None:
    make_run("a-run")
    start = words.split(" ")
    variables = {"_GRAFT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(start) - 1)}
    script = "import sys; from graft.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=60, check=True
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == offered


def test_export_lists_what_can_be_made_here_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from graft.export import possible

    find = possible.find_spec
    monkeypatch.setattr(possible, "find_spec", lambda name: None if name == "xllamacpp" else find(name))
    assert main(["export", "--list", "--json"]) == 0
    found = {form["flag"]: form["missing"] for form in json.loads(capsys.readouterr().out)}
    assert found["--to merged"] == found["--to adapter"] == ""
    assert found["--to gguf"] == found["--to ollama"] == "pip install 'graft-lm[export]'"
    assert "forbids it" in found["--push-to hub:OWNER/NAME"]
    assert main(["export", "--list"]) == 0
    assert "ready" in capsys.readouterr().out
