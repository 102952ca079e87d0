"""Which scored task carries a claim, and of which only harm is reported."""

from __future__ import annotations

from typing import Any

import pytest

from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.pipeline.branches import collateral_tasks, target_tasks
from graft.pipeline.prepare.validate import validate


def recipe(trained: str, scored: list[Any]) -> Recipe:
    return Recipe.model_validate({"data": {"train": trained}, "eval": {"tasks": scored}})


@pytest.mark.parametrize(
    ("trained", "scored", "targets", "collateral"),
    [
        ("spelling", ["spelling", "position", "count"], ("position", "count"), ()),
        ("spelling", ["spelling", "position", "glue/sst2"], ("position",), ("glue/sst2",)),
        ("spelling", ["position", {"task": "count", "role": "collateral"}], ("position",), ("count",)),
        ("spelling", [{"task": "glue/sst2", "role": "target"}], ("glue/sst2",), ()),
        ("glue/sst2", ["glue/sst2", "glue/cola", "imdb"], ("glue/cola",), ("imdb",)),
    ],
)
def test_a_general_task_is_no_target_by_itself(
    trained: str, scored: list[Any], targets: tuple[str, ...], collateral: tuple[str, ...]
) -> None:
    found = recipe(trained, scored)
    assert (target_tasks(found), collateral_tasks(found)) == (targets, collateral)


@pytest.mark.parametrize(
    ("task", "role", "message"),
    [
        ("spelling", "target", "eval.roles says spelling is target, but data.train trains it"),
        ("wikitext", "target", "wikitext is a target, but it is plain text"),
    ],
)
def test_a_role_that_means_nothing_is_refused(task: str, role: str, message: str) -> None:
    found = recipe("spelling", ["spelling", {"task": task, "role": role}] if task != "spelling" else
                   [{"task": task, "role": role}])  # fmt: skip
    with pytest.raises(ConfigError, match=message):
        validate(found, training=False)
