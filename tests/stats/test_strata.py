from __future__ import annotations

import math

import numpy as np
import pytest

from graft.errors import DataError
from graft.stats import TaskScores, benjamini_hochberg, by_stratum

N = 300
RNG = np.random.default_rng(0)
LENGTH = np.r_[np.full(150, 4), np.full(140, 10), np.full(10, 12)]
BASE = RNG.random(N) < 0.4
# Short words gain a lot, long ones nothing beyond noise.
TRAINED = np.where(LENGTH == 4, RNG.random((2, N)) < 0.8, RNG.random((2, N)) < 0.4)
SCORES = TaskScores("count", np.arange(N), BASE, {"trained": TRAINED})


def test_each_level_has_its_own_change_and_sizes() -> None:
    rows = by_stratum(SCORES, {"length": LENGTH})
    assert [(r.stratum, r.level, r.n_items) for r in rows] == [
        ("length", "4", 150),
        ("length", "10", 140),
        ("length", "12", 10),
    ]
    assert rows[0].change.estimate == pytest.approx(TRAINED[:, :150].mean() - BASE[:150].mean())
    assert rows[0].change.low > 0.2 and rows[1].change.low < 0 < rows[1].change.high
    assert (rows[0].after, rows[0].before) == (TRAINED[:, :150].mean(), BASE[:150].mean())
    assert all(row.exploratory for row in rows)


def test_a_level_under_twenty_items_is_undefined_with_the_reason_and_does_not_count() -> None:
    rows = by_stratum(SCORES, {"length": LENGTH})
    assert math.isnan(rows[2].p) and math.isnan(rows[2].p_adjusted)
    assert rows[2].change.reason == "10 items, under 20"
    assert [r.p_adjusted for r in rows[:2]] == pytest.approx(benjamini_hochberg([r.p for r in rows[:2]]))


def test_p_is_adjusted_over_all_strata_together() -> None:
    strata = {"length": LENGTH, "half": np.tile(["a", "b"], N // 2)}
    rows = by_stratum(SCORES, strata)
    assert [r.p_adjusted for r in rows] == pytest.approx(benjamini_hochberg([r.p for r in rows]), nan_ok=True)
    assert [(r.stratum, r.level) for r in rows[3:]] == [("half", "a"), ("half", "b")]


def test_no_strata_give_no_rows() -> None:
    assert by_stratum(SCORES, {}) == ()


@pytest.mark.parametrize(
    ("scores", "strata", "rule"),
    [
        (SCORES, {"length": LENGTH[:3]}, "one value for each of 300 items"),
        (TaskScores("count", np.arange(N), None, {"trained": TRAINED}), {}, "'base' was not scored"),
        (TaskScores("count", np.arange(N), BASE, {}), {}, "'trained' was not scored"),
    ],
)
def test_strata_that_cannot_be_broken_down_are_refused(scores: TaskScores, strata: dict, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        by_stratum(scores, strata)
