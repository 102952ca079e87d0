from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from graft.errors import StorageError
from graft.runs.space import format_bytes, free_bytes, require_space


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
