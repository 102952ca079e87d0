from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from graft.cli.main import main
from graft.errors import ConfigError, RunError, StorageError
from graft.runs import RunDirectory, Status
from graft.runs.files import write_json
from graft.runs.listing import RunSummary, delete_run, filter_runs, list_runs, sort_runs

Start = Callable[..., "subprocess.Popen[str]"]

HOLD = """
    import sys, time
    from pathlib import Path
    from graft.runs import RunDirectory
    with RunDirectory.open("a", Path(sys.argv[1])).hold():
        print("held")
        time.sleep(60)
"""


def finished(root: Path, name: str, **summary: object) -> RunDirectory:
    run = RunDirectory.create(root, name)
    with run.stage("train"):
        pass
    write_json(run.summary, summary)
    return run


def test_no_folder_is_no_runs_and_a_file_is_an_error(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "runs") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be read as a folder of runs"):
        list_runs(tmp_path / "file")


def test_a_run_is_shown_with_what_its_summary_says(tmp_path: Path) -> None:
    metrics = {"spelling/change": 0.123, "count/change": float("nan")}
    run = finished(tmp_path, "a", model="sprout", task="spelling", mode="sft", headline="no transfer", metrics=metrics)
    (summary,) = list_runs(tmp_path)
    assert (summary.name, summary.path, summary.status, summary.stage) == ("a", run.path, Status.COMPLETE, "train")
    assert (summary.model, summary.task, summary.mode, summary.headline) == ("sprout", "spelling", "sft", "no transfer")
    assert summary.metrics["spelling/change"] == 0.123
    assert math.isnan(summary.metrics["count/change"])
    assert summary.size_bytes == sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert summary.duration_seconds == run.state.seconds


HOSTILE = [
    ("run.json", '{"status": "complete", "seconds": 1e400}'),
    ("run.json", '{"status": "complete", "seconds": -1e300}'),
    ("run.json", '{"status": "complete", "seconds": NaN}'),
    ("run.json", '{"status": "complete", "pid": 1e400}'),
    ("run.json", f'{{"status": "complete", "seconds": {"9" * 400}}}'),
    ("run.json", f'{{"status": "complete", "pid": {"9" * 5000}}}'),
    ("run.json", "[" * 100_000),
    ("summary.json", '{"metrics": {"a": 1e400}}'),
    ("summary.json", f'{{"metrics": {{"a": {"9" * 400}}}}}'),
    ("summary.json", f'{{"metrics": {{"a": {"9" * 5000}}}}}'),
    ("summary.json", '{"metrics": {"a": [1]}}'),
]


@pytest.mark.parametrize(("name", "text"), HOSTILE)
def test_no_number_stops_the_listing(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str) -> None:
    run = finished(tmp_path, "bad")
    finished(tmp_path, "good", headline="fine")
    (run.path / name).write_text(text)
    assert {run.name: run.status for run in list_runs(tmp_path)} == {"bad": Status.DAMAGED, "good": Status.COMPLETE}
    assert all(len(run.message) < 2000 for run in list_runs(tmp_path))
    for command in (["runs"], ["runs", "list", "--sort", "-duration"], ["runs", "show", "bad"], ["runs", "--json"]):
        assert main(["--runs", str(tmp_path), *command]) == 0
    assert "fine" in capsys.readouterr().out


def test_a_date_at_the_end_of_time_and_a_pipe_stop_no_listing(tmp_path: Path) -> None:
    run = finished(tmp_path, "bad")
    write_json(
        run.state_file, {"status": "complete", "created": "0001-01-01T00:00:00", "started": "9999-12-31T23:59:59"}
    )
    run.summary.unlink()
    os.mkfifo(run.summary)
    assert [run.name for run in list_runs(tmp_path)] == ["bad"]


def test_the_newest_run_comes_first(tmp_path: Path) -> None:
    for name, created in (
        ("a", "2026-01-01T12:00:00+00:00"),
        ("b", "2026-01-01T12:00:00-05:00"),
        ("c", "2025-01-01T12:00:00+00:00"),
    ):
        write_json(RunDirectory.create(tmp_path, name).state_file, {"status": "complete", "created": created})
    assert [run.name for run in list_runs(tmp_path)] == ["b", "a", "c"]


def test_foreign_folders_are_left_out_and_damaged_runs_are_shown(tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "recipe.yaml").write_text("")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name, content in {
        "empty": "",
        "cut": '{"status": "comp',
        "odd": '{"status": 3}',
        "list": "[]",
        "binary": "\x00",
    }.items():
        RunDirectory.create(tmp_path, name).state_file.write_text(content)
    RunDirectory.create(tmp_path, "gone").state_file.unlink()
    finished(tmp_path, "bad-summary").summary.write_text("{")
    finished(tmp_path, "bad-metrics").summary.write_text('{"metrics": {"a": "many"}}')
    finished(tmp_path, "list-summary").summary.write_text("[1]")
    RunDirectory.create(tmp_path, "folder").state_file.unlink()
    (tmp_path / "folder" / "run.json").mkdir()
    finished(tmp_path, "good")
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert runs.pop("good").status is Status.COMPLETE
    assert set(runs) == {
        "empty",
        "cut",
        "odd",
        "list",
        "binary",
        "gone",
        "folder",
        "bad-summary",
        "bad-metrics",
        "list-summary",
    }
    assert all(run.status is Status.DAMAGED and "json" in run.message for run in runs.values())


def test_a_killed_run_is_listed_as_crashed_and_a_living_one_as_running(tmp_path: Path, python: Start) -> None:
    RunDirectory.create(tmp_path, "a")
    process = python(HOLD, tmp_path)
    (running,) = list_runs(tmp_path)
    assert running.status is Status.RUNNING
    process.kill()
    process.wait()
    (crashed,) = list_runs(tmp_path)
    assert crashed.status is Status.CRASHED
    assert 0 <= crashed.duration_seconds <= running.duration_seconds + 60


