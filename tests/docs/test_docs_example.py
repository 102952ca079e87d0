"""The example of docs/extending.md really runs: its task, its test, and its place in the registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import DOCS, examples

from graft import tasks
from graft.tasks.words.audit import audit_words
from graft.tasks.words.task import WordTask

EXAMPLE = examples(DOCS / "extending.md")
MODULE = "graft.tasks.vowels"


@pytest.fixture
def task_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[WordTask]:
    """The class of the page's task, importable under the name that the page gives it."""
    (tmp_path / "vowels.py").write_text(EXAMPLE["src/graft/tasks/vowels.py"], encoding="utf-8")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    from graft.tasks.vowels import VowelsTask

    monkeypatch.setitem(tasks._WORD_TASKS, VowelsTask.card.name, VowelsTask)
    return VowelsTask


def test_the_registered_example_is_a_task_like_any_other(task_class: type[WordTask]) -> None:
    from graft.tasks.words.split import package_sets

    task = tasks.load("vowels", package_sets(20, 20, seed=0))
    assert "vowels" in tasks.names()
    assert len(task_class.train_phrasings) >= 8
    assert len(task_class.heldout_phrasings) >= 3
    for example in task.examples("eval", limit=20, seed=0):
        assert f" {example.cluster}" in example.prompt
        assert task.score(example, example.gold).strict


def test_no_held_out_phrasing_of_the_example_is_trained(task_class: type[WordTask]) -> None:
    train, heldout = ([p.text for p in group] for group in (task_class.train_phrasings, task_class.heldout_phrasings))
    assert audit_words(["straw"], ["banana"], train_prompts=train, eval_prompts=heldout).ok


def test_the_test_on_the_page_passes(tmp_path: Path) -> None:
    (tmp_path / "vowels.py").write_text(EXAMPLE["src/graft/tasks/vowels.py"], encoding="utf-8")
    (tmp_path / "conftest.py").write_text(f"import graft.tasks as t\nt.__path__.append({str(tmp_path)!r})\n")
    (tmp_path / "test_vowels.py").write_text(EXAMPLE["tests/tasks/test_vowels.py"], encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tmp_path]
    done = subprocess.run([*run, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
