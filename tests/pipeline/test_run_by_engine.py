from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graft.config.loading import Resolved
from graft.errors import ConfigError, MissingExtra
from graft.pipeline.prepare.validate import validate
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import evaluate, train

Build = Callable[..., Resolved]


def test_a_run_trained_by_trl_is_that_of_graft_and_scored_without_trl(
    tmp_path: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="needs pip install 'graft-lm[trl]'")
    settings: dict[str, Any] = {"study__arms": ["trained"], "eval__tasks": ["position"], "model__precision": "float32"}
    losses = {}
    for engine in ("native", "trl"):
        resolved = small_recipe(tmp_path / engine, engine__name=engine, **settings)
        trained = train(resolved, progress=SilentProgress()).run
        losses[engine] = trained.outputs("train-trained-seed0")["final_loss"]
    assert losses["native"] == pytest.approx(losses["trl"], abs=1e-4)
    monkeypatch.setitem(sys.modules, "trl", None)  # as on a machine without it
    outcome = evaluate(str(trained.path), small_recipe(tmp_path), progress=SilentProgress())
    assert outcome.run.is_done("score-trained-seed0")


def test_an_engine_is_only_demanded_where_something_is_trained(
    tmp_path: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingExtra, match=r"pip install 'graft-lm\[trl\]'"):
        validate(small_recipe(tmp_path, engine__name="trl").recipe)
    validate(small_recipe(tmp_path, engine__name="trl").recipe, training=False)
    validate(small_recipe(tmp_path, engine__name="trl", study__arms=["base"]).recipe)


def test_unsloth_cannot_train_a_model_that_graft_builds(
    tmp_path: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.pipeline.prepare.validate.require_engine", lambda name: None)
    with pytest.raises(ConfigError, match=r"unsloth, which loads its models itself, but model\.init is random"):
        validate(small_recipe(tmp_path, engine__name="unsloth", model__init="random").recipe)
