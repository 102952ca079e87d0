from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from graft.errors import RunError, StorageError
from graft.runs.files import (
    append_line,
    commit_folder,
    is_committed,
    read_json,
    read_jsonl,
    remove_leftovers,
    replacing,
    replacing_folder,
    write_bytes,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_whole_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "größe-长.txt"
    write_text(path, "naïve\nשלום")
    assert path.read_text(encoding="utf-8") == "naïve\nשלום"
    assert names(path.parent) == [path.name]


def test_json_keeps_the_given_order_and_text_as_it_is(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"z": "é", "a": [1, 2]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "z": "é",\n  "a": [\n    1,\n    2\n  ]\n}\n'


def test_numbers_that_are_not_finite_become_null_at_any_depth(tmp_path: Path) -> None:
    value = {
        "a": math.nan,
        "b": [math.inf, {"c": (-math.inf, 0.5)}],
        "d": np.float32("nan"),
        "e": np.array([1.0, np.nan]),
    }
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == {"a": None, "b": [None, {"c": [None, 0.5]}], "d": None, "e": [1.0, None]}


def test_half_a_surrogate_pair_survives_as_json_and_does_not_stop_a_text(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"reply": "é\udcff"})
    assert read_json(tmp_path / "a.json") == {"reply": "é\udcff"}
    write_text(tmp_path / "a.html", "<p>\udcff</p>")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == "<p>\\udcff</p>"


def test_what_has_no_json_form_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_old_file_stays_when_the_writer_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "figure.png"
    write_bytes(path, b"old")
    with pytest.raises(error), replacing(path) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["figure.png"]


def test_an_error_about_another_file_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "out.txt"):
        (tmp_path / "input" / "missing.txt").read_text()
    assert not isinstance(caught.value, StorageError)
    with pytest.raises(TimeoutError), replacing(tmp_path / "out.txt"):
        raise TimeoutError("no answer")


def test_a_full_disk_is_named_with_bytes_and_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(StorageError, match=r"a\.bin cannot be written: the disk is full .*200\.0 kB needed, .* free"):
        write_bytes(path, bytes(200_000))
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["a.bin"]


