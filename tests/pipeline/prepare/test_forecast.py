from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from graft.config.loading import load_recipe
from graft.errors import DataError
from graft.pipeline.prepare.forecast import expected_spread, power_table, require_power
from graft.runs.directory import RunDirectory
from graft.runs.files import write_json


def past_run(folder: Path, name: str, shares: list[list[float]], model: str = "sprout", n: int = 100_000) -> None:
    run = RunDirectory.create(folder, name)
    arms = [
        {"arm": arm, "per_seed": [{"estimate": share} for share in own]}
        for arm, own in zip(("base", "trained", "format"), [[0.5], *shares], strict=True)
    ]
    write_json(run.summary, {"model": model})
    write_json(run.verdict, {"study": {"targets": [{"n_clusters": n, "arms": arms}]}})


def test_without_a_past_run_the_spread_between_seeds_is_assumed_and_said_so(tmp_path: Path) -> None:
    found = expected_spread(load_recipe(None, [f"runs={tmp_path}"]).recipe)
    assert found.sd == 0.02 and "assumed" in found.basis


def test_past_runs_of_the_model_give_the_spread_between_seeds(tmp_path: Path) -> None:
    past_run(tmp_path, "one", [[0.50, 0.54], [0.50, 0.50]])
    past_run(tmp_path, "other-model", [[0.10, 0.90], [0.10, 0.90]], model="other")
    past_run(tmp_path, "one-seed", [[0.10], [0.90]])
    found = expected_spread(load_recipe(None, [f"runs={tmp_path}"]).recipe)
    assert found.sd == pytest.approx(math.sqrt((0.0008 + 0) / 2), rel=0.01)
    assert found.basis == f"as seen in 1 past run of this model in {tmp_path}"


def test_what_items_alone_add_to_the_spread_is_taken_out(tmp_path: Path) -> None:
    past_run(tmp_path, "one", [[0.50, 0.51], [0.50, 0.51]], n=100)
    assert expected_spread(load_recipe(None, [f"runs={tmp_path}"]).recipe).sd == 0.0


def plan(words: int, least: float, judged: tuple[str, ...] = ("count",)) -> dict[str, Any]:
    facts = {"words": words, "smallest_detectable": least}
    known = {"seeds": 2, "seed_sd": 0.3, "seed_sd_from": "assumed"}
    return {"tasks": {"count": facts}, "judged": list(judged), **known}


def test_too_few_words_for_any_verdict_are_refused_before_training() -> None:
    with pytest.raises(DataError, match="count needs at least 20 held-out words, but it has 12"):
        require_power(plan(12, 0.5))
    require_power(plan(20, 0.5))


def test_an_undefined_forecast_is_refused_before_training() -> None:
    with pytest.raises(DataError, match=r"300 words and 2 seeds that spread by 30\.0 points"):
        require_power(plan(300, math.nan))


def test_a_run_without_a_verdict_may_be_as_small_as_it_likes() -> None:
    require_power(plan(2, math.nan, judged=()))


def test_the_power_table_has_a_row_for_each_number_of_words() -> None:
    cells = [(250, 0.1), (250, math.nan), (500, 0.05), (500, 0.04)]
    found = power_table({"power": [{"words": n, "smallest_detectable": least} for n, least in cells]})
    assert found.rows == (("250 words", "10.0", "–"), ("500 words", "5.0", "4.0"))
