from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.errors import DataError
from graft.stats import Interval, tost


def test_a_change_well_inside_the_margin_is_equivalent() -> None:
    found = tost(np.linspace(-0.01, 0.01, 999), 0.02)
    assert found.shown and found.p == pytest.approx(1 / 1000)
    assert found.interval.high == pytest.approx(0.009)


def test_p_is_the_larger_of_the_two_one_sided_ones() -> None:
    # 99 values, 10 of them at or above the margin and 2 at or below minus the margin.
    found = tost(np.r_[np.full(10, 0.03), np.full(2, -0.03), np.zeros(87)], 0.02)
    assert found.p == pytest.approx(11 / 100) and not found.shown


def test_an_interval_alone_decides_but_has_no_p() -> None:
    found = tost(Interval(0.0, -0.01, 0.019, 0.90, 100), 0.02)
    assert found.shown and math.isnan(found.p) and "replicates" in found.reason


def test_touching_the_margin_is_not_inside() -> None:
    assert not tost(Interval(0.0, -0.01, 0.02, 0.90, 100), 0.02).shown


def test_an_undefined_interval_shows_nothing_and_passes_its_reason_on() -> None:
    nan = float("nan")
    found = tost(Interval(nan, nan, nan, 0.90, 0, "no items"), 0.02)
    assert not found.shown and found.reason == "no items"


@pytest.mark.parametrize(
    ("given_", "margin"),
    [(np.zeros(9), 0.0), (np.zeros(9), -0.1), (np.zeros(0), 0.02), (Interval(0.0, -0.01, 0.01, 0.95, 10), 0.02)],
)
def test_a_wrong_margin_level_or_nothing_to_test_is_refused(given_: np.ndarray | Interval, margin: float) -> None:
    with pytest.raises(DataError, match="but got"):
        tost(given_, margin)


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=60), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_a_wider_margin_never_loses_equivalence(values: list[float], one: float, other: float) -> None:
    narrow, wide = sorted((one, other))
    small, large = tost(np.array(values), narrow), tost(np.array(values), wide)
    assert large.p <= small.p and large.shown >= small.shown
