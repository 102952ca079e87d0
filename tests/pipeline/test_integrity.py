"""A file of a run that is not what was written is named or made anew; nothing is computed from it in silence."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from graft.cli.main import main
from graft.config.loading import Resolved, load_recipe
from graft.errors import RunError
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import repair, report, run
from graft.runs.directory import RunDirectory
from graft.runs.manifest import MARKER
from graft.runs.verify import verify_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
Build = Callable[..., Resolved]
UNSEALED = {"run.json", "run.lock"}
"""What no result is computed from, and is written while the run goes on."""


def flip(path: Path, place: float = 0.5) -> None:
    """Flip one bit of a file, as far into it as a share says."""
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_recipe: Build) -> Path:
    """A small study with files of every kind."""
    settings = {"eval__items": 12, "eval__seen_items": 4, "words__eval": 20, "sampling__max_new_tokens": 2}
    made = run(
        small_recipe(
            tmp_path_factory.mktemp("runs"),
            study__arms=["base", "trained", "self"],
            eval__tasks=["spelling", "position"],
            train__max_steps=2,
            model__precision="float32",
            **settings,
        ),
        progress=SilentProgress(),
    )
    return made.run.path


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> RunDirectory:
    shutil.copytree(finished, tmp_path / "runs" / finished.name)
    return RunDirectory(tmp_path / "runs" / finished.name)


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]


def again(directory: RunDirectory) -> None:
    run(load_recipe(directory.recipe), progress=SilentProgress(), resume=directory)


def weights(directory: RunDirectory) -> bytes:
    return (directory.checkpoints / "trained-seed0" / "final" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
def test_a_flipped_bit_in_any_file_is_found_and_the_file_is_named(copy: RunDirectory, place: float) -> None:
    assert verify_run(copy).damage == {} and verify_run(copy).unlisted == ()
    missed = []
    for path in files(copy.path):
        before = path.read_bytes()
        flip(path, place)
        if path not in verify_run(copy).damage and path.name not in UNSEALED:
            missed.append(str(path.relative_to(copy.path)))
        path.write_bytes(before)
    # A record ends with a line break, and the log goes on after its last stage: nothing is said there.
    assert [name for name in missed if not (place == 1.0 and name.endswith((".done", MARKER, ".log")))] == []


@pytest.mark.parametrize("change", ["lost", "doubled", "emptied"])
def test_whole_lines_lost_or_doubled_are_found(copy: RunDirectory, change: str) -> None:
    path = copy.samples / "base.position.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join({"lost": lines[:-1], "doubled": [*lines, lines[-1]], "emptied": []}[change]))
    assert list(verify_run(copy).damage) == [path]


def test_what_is_appended_to_a_log_is_no_damage_to_it(copy: RunDirectory) -> None:
    with copy.metrics.open("a") as file:
        file.write('{"step": 3, "time": 1.0}\n')
    assert verify_run(copy).damage == {}


@pytest.mark.parametrize("name", ["recipe.yaml", "audit.json", "provenance.json", "stages/prepare.done"])
def test_no_report_is_written_from_a_damaged_preparation(copy: RunDirectory, name: str) -> None:
    flip(copy.path / name)
    with pytest.raises(RunError, match=name):
        report(copy)


def test_an_edited_recipe_is_refused_by_report_and_by_resume(copy: RunDirectory) -> None:
    copy.recipe.write_text(copy.recipe.read_text().replace("resamples: 1000", "resamples: 1001"))
    for act in (report, again, lambda run: repair(run, progress=SilentProgress())):
        with pytest.raises(RunError, match=r"recipe\.yaml has|recipe\.yaml is not what was written"):
            act(copy)


def test_a_damaged_marker_is_named_by_everything_that_reads_it(copy: RunDirectory) -> None:
    marker = copy.stages / "score-base.done"
    marker.write_text(marker.read_text().replace('"spelling": 1', '"spelling": 2'))
    for act in (report, again):
        with pytest.raises(RunError, match=r"score-base\.done.*seal"):
            act(copy)


def test_damaged_items_stop_a_run_and_make_a_report_invalid(copy: RunDirectory) -> None:
    path = copy.samples / "base.spelling.jsonl"
    path.write_text(path.read_text().replace('"finished": false', '"finished": true ', 1))
    with pytest.raises(RunError, match=r"base\.spelling\.jsonl .*graft runs verify .* --repair"):
        again(copy)
    report(copy)
    assert "base.spelling.jsonl was changed" in " ".join(json.loads(copy.verdict.read_text())["notes"])


def test_repair_runs_exactly_the_damaged_stages_and_ends_in_the_same_bits(
    copy: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {stage: (copy.stages / f"{stage}.done").read_bytes() for stage in copy.finished()}
    wanted = {path: path.read_bytes() for path in files(copy.samples) + files(copy.checkpoints)}
    flip(copy.checkpoints / "trained-seed0" / "final" / "adapter_model.safetensors", 0.9)
    flip(copy.samples / "base.position.jsonl")
    flip(copy.path / "audit.json")
    for stage in ("prepare", "score-self-seed0"):
        flip(copy.stages / f"{stage}.done", 0.2)
    command = ["runs", "verify", copy.name, "--runs", str(copy.path.parent)]
    assert main(command) == 2
    told = capsys.readouterr().out
    assert all(name in told for name in ("adapter_model.safetensors", "base.position.jsonl", "prepare.done"))
    assert main([*command, "--repair"]) == 0
    assert "sound" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in wanted} == wanted
    anew = {stage for stage, marker in names.items() if (copy.stages / f"{stage}.done").read_bytes() != marker}
    assert anew == {"prepare", "train-trained-seed0", "score-base", "score-self-seed0", "report"}


def test_other_weights_in_their_place_make_the_scores_of_the_old_ones_due(copy: RunDirectory) -> None:
    trained, other = (copy.checkpoints / name / "final" for name in ("trained-seed0", "self-seed0"))
    shutil.rmtree(trained)
    shutil.copytree(other, trained)
    found = copy.damage("score-trained-seed0")
    assert list(found) == [trained / MARKER]
    shutil.rmtree(trained)
    assert copy.damage("score-trained-seed0") == {}, "weights that were deleted to make room say nothing of the scores"


def test_a_run_of_before_there_were_manifests_is_read_and_says_so(
    copy: RunDirectory, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in copy.stages.glob("*.done"):
        stored = json.loads(path.read_text())
        path.write_text(
            json.dumps({key: stored[key] for key in ("stage", "started", "finished", "seconds", "outputs")})
        )
    for path in copy.checkpoints.rglob(MARKER):
        path.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        again(copy)
        report(copy)
    assert "carries no hashes" in caplog.text
    assert main(["runs", "verify", copy.name, "--runs", str(copy.path.parent)]) == 0
    assert "sound (7 finished stages, but 8 carry no hashes: prepare, score-base, " in capsys.readouterr().out


@pytest.mark.long
def test_with_a_flipped_bit_anywhere_results_are_the_same_or_the_file_is_named(
    copy: RunDirectory, finished: Path, tmp_path: Path
) -> None:
    """Report and resume over every file of a run, with one bit flipped in the middle of it."""
    kept = ("results.json", "verdict.json", "labels.json")

    def results() -> list[object]:
        return [json.loads((copy.path / name).read_text()) for name in kept if (copy.path / name).is_file()]

    report(copy)
    wanted, silent = results(), []
    for path in files(copy.path):
        name = str(path.relative_to(copy.path))
        for act in (report, again):
            flip(path)
            try:
                act(copy)
                same = results() == wanted or path.name in json.dumps(results())
            except RunError as error:
                same = path.name in str(error)
            if not same or (weights(copy) != weights(RunDirectory(finished)) and "adapter_model" not in name):
                silent.append((name, act.__name__))
            shutil.rmtree(copy.path)
            shutil.copytree(finished, copy.path)
    assert silent == []
