"""A recipe for a table: columns found out, and a recipe that checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graft.cli.main import main
from graft.config.loading import load_recipe
from graft.errors import ConfigError
from graft.pipeline.prepare.effect import effective
from graft.pipeline.prepare.validate import validate
from graft.workbench.proposal import propose

KINDS = ("praise", "complaint", "question")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(name: str = "messages.csv", rows: int = 60) -> Path:
    lines = [f"{index},user{index % 20},the message number {index // 2},{KINDS[index % 3]}" for index in range(rows)]
    Path(name).write_text("\n".join(["number,customer_id,message,kind", *lines]) + "\n", encoding="utf-8")
    return Path(name)


def test_a_table_becomes_a_recipe_that_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(table())]) == 0
    told = capsys.readouterr().out
    assert "label kind: praise 33%" in told
    assert "⟦" in told and "Wrote messages.yaml" in told
    resolved = effective(load_recipe(Path("messages.yaml")))
    validate(resolved.recipe)
    (task,) = resolved.recipe.data.tasks
    assert (task.name, task.label, task.group, {*task.labels}) == ("messages", "kind", "customer_id", {*KINDS})
    assert task.prompt is not None and "{message}" in task.prompt and "{number}" not in task.prompt
    assert 15 <= len(Path("messages.yaml").read_text(encoding="utf-8").splitlines()) <= 30


def test_answers_shapes_and_what_is_not_clear() -> None:
    rows = [{"question": f"what is number {index}", "answer": f"it is the number {index}"} for index in range(30)]
    Path("qa.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert "completion: " in propose(Path("qa.jsonl")).text
    chats = [
        {"messages": [{"role": "user", "content": f"hi {i}"}, {"role": "assistant", "content": "ho"}]} for i in range(9)
    ]
    Path("chats.jsonl").write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
    assert "prompt" not in propose(Path("chats.jsonl")).text
    Path("two.csv").write_text(
        "text,a,b\n" + "".join(f"some text {i},{i % 2},{i % 3}\n" for i in range(30)), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"several may be \(a, b\); name it: --label COLUMN"):
        propose(Path("two.csv"))
    assert "label: b" in propose(Path("two.csv"), label="b").text
    with pytest.raises(ConfigError, match="has no column 'c'"):
        propose(Path("two.csv"), label="c")


def test_what_cannot_be_a_table_or_beside_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("book.xlsx").write_bytes(b"PK")
    for arguments, said in (
        (["book.xlsx"], "is an Excel workbook"),
        ([str(table()), "--lora-r", "8"], "adapter.r cannot be set beside a table"),
        (["mine.yaml", "--label", "x"], "--label is about a table"),
    ):
        assert main(["init", *arguments]) == 2
        assert said in capsys.readouterr().err
