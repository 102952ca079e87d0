from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from graft.errors import StorageError
from graft.runs.space import format_bytes, free_bytes, require_space, storage_errors


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (8.44e9, "8.4 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_bytes_are_shown_in_decimal_units(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_space_is_asked_of_the_nearest_folder_that_exists(small_disk: Path) -> None:
    assert free_bytes(small_disk / "a" / "b.bin") == shutil.disk_usage(small_disk).free == 65_536


def test_too_little_space_is_named_in_numbers(small_disk: Path) -> None:
    require_space(small_disk / "a", 65_536, "1 checkpoint")
    with pytest.raises(StorageError, match=r"3 checkpoints needs 1\.0 MB, but 65\.5 kB are free"):
        require_space(small_disk / "a", 1_000_000, "3 checkpoints")
    assert list(small_disk.iterdir()) == []


def test_a_file_that_torch_could_not_write_to_its_end_is_one_message(tmp_path: Path) -> None:
    said = r"scheduler\.pt cannot be written: Input/output error"
    with pytest.raises(StorageError, match=said) as caught, storage_errors(tmp_path / "scheduler.pt"):
        raise RuntimeError("basic_ios::clear: iostream error")
    assert caught.value.errno == errno.EIO
    with pytest.raises(RuntimeError, match="another"), storage_errors(tmp_path / "scheduler.pt"):
        raise RuntimeError("another")
