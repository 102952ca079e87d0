"""Files that are made to fill memory or disks, or to be waited for: refused by name, soon, and in little memory."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from graft.data import packed
from graft.data.encodings import open_text
from graft.data.file_form import FileForm
from graft.data.readers import read_file
from graft.errors import DataError

ZEROS = bytes(1 << 20)


def zipped(path: Path, pieces: list[bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.csv", "w") as file:
        for piece in pieces:
            file.write(piece)


def streamed(opened: Callable[..., io.BufferedIOBase]) -> Callable[[Path, list[bytes]], None]:
    def write(path: Path, pieces: list[bytes]) -> None:
        with opened(path, "wb") as file:
            for piece in pieces:
                file.write(piece)

    return write


PACKED = [
    (".gz", streamed(gzip.open)), (".xz", streamed(lzma.open)), (".bz2", streamed(bz2.open)), (".zip", zipped)
]  # fmt: skip


@pytest.mark.parametrize(("ending", "write"), PACKED, ids=[ending for ending, _ in PACKED])
def test_a_file_that_unpacks_to_far_more_than_it_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, write: Callable[[Path, list[bytes]], None]
) -> None:
    monkeypatch.setattr(packed, "SMALL", 1 << 20)  # bombs of that size are made in no time
    path = tmp_path / f"a.csv{ending}"
    write(path, [ZEROS] * 8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"unpacks to more than [0-9,]+, .*unpack it yourself"):
        open_text(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 6000  # kilobytes


def test_files_that_pack_well_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({"text": "the same row " * 20, "n": n}) + "\n" for n in range(5000))
    assert len(read_file(path)) == 5000


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl", "a.txt", "a.parquet", "a.csv.gz", "a.zip"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match="this is no file"):
            read_file(tmp_path / name)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_very_many_columns_are_refused_by_their_number(tmp_path: Path, name: str) -> None:
    columns = [f"c{n}" for n in range(20_000)]
    rows = {
        "a.csv": f"{','.join(columns)}\n{','.join(columns)}\n",
        "a.jsonl": json.dumps(dict.fromkeys(columns, 1)),
        "a.json": json.dumps([dict.fromkeys(columns, 1)]),
    }
    (tmp_path / name).write_text(rows[name])
    began = time.process_time()
    with pytest.raises(DataError, match="20,000 columns, but at most 10,000 are read") as caught:
        read_file(tmp_path / name)
    assert len(str(caught.value)) < 500 and time.process_time() - began < 5


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_number_of_thousands_of_digits_is_told_by_its_place(tmp_path: Path, name: str) -> None:
    row = f'{{"n": {"7" * 5000}}}'
    (tmp_path / name).write_text(f'{{"n": 1}}\n{row}\n' if name == "a.jsonl" else f"[{row}]")
    with pytest.raises(DataError, match=r"line 2: a number of more digits|a number has more digits"):
        read_file(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["rot13", "rot_13", "base64", "hex", "zlib", "punycode", "idna", "unicode_escape", "undefined", "no\0thing"]
)
def test_what_is_no_encoding_of_text_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="none of text that Python reads"):
        read_file(tmp_path / "a.csv", FileForm(encoding=name))
