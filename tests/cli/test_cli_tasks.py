"""`graft tasks` over datasets: listed by kind, shown with rows of a hub's stand-in, and one clear error without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.hub_fixtures import classification_repos
from tests.data.hub_stand_in import Hub, repo, serving

from graft import tasks
from graft.cli.main import main


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    corpus = repo("Skylion007/openwebtext", {"plain_text": {"train": [{"text": f"page {n}"} for n in range(90)]}})
    with serving([*classification_repos(), corpus]) as hub:
        yield hub


def shown(hub: Hub, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GRAFT_OFFLINE"))}
    environment = {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "graft", "tasks", "show", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_datasets_are_listed_by_kind_with_size_metric_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    text = capsys.readouterr().out
    titles = ("Words\n", "Classification\n", "Multiple choice\n", "Answers\n", "Code\n", "Plain text\n")
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)
    for name in tasks.names():
        card = tasks.card(name)
        line = next(line for line in text.splitlines() if line.split()[:1] == [name])
        assert card.metric in line and card.licence in line and (card.size or "–") in line
    assert main(["tasks", "list", "--json"]) == 0
    assert {"size", "metric", "licence", "kind"} <= set(json.loads(capsys.readouterr().out)[-1])


def test_a_dataset_is_shown_with_rendered_rows(hub: Hub, tmp_path: Path) -> None:
    done = shown(hub, tmp_path, "glue/mrpc", "-n", "3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["examples"]
    assert {split: len(items) for split, items in found.items()} == {"training rows": 3, "held-out rows": 3}
    assert all(item["prompt"].endswith("Relation:") for items in found.values() for item in items)
    told = shown(hub, tmp_path, "glue/mrpc", "-n", "3").stdout
    assert told.count("Determine if these two sentences are equivalent or not_equivalent in meaning.") == 6
    assert "3,668 train" in told and "→ equivalent" in told


def test_a_corpus_is_shown_without_being_kept(hub: Hub, tmp_path: Path) -> None:
    done = shown(hub, tmp_path, "openwebtext", "-n", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["examples"]["training rows"]) == 2
    assert not list(tmp_path.rglob("*.arrow"))


def test_what_cannot_be_read_is_one_line_and_code_2(hub: Hub, tmp_path: Path) -> None:
    gone = Hub(hub.url, {})
    with serving([]) as empty:
        gone.url = empty.url
        unknown = shown(gone, tmp_path, "imdb")
    offline = shown(gone, tmp_path, "imdb")
    for done, told in ((unknown, "was not found"), (offline, "cannot be reached")):
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr and done.stderr.count("\n") == 1
