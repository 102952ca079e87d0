from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graft.config.loading import Resolved, load_recipe


@pytest.fixture(scope="session")
def small_recipe(toy_folder: Path) -> Callable[..., Resolved]:
    """A complete study on the toy model in seconds; keyword arguments are overrides with ``__`` for the dot."""

    def build(runs: Path, **overrides: Any) -> Resolved:
        settings: dict[str, Any] = {
            "model.id": str(toy_folder),
            "words.train": 200,
            "words.eval": 60,
            "train.max_steps": 4,
            "train.batch_size": 8,
            "train.learning_rate": 3e-3,
            "train.logging_steps": 2,
            "eval.items": 60,
            "eval.seen_items": 20,
            "sampling.max_new_tokens": 6,
            "study.resamples": 1000,
            "runs": str(runs),
        }
        settings |= {key.replace("__", "."): value for key, value in overrides.items()}
        return load_recipe(None, (), settings)

    return build