def make(name: str, **values: object) -> RunSummary:
    return RunSummary(name, Path(name), **{"status": Status.COMPLETE, **values})  # type: ignore[arg-type]


RUNS = [
    make("one", model="Sprout", metrics={"acc": 0.5}, size_bytes=10, duration_seconds=5.0),
    make("two", model="qwen", metrics={"acc": 0.9, "f1/count": -1.0}, size_bytes=30),
    make("three", status=Status.CRASHED, metrics={"acc": math.nan}, size_bytes=20),
]


@pytest.mark.parametrize(
    ("expressions", "names"),
    [
        ([], ["one", "two", "three"]),
        (["model=sprout"], ["one"]),
        (["model!=sprout"], ["two", "three"]),
        (["model~OU"], ["one"]),
        (["status=crashed"], ["three"]),
        (["acc>0.4"], ["one", "two"]),
        (["acc > 0.5"], ["two"]),
        (["acc>=0.5", "acc<0.9"], ["one"]),
        (["acc<=0.5"], ["one"]),
        (["acc=0.90"], ["two"]),
        (["acc!=0.9"], ["one"]),
        (["acc~n"], []),
        (["f1/count<0"], ["two"]),
        (["size>15"], ["two", "three"]),
        (["duration<60"], ["one"]),
        (["model="], ["three"]),
    ],
)
def test_filters_keep_the_runs_that_match_all(expressions: list[str], names: list[str]) -> None:
    assert [run.name for run in filter_runs(RUNS, expressions)] == names


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("modell=x", "Did you mean 'model'"),
        ("ac>1", "Did you mean 'acc'"),
        ("model", "must be key=value"),
        ("=x", "must be key=value"),
        ("model>3", "compares numbers"),
        ("acc>many", "compares numbers"),
    ],
)
def test_a_filter_that_breaks_a_rule_says_which(expression: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        filter_runs(RUNS, [expression])


def test_a_filter_on_no_runs_finds_none() -> None:
    assert filter_runs([], ["acc>0.5", "whatever=1"]) == []


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("acc", ["one", "two", "three"]),
        ("-acc", ["two", "one", "three"]),
        ("size", ["one", "three", "two"]),
        ("model", ["two", "one", "three"]),
        ("-duration", ["one", "two", "three"]),
        ("-name", ["two", "three", "one"]),
    ],
)
def test_sorting_puts_what_is_unknown_last(key: str, names: list[str]) -> None:
    assert [run.name for run in sort_runs(RUNS, key)] == names
    with pytest.raises(ConfigError, match="Did you mean 'name'"):
        sort_runs(RUNS, "nam")


def test_a_deleted_run_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    root = tmp_path / "runs"
    run = finished(root, "实验")
    finished(root, "b")
    (run.path / "link").symlink_to(outside)
    delete_run(root, "实验")
    assert [entry.name for entry in root.iterdir()] == ["b"]
    assert (outside / "precious").read_text() == "x"


def test_a_damaged_run_can_be_deleted(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, "a").state_file.write_text("{")
    delete_run(tmp_path, "a")
    assert list_runs(tmp_path) == []


def test_a_running_run_is_not_deleted(tmp_path: Path, python: Start) -> None:
    RunDirectory.create(tmp_path, "a")
    process = python(HOLD, tmp_path)
    with pytest.raises(RunError, match=f"in use by process {process.pid}"):
        delete_run(tmp_path, "a")
    assert RunDirectory.open("a", tmp_path).status is Status.RUNNING


@pytest.mark.parametrize("name", ["", ".", "..", "../outside", "a/../../outside", "/etc", "a/", ".deleting-1", "a\0"])
def test_nothing_outside_the_folder_of_runs_is_deleted(tmp_path: Path, name: str) -> None:
    finished(tmp_path / "runs", "a")
    finished(tmp_path, "outside")
    with pytest.raises(RunError, match="is not the name of a run"):
        delete_run(tmp_path / "runs", name)
    assert (tmp_path / "outside" / "run.json").exists()
    assert (tmp_path / "runs" / "a" / "run.json").exists()


def test_links_and_foreign_folders_are_not_deleted(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    target = finished(tmp_path, "outside")
    root.mkdir()
    (root / "link").symlink_to(target.path)
    (root / "foreign").mkdir()
    (root / "foreign" / "run.json").write_text('{"status": "complete"}')
    with pytest.raises(RunError, match="is a link"):
        delete_run(root, "link")
    with pytest.raises(RunError, match="is not a run directory"):
        delete_run(root, "foreign")
    with pytest.raises(RunError, match="No run 'none'"):
        delete_run(root, "none")
    assert (root / "foreign" / "run.json").exists()
    assert target.state_file.exists()


def test_a_half_deleted_run_is_never_listed_and_is_cleared_next_time(tmp_path: Path) -> None:
    finished(tmp_path, "a").path.rename(tmp_path / ".deleting-123")
    finished(tmp_path, "b")
    assert [run.name for run in list_runs(tmp_path)] == ["b"]
    delete_run(tmp_path, "b")
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_a_read_only_disk_is_listed_but_not_deleted(mount: Callable[[str], Path]) -> None:
    disk = mount("size=64k")
    finished(disk, "a")
    if subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True).returncode != 0:
        pytest.skip("the small disk cannot be made read-only here")
    assert [run.status for run in list_runs(disk)] == [Status.COMPLETE]
    with pytest.raises(StorageError, match="read-only"):
        delete_run(disk, "a")
    assert [run.name for run in list_runs(disk)] == ["a"]
