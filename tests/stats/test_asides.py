"""Further measures: paired on the items on which they exist."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graft.stats.asides import Aside, compare_aside

NAN = math.nan


def aside(before: object, after: object) -> Aside:
    return compare_aside(
        "count", "mean absolute error", after=("trained", after), before=("base", before),
        clusters=np.arange(np.shape(before)[-1]),
    )  # type: ignore[arg-type]  # fmt: skip


def test_an_error_is_compared_on_the_items_that_have_one_under_both() -> None:
    # items 0 and 3 have no answer somewhere; of the others the errors are 2, 1, 1 and (1, 0, 1), (1, 0, 0)
    found = aside([NAN, 2, 1, 0, 1], [[1, 1, 0, 0, 1], [0, 1, 0, NAN, 0]])
    assert (found.n_items, found.left_out) == (3, 2)
    assert found.value_before == pytest.approx(4 / 3)
    assert found.value_after == pytest.approx(0.5)
    assert found.change.estimate == pytest.approx(0.5 - 4 / 3)
    assert found.change.per_seed == pytest.approx((-2 / 3, -1.0))


def test_a_measure_that_no_item_has_says_so() -> None:
    found = aside([NAN, NAN], [[1, 1]])
    assert math.isnan(found.value_after) and found.change.reason == "no item has this measure under both"


def test_an_error_may_change_by_more_than_one() -> None:
    found = aside([9.0, 8.0, 9.0, 10.0] * 10, [[1.0, 0.0, 2.0, 1.0] * 10] * 2)
    assert found.change.estimate == pytest.approx(-8.0)
    assert found.change.interval.low < -8.0 < found.change.interval.high < -5.0