def test_a_full_disk_behind_a_library_is_recognised(small_disk: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = {"a": torch.zeros(100_000)}
    for save in (torch.save, safetensors.save_file):
        with (
            pytest.raises(StorageError, match="checkpoint-1 cannot be written: the disk is full"),
            replacing_folder(small_disk / "checkpoint-1") as folder,
        ):
            save(tensors, folder / "model.bin")
        assert names(small_disk) == []


def test_a_read_only_disk_is_named(read_only: Path) -> None:
    with pytest.raises(StorageError, match="the file system is read-only"):
        write_text(read_only / "a.txt", "x")
    with pytest.raises(StorageError, match="the file system is read-only"):
        append_line(read_only / "a.jsonl", "{}")


def test_a_path_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (write_text, append_line):
        with pytest.raises(StorageError, match="file is not a folder"):
            write(tmp_path / "file" / "a" / "b.txt", "x")


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with suppress(PermissionError):
        (folder / "probe").touch()
        pytest.skip("permissions do not bind this user, who is probably root")
    with pytest.raises(StorageError, match=r"a\.txt cannot be written: permission denied in .*locked"):
        write_text(folder / "a.txt", "x")


def test_a_killed_writer_leaves_the_old_file_and_its_remains_are_cleared(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    program = (
        "import os, pathlib, sys; from graft.runs.files import replacing, replacing_folder\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "with replacing(root / 'a.txt') as one, replacing_folder(root / 'checkpoint') as two:\n"
        "    one.write_text('half'); (two / 'model').write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == -9
    assert (tmp_path / "a.txt").read_text() == "old"
    assert not (tmp_path / "checkpoint").exists()
    assert len(names(tmp_path)) == 3
    with replacing(tmp_path / "b.txt") as mine:
        remove_leftovers(tmp_path)
        assert mine.exists(), "a living writer's file must stay"
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_leftovers_of_an_earlier_process_of_the_same_id_are_cleared_and_those_of_other_machines_are_not(
    tmp_path: Path,
) -> None:
    with replacing(tmp_path / "a.json") as mine:
        living = mine.name
    host, pid, began, _ = living.removeprefix(".tmp-").split("-")
    earlier = f".tmp-{host}-{pid}-{int(began) - 60}-0123456789ab.json"  # as in a container that was started again
    elsewhere = f".tmp-another_{host}-{pid}-{int(began) - 60}-0123456789ab"
    unknown = ".tmp-99999999-0123456789ab.json"  # as older versions named them: of whichever machine
    for name in (living, earlier, unknown):
        (tmp_path / name).touch()
    (tmp_path / elsewhere).mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([living, elsewhere, unknown, "a.json"])


def test_a_folder_counts_only_when_it_is_committed(tmp_path: Path) -> None:
    with pytest.raises(ValueError), replacing_folder(tmp_path / "step-1") as folder:
        (folder / "model").write_text("half")
        raise ValueError
    assert names(tmp_path) == []
    with replacing_folder(tmp_path / "step-1") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "model").write_text("one")
        assert not is_committed(tmp_path / "step-1")
    assert is_committed(tmp_path / "step-1")
    assert (tmp_path / "step-1" / "deep" / "model").read_text() == "one"


def test_a_committed_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for content in ("one", "two"):
        source = tmp_path / f"source-{content}"
        source.mkdir()
        (source / content).write_text(content)
        commit_folder(source, tmp_path / "step-1")
    assert names(tmp_path) == ["step-1"]
    assert names(tmp_path / "step-1") == ["COMPLETE", "two"]


def test_lines_come_back_in_order_with_separators_that_are_not_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    texts = ["a\u2028b", "c\u0085d", "e\rf", "g\nh"]
    for text in texts:
        append_line(path, json.dumps(text, ensure_ascii=False))
    assert read_jsonl(path) == texts
    with pytest.raises(ValueError, match="line break"):
        append_line(path, "1\n2")


@pytest.mark.parametrize("torn", [b'{"a": 2, "b', b'{"a": "\xc3', b"\x00\x00\x00", b'{"a": "' + b"x" * 200_000])
def test_a_torn_last_line_is_reported_then_healed(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + torn)
    seen: list[tuple[int, str]] = []
    assert read_jsonl(path, on_torn=lambda number, text: seen.append((number, text))) == [{"a": 1}]
    assert [number for number, _ in seen] == [2]
    append_line(path, '{"a": 3}')
    assert read_jsonl(path) == [{"a": 1}, {"a": 3}]
    assert path.read_bytes() == b'{"a": 1}\n{"a": 3}\n'


def test_a_whole_last_line_without_its_line_break_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}')
    append_line(path, '{"a": 2}')
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]


def test_a_torn_middle_line_is_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": \n{"a": 3}\n')
    with pytest.raises(RunError, match=r"a\.jsonl, line 3 is damaged"):
        read_jsonl(path)


def test_a_line_that_does_not_fit_leaves_no_part_of_itself(small_disk: Path, fill: Callable[[Path], Path]) -> None:
    path = small_disk / "a.jsonl"
    append_line(path, '{"a": 1}')
    filler = fill(small_disk)
    with pytest.raises(StorageError, match="the disk is full"):
        append_line(path, json.dumps({"a": "x" * 9000}))
    assert path.read_bytes() == b'{"a": 1}\n'
    filler.unlink()
    append_line(path, '{"a": 2}')
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    program = (
        "import pathlib, sys; from graft.runs.files import append_line\n"
        "path, number = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "for i in range(200): append_line(path, '[%s, %d, \"%s\"]' % (number, i, 'x' * 3000))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), str(number)]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = read_jsonl(path)
    for number in range(3):
        assert [line[1] for line in lines if line[0] == number] == list(range(200))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_json_file_is_a_run_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_a_missing_file_is_a_run_error(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(RunError, match="does not exist"):
        read(tmp_path / "a.json")
