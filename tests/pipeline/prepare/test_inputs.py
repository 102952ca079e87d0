from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import toy_model

from graft.config.loading import Resolved
from graft.errors import ConfigError
from graft.models.loading import load_tokenizer
from graft.pipeline.prepare import inputs
from graft.pipeline.prepare.inputs import hash_data, hash_inputs
from graft.pipeline.prepare.lab import prepare
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import train
from graft.runs.directory import RunDirectory
from graft.runs.provenance import version_of

Build = Callable[..., Resolved]


def rows(answer: str, start: int) -> str:
    return "".join(json.dumps({"prompt": f"q{n}", "completion": answer}) + "\n" for n in range(start, start + 12))


@pytest.fixture
def recipe(tmp_path: Path, small_recipe: Build) -> Resolved:
    """A recipe that reads files of every kind."""
    model = tmp_path / "model"
    toy_model().save_pretrained(model)
    load_tokenizer("sprout").save_pretrained(model)
    (tmp_path / "train.jsonl").write_text(rows("yes", 0))
    (tmp_path / "eval.jsonl").write_text(rows("yes", 100))
    (tmp_path / "book.txt").write_text("A text of some words.\n\nAnd another one.\n" * 40)
    task = {"name": "t", "train": str(tmp_path / "train.jsonl"), "eval": str(tmp_path / "eval.jsonl")}
    return small_recipe(
        tmp_path / "runs", model__id=str(model), data__tasks=[task], data__train="t", eval__tasks=["t"],
        data__corpus=[str(tmp_path / "book.txt")], eval__seen_items=0, study__arms=["trained"], train__max_steps=2,
        check__max_leaked=1.0, data__max_length=200,
    )  # fmt: skip


def again(run: RunDirectory, recipe: Resolved) -> Any:
    return train(recipe, resume=RunDirectory.open(str(run.path), run.path.parent), progress=SilentProgress())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("train.jsonl", r"data\.tasks\[0\]\.train \(.*train\.jsonl\) changed since the run began; restore"),
        ("eval.jsonl", r"data\.tasks\[0\]\.eval \(.*eval\.jsonl\) changed"),
        ("book.txt", r"data\.corpus\[0\] \(.*book\.txt\) changed"),
        ("model/model.safetensors", r"model\.id \(.*model\.safetensors\) changed"),
        ("model/chat_template.jinja", r"tokenizer and template, model\.id \(.*chat_template\.jinja\) changed"),
    ],
)
def test_a_run_is_not_continued_on_a_file_that_changed(tmp_path: Path, recipe: Resolved, name: str, told: str) -> None:
    run = train(recipe, progress=SilentProgress()).run
    again(run, recipe)
    place = tmp_path / name
    before = place.read_bytes()
    if place.suffix == ".safetensors":
        toy_model(seed=1).save_pretrained(place.parent)
    else:
        place.write_bytes(before.replace(b"yes", b"no!").replace(b"another", b"one more") + b" ")
    with pytest.raises(ConfigError, match=told):
        again(run, recipe)
    place.write_bytes(before)
    again(run, recipe)


def test_every_file_of_the_recipe_is_hashed(tmp_path: Path, recipe: Resolved) -> None:
    hashed = " ".join(hash_inputs(prepare(recipe.recipe)))
    for name in ("train.jsonl", "eval.jsonl", "book.txt", "model.safetensors", "config.json", "tokenizer.json"):
        assert name in hashed


def test_a_large_file_is_told_apart_by_pieces_all_through_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "WHOLE_BYTES", 100)
    monkeypatch.setattr(inputs, "_PIECE_BYTES", 16)
    path = tmp_path / "weights"
    seen = set()
    for place in (None, 0, 31 * (10_000 - 16) // 63, 9_999):
        data = bytearray(10_000)
        if place is not None:
            data[place] = 1
        path.write_bytes(data)
        seen.add(inputs._hash_weights(path))
    assert len(seen) == 4


def test_a_run_is_not_continued_by_other_libraries_or_on_other_items(
    tmp_path: Path, recipe: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = prepare(recipe.recipe)
    run = RunDirectory.create(tmp_path / "runs", "run")
    with run.stage("prepare") as outputs:
        outputs["inputs"] = hash_inputs(lab)
    inputs.require_same_inputs(run, lab)
    with monkeypatch.context() as patch:
        patch.setattr(inputs, "version_of", lambda name: "9.9" if name in ("torch", "peft") else version_of(name))
        with pytest.raises(ConfigError, match=r"torch 2\.\S+ \(now 9\.9\), peft .* changed since"):
            inputs.require_same_inputs(run, lab)
    with monkeypatch.context() as patch:  # as when a task makes other items of the same file
        patch.setattr(inputs, "hash_data", lambda lab: {**hash_data(lab), "t.eval": "0"})
        with pytest.raises(ConfigError, match=r"run: items of t\.eval changed since"):
            inputs.require_same_inputs(run, lab)
