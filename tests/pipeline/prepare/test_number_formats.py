"""`auto` is decided once in a run, whatever the machine measures later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graft.config.loading import Resolved
from graft.models import devices
from graft.pipeline.prepare.number_formats import settle_precision, settled
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import train
from graft.pipeline.train import weights
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json


def machine(monkeypatch: pytest.MonkeyPatch, *, fast: bool) -> None:
    """One that computes bfloat16 fast, or not."""
    for module in (devices, weights):
        monkeypatch.setattr(module, "computes_bfloat16", lambda device: fast)


def test_a_resumed_run_computes_as_it_began_on_a_machine_that_measures_otherwise(
    small_recipe: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = small_recipe(tmp_path / "runs", train__max_steps=1)
    run = RunDirectory.create(tmp_path, "run")
    machine(monkeypatch, fast=True)
    settle_precision(run, resolved.recipe)
    machine(monkeypatch, fast=False)
    settle_precision(run, resolved.recipe)
    kept = settled(run, resolved.recipe)
    assert (kept.model.precision, kept.model.dtype) == ("bfloat16", "float32")
    assert kept.model_copy(update={"model": resolved.recipe.model}) == resolved.recipe


def test_a_training_stores_what_it_decided_and_obeys_it(
    small_recipe: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, fast=True)
    train(small_recipe(tmp_path, train__max_steps=1, study__arms=["base", "trained"]), progress=SilentProgress())
    [run] = (path for path in tmp_path.iterdir() if path.is_dir())
    assert read_json(run / "precision.json") == {"device": "cpu", "dtype": "float32", "precision": "bfloat16"}
    outputs = read_json(run / "stages" / "train-trained-seed0.done")
    assert "bfloat16" in str(outputs)
