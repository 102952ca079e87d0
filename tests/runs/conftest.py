"""A small disk that can be filled or made read-only, and real processes to stop."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a tmpfs with the given options; needs the right to mount."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"mount{len(mounted)}"
        folder.mkdir()
        try:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
            )
        except FileNotFoundError:
            pytest.skip("there is no mount command to make a small disk with")
        if done.returncode != 0:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip().splitlines()[0]}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def small_disk(mount: Callable[[str], Path]) -> Path:
    """A disk of 64 KiB."""
    return mount("size=64k")


@pytest.fixture
def read_only(mount: Callable[[str], Path]) -> Path:
    """A disk that nothing can be written to."""
    return mount("size=64k,ro")


@pytest.fixture
def fill() -> Callable[[Path], Path]:
    """Fills a folder's disk to its last byte; delete the returned file to free it."""

    def run(folder: Path) -> Path:
        filler = folder / "filler"
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 512):
                pass
        return filler

    return run


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a Python program in a process of its own and waits for its first line of output."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        assert process.stdout is not None
        if not process.stdout.readline():
            assert process.stderr is not None
            raise AssertionError(process.stderr.read())
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
