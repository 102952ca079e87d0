"""Manifests name what differs from what was written: in folders, in stages, and in their own records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graft.cli.main import main
from graft.errors import RunError
from graft.runs.directory import RunDirectory
from graft.runs.files import replacing_folder
from graft.runs.manifest import MARKER, Hashing, folder_damage, hash_files, sentences
from graft.runs.markers import Leaves
from graft.runs.samples import write_samples
from graft.runs.verify import verify_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with replacing_folder(tmp_path / "final") as new:
        (new / "deep").mkdir()
        (new / "weights").write_bytes(bytes(range(256)) * 40)
        (new / "deep" / "settings").write_text("{}")
        (new / "empty").touch()
        (new / "link").symlink_to("/dev/null")
    return tmp_path / "final"


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit": (lambda path: (path / "weights").write_bytes(bytes(range(256)) * 39 + bytes(256)), "SHA-256 differs"),
    "its end": (lambda path: (path / "weights").write_bytes(b"x"), "has 1 bytes instead of 10,240"),
    "a longer file": (lambda path: (path / "empty").write_bytes(b"x"), "has 1 bytes instead of 0"),
    "a file": (lambda path: (path / "deep" / "settings").unlink(), "settings is missing"),
    "a folder for a file": (lambda path: [(path / "empty").unlink(), (path / "empty").mkdir()], "empty"),
    "the marker": (lambda path: (path / MARKER).unlink(), "COMPLETE cannot be read"),
    "no JSON": (lambda path: (path / MARKER).write_text("{"), "COMPLETE does not hold the hashes"),
    "JSON of another kind": (lambda path: (path / MARKER).write_text('{"files": {"weights": 1}}'), "COMPLETE does not"),
    "a name twice": (
        lambda path: (path / MARKER).write_text((path / MARKER).read_text().replace('"empty"', '"weights"')),
        "COMPLETE does not hold the hashes",
    ),
    "an entry without a hash": (lambda path: (path / MARKER).write_text('{"files": {"weights": {}}}'), "has no size"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_names_the_file_and_what_is_wrong(folder: Path, damage: str) -> None:
    assert folder_damage(folder) == {}
    spoil, told = DAMAGE[damage]
    spoil(folder)
    (sentence,) = sentences(folder_damage(folder))
    assert told in sentence and sentence.startswith(str(folder))


def test_a_flipped_bit_anywhere_in_a_manifest_matters_or_says_the_same(folder: Path) -> None:
    text = (folder / MARKER).read_bytes()
    for place in range(len(text)):
        other = bytearray(text)
        other[place] ^= 1 << place % 8
        (folder / MARKER).write_bytes(other)
        if not folder_damage(folder):
            assert json.loads(other) == json.loads(text)


def test_an_empty_marker_of_older_versions_says_nothing(folder: Path) -> None:
    (folder / MARKER).write_bytes(b"")
    (folder / "weights").write_bytes(b"")
    assert folder_damage(folder) == {}


def test_a_log_may_grow_but_not_change(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one")
    run = RunDirectory.create(tmp_path, "run")
    run.metrics.write_text("one\n")
    with run.stage("train", Leaves(grows=[run.metrics])):
        pass
    run.metrics.write_text("one\ntwo\n")
    assert run.damage("train") == {}
    run.metrics.write_text("oni\ntwo\n")
    assert list(run.damage("train")) == [run.metrics]
    run.metrics.write_text("on")
    assert list(run.damage("train")) == [run.metrics]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path, "run")
    with run.stage("train-a", Leaves([run.checkpoints / "a" / "final" / MARKER])) as outputs:
        outputs["steps"] = 3
        with replacing_folder(run.checkpoints / "a" / "final") as new:
            (new / "weights").write_text("weights")
    with run.stage("score-a", Leaves([run.samples], reads=[run.checkpoints / "a" / "final" / MARKER])):
        write_samples(run.samples_file("a.count"), [{"reply": "1"}, {"reply": "2"}])
    return run


def test_a_flipped_bit_anywhere_in_a_stages_marker_matters_or_says_the_same(run: RunDirectory) -> None:
    marker = run.stages / "train-a.done"
    text = marker.read_bytes()
    for place in range(len(text)):
        other = bytearray(text)
        other[place] ^= 1 << place % 8
        marker.write_bytes(other)
        if not run.damage("train-a"):
            assert json.loads(other) == json.loads(text)


def test_a_changed_record_is_refused_where_it_is_read(run: RunDirectory) -> None:
    marker = run.stages / "train-a.done"
    marker.write_text(marker.read_text().replace('"steps": 3', '"steps": 4'))
    with pytest.raises(RunError, match=r"train-a\.done is damaged: its seal"):
        run.outputs("train-a")


def test_verify_names_what_is_damaged_and_ends_with_2(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["runs", "verify", "run", "--runs", str(run.path.parent)]
    assert main(command) == 0
    assert "run: sound (2 finished stages)" in capsys.readouterr().out
    (run.checkpoints / "a" / "final" / "weights").write_text("weighty")
    samples = run.samples_file("a.count")
    samples.write_text(samples.read_text().splitlines(keepends=True)[0])
    assert main(command) == 2
    told = capsys.readouterr().out
    assert "checkpoints/a/final/weights is not what was written" in told
    assert "samples/a.count.jsonl has 15 bytes instead of 30" in told
    assert main([*command, "--json"]) == 2
    (found,) = json.loads(capsys.readouterr().out)
    assert set(found["damage"]) == {"checkpoints/a/final/weights", "samples/a.count.jsonl"}
    assert [stage for stage in run.finished() if run.damage(stage)] == ["score-a", "train-a"]


def test_scores_belong_to_the_weights_they_were_measured_with(run: RunDirectory) -> None:
    marker = run.checkpoints / "a" / "final" / MARKER
    text = marker.read_text()
    with replacing_folder(marker.parent) as new:
        (new / "weights").write_text("others")
    assert marker in run.damage("score-a")
    with replacing_folder(marker.parent) as new:
        (new / "weights").write_text("weights")
    assert marker.read_text() == text and verify_run(run).damage == {}


def test_a_stage_with_a_damaged_marker_is_damaged_and_not_of_before_there_were_manifests(run: RunDirectory) -> None:
    (run.stages / "train-a.done").write_text("{}")
    found = verify_run(run)
    assert list(found.damage) == [run.stages / "train-a.done"] and found.unlisted == ()


def test_a_file_written_anew_on_purpose_is_taken_over(run: RunDirectory) -> None:
    path = run.samples_file("a.count")
    write_samples(path, [{"reply": "3"}])
    assert list(run.damage("score-a")) == [path]
    run.amend("score-a", path)
    assert run.damage("score-a") == {}


def test_hashing_beside_the_writer_gives_what_hashing_afterwards_gives(folder: Path) -> None:
    with Hashing() as hashing:
        hashing.add("weights", folder / "weights")
        assert hashing.manifest() == hash_files(folder, [folder / "weights"])
