from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import psutil
import pytest

import graft
from graft.errors import DataError
from graft.runs.files import read_json, write_json
from graft.runs.provenance import collect, git_state, hash_file, hash_rows, masked_arguments, masked_environment


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_everything_that_can_change_a_result_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_OFFLINE", "1")
    monkeypatch.setenv("GRAFT_HUB_TOKEN", "abc")
    monkeypatch.setattr(sys, "argv", ["graft", "run", "recipe.yaml", "hub.token=abc"])
    found = collect(
        recipe_hash="r",
        seeds=[1, 2],
        data_hashes={"words": "d"},
        inputs={"a.txt": "e"},
        extra={"accelerator": "none", "note": "x"},
    )
    write_json(tmp_path / "provenance.json", found)
    stored = read_json(tmp_path / "provenance.json")
    assert stored == json.loads(json.dumps(found))
    assert (stored["recipe_hash"], stored["seeds"], stored["data_hashes"]) == ("r", [1, 2], {"words": "d"})
    assert stored["inputs"] == {"a.txt": "e"}
    assert stored["graft"] == graft.__version__
    assert stored["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert stored["libraries"]["numpy"]
    assert stored["hardware"]["memory_bytes"] == psutil.virtual_memory().total
    assert stored["hardware"]["cores_usable"] >= 1
    assert stored["hardware"]["cpu"]
    assert stored["hardware"]["accelerator"] == "none"
    assert stored["extra"] == {"note": "x"}
    assert stored["environment"]["GRAFT_OFFLINE"] == "1"
    assert stored["command"] == ["graft", "run", "recipe.yaml", "hub.token=***"]
    assert datetime.fromisoformat(stored["started"]).tzinfo is not None
    assert "abc" not in (tmp_path / "provenance.json").read_text()


def test_libraries_are_named_without_being_loaded() -> None:
    program = (
        "import sys; from graft.runs.provenance import collect\n"
        "found = collect(recipe_hash='', seeds=[], data_hashes={}, inputs={})\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)), found['libraries']['torch'] is not None)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[] True\n"


def test_a_checkout_is_described_by_commit_branch_and_changes(tmp_path: Path) -> None:
    assert git_state(tmp_path)["reason"]
    git(tmp_path, "init", "-b", "main")
    assert git_state(tmp_path)["commit"] is None
    (tmp_path / "a.py").write_text("a")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "a")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": commit, "branch": "main", "dirty": False}
    (tmp_path / "b.py").write_text("b")
    assert git_state(tmp_path)["dirty"] is True
    (tmp_path / "b.py").unlink()
    (tmp_path / "a.py").write_text("changed")
    git(tmp_path, "checkout", "--detach")
    assert git_state(tmp_path) == {"commit": commit, "branch": None, "dirty": True}


def test_an_untracked_folder_in_a_foreign_checkout_is_not_described_by_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-b", "main")
    (tmp_path / "a.py").write_text("a")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "a")
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "graft.py").write_text("")
    state = git_state(tmp_path / "installed")
    assert state["commit"] is None
    assert state["reason"]


def test_a_machine_without_git_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == {"commit": None, "branch": None, "dirty": None, "reason": "git is not installed"}


def test_secrets_in_the_environment_are_masked_and_strangers_left_out() -> None:
    environment = {
        "GRAFT_API_KEY": "abc",
        "GRAFT_CACHE": "s3://me:pass@cache/",
        "GRAFT_MAX_TOKENS": "64",
        "GRAFT_URL": "https://me:pass@example.org/x",
        "GRAFT_OTHER": "hf_abcdefghijklmnop",
        "OMP_NUM_THREADS": "2",
        "AWS_SECRET_ACCESS_KEY": "abc",
        "HOME": "/home/me",
    }
    assert masked_environment(environment) == {
        "GRAFT_API_KEY": "***",
        "GRAFT_CACHE": "s3://***@cache/",
        "GRAFT_MAX_TOKENS": "***",
        "GRAFT_OTHER": "***",
        "GRAFT_URL": "***",
        "OMP_NUM_THREADS": "2",
    }


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        (["--token", "abc", "run"], ["--token", "***", "run"]),
        (["--api-key=abc"], ["--api-key=***"]),
        (["serve.api_key=abc", "train.max_tokens=5"], ["serve.api_key=***", "train.max_tokens=5"]),
        (["--token", "--quiet", "x"], ["--token", "--quiet", "x"]),
        (["x/hf_abcdefghijklmnop"], ["x/***"]),
        (["key/recipe.yaml", "tokenizer=own"], ["key/recipe.yaml", "tokenizer=own"]),
    ],
)
def test_secrets_on_the_command_line_are_masked(arguments: list[str], masked: list[str]) -> None:
    assert masked_arguments(arguments) == masked


def test_a_files_hash_is_sha256_of_its_bytes(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "a").write_bytes(data)
    assert hash_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="cannot be read"):
            hash_file(path)


def test_the_hash_of_rows_depends_on_text_order_and_borders() -> None:
    assert hash_rows(["a", "b"]) == hash_rows(iter(["a", "b"]))
    assert (
        len({hash_rows(rows) for rows in (["a", "b"], ["b", "a"], ["ab"], ["ab", ""], ["", "ab"], [], ["\udcff"])}) == 7
    )
