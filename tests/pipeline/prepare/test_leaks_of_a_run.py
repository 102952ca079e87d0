"""Held-out items are sought in all that is trained by what they say, however each task asks for it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from graft.cli.main import main
from graft.config.loading import load_recipe
from graft.errors import DataError
from graft.pipeline.prepare.lab import prepare
from graft.pipeline.prepare.leaks import audit_leaks
from graft.pipeline.prepare.preflight import preflight
from graft.pipeline.progress import SilentProgress

WORDS = [line.split("\t")[0] for line in Path("src/graft/tasks/words/words.tsv").read_text().splitlines()[1:3000]]
SIZES = [
    "eval.seen_items=0",
    "eval.calibration_items=0",
    "study.arms=[base,trained]",
    "study.seeds=[0,1]",
    "train.max_steps=2",
    "data.max_length=512",
]


def sentence(seed: int, words: int = 14) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_file(folder: Path, trained: list[dict[str, Any]], scored: list[dict[str, Any]], **task: Any) -> Path:
    """One task is trained, another one, which asks otherwise, is scored."""
    trained_file = write(folder / "trained.jsonl", trained)
    other_file = write(folder / "other.jsonl", labelled([sentence(7000), sentence(7001)]))
    scored_file = write(folder / "scored.jsonl", scored)
    first = {
        "name": "mood",
        "train": str(trained_file),
        "eval": str(other_file),
        "prompt": "Is this good or bad? {text}",
        "label": "label",
    }
    second = {
        "name": "topic", "eval": str(scored_file), "label": "topic",
        "prompt": "Name the topic of the following passage in one word, please.\n\nPassage: {passage}\n\nTopic:",
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(
        json.dumps({
            "runs": str(folder / "runs"),
            "data": {"tasks": [{**first, **task}, second], "train": "mood"},
            "eval": {"tasks": ["topic"], "items": 100},
        })
    )  # fmt: skip
    return path


def labelled(texts: list[str]) -> list[dict[str, Any]]:
    return [{"text": one, "label": ("good", "bad")[place % 2]} for place, one in enumerate(texts)]


def topics(texts: list[str]) -> list[dict[str, Any]]:
    return [{"id": place, "passage": one, "topic": ("oil", "tea")[place % 2]} for place, one in enumerate(texts)]


def test_the_same_sentences_behind_another_question_are_found(tmp_path: Path) -> None:
    said = [sentence(seed) for seed in range(60)]
    path = recipe_file(tmp_path, labelled(said[:30] + [sentence(seed) for seed in range(100, 160)]), topics(said))
    (report,) = audit_leaks(prepare(load_recipe(path, SIZES).recipe), SilentProgress())
    assert (report.task, report.held_out, report.counts["exact"]) == ("topic", 60, 30)


def test_a_corpus_that_is_trained_holds_held_out_items(tmp_path: Path) -> None:
    said = [sentence(seed) for seed in range(40)]
    folder = tmp_path / "texts"
    folder.mkdir()
    for place in range(5):
        (folder / f"{place}.txt").write_text(
            " ".join([sentence(200 + place, 300), said[place], sentence(300 + place, 99)])
        )
    other = tmp_path / "other.txt"
    other.write_text(sentence(900, 50))
    task = {"train": str(folder), "eval": str(other), "unit": "file", "prompt": None, "label": None, "format": "text"}
    path = recipe_file(tmp_path, labelled(said), topics(said), **task)
    (report,) = audit_leaks(prepare(load_recipe(path, SIZES).recipe), SilentProgress())
    assert report.counts["contained"] == 5 and len(report.leaked) == 5


def test_held_out_texts_of_a_corpus_are_sought_too(tmp_path: Path) -> None:
    corpus = [{"text": sentence(seed, 40)} for seed in range(20)]
    train, held_out = (
        write(tmp_path / "train.jsonl", corpus),
        write(tmp_path / "eval.jsonl", [*corpus[:4], {"text": "Ho!"}]),
    )
    section = f"data.tasks=[{{name: prosa, train: {train}, eval: {held_out}}}]"
    recipe = load_recipe(None, [section, "data.train=prosa", "eval.tasks=[prosa]", "eval.items=9", *SIZES]).recipe
    (report,) = audit_leaks(prepare(recipe), SilentProgress())
    assert (report.held_out, report.share) == (4, 1.0)


def test_a_run_with_leaks_is_refused_and_the_clean_ids_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [sentence(seed) for seed in range(60)]
    path = recipe_file(tmp_path, labelled(said[:30]), topics(said))
    lab = prepare(load_recipe(path, SIZES).recipe)
    with pytest.raises(DataError, match=r"30 of 60 held-out items of topic \(50.0%\)"):
        preflight(lab, SilentProgress()).require()
    clean = tmp_path / "clean.txt"
    assert main(["check", str(path), *SIZES, "--drop-leaks", str(clean)]) == 2
    assert "leak audit failed" in capsys.readouterr().err
    ids = [example.id for items in lab.items for example in items.examples]
    kept = clean.read_text().split()
    assert len(kept) == 30 and set(kept) < set(ids)
    assert {int(name.rpartition("/")[2]) for name in kept} == set(range(30, 60))
