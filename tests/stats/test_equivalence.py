from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.errors import DataError
from graft.stats import Change, Equivalence, Interval, tost
from graft.stats.paired import undefined_change
from graft.stats.spread import Spread


def change(estimate: float, half: float, reach: float = 0.0) -> tuple[Change, Spread]:
    """A change whose 90% interval is ± ``half`` from many words, or ± ``reach`` where that is more."""
    spread = Spread(0.0, 0.0, (half / 1.6449) ** 2, 1e9)
    wide = [max(spread.half(level), reach) for level in (0.95, 0.90)]
    outer, inner = (
        Interval(estimate, estimate - w, estimate + w, level, 100) for w, level in zip(wide, (0.95, 0.90), strict=True)
    )
    return Change(estimate, outer, inner, 1.0, 100, 100, 2, (estimate, estimate)), spread


def shown(estimate: float, half: float, margin: float, reach: float = 0.0) -> Equivalence:
    return tost(*change(estimate, half, reach), margin)


def test_a_change_well_inside_the_margin_is_equivalent() -> None:
    found = shown(0.0, 0.01, 0.02)
    assert found.shown and found.p == pytest.approx(0.0005, rel=0.05)  # 3.29 standard errors, one-sided


def test_p_is_one_in_twenty_where_the_interval_just_reaches_the_margin() -> None:
    assert shown(0.005, 0.015, 0.02).p == pytest.approx(0.05, rel=0.001)


def test_a_change_beyond_the_margin_has_a_large_p() -> None:
    found = shown(0.03, 0.01, 0.02)
    assert not found.shown and found.p == pytest.approx(0.95, rel=0.01)


def test_touching_the_margin_is_not_inside() -> None:
    assert not shown(0.0, 0.0, 0.02, reach=0.02).shown


def test_where_the_exact_bound_decides_there_is_no_p() -> None:
    found = shown(0.0, 0.0, 0.02, reach=0.05)
    assert not found.shown and math.isnan(found.p) and "exact bound" in found.reason


def test_an_undefined_change_shows_nothing_and_passes_its_reason_on() -> None:
    found = tost(undefined_change("no items"), Spread(0.0, 0.0, 0.0, 1.0), 0.02)
    assert not found.shown and found.reason == "no items"


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan")])
def test_a_margin_that_is_not_positive_is_refused(margin: float) -> None:
    with pytest.raises(DataError, match="but got"):
        shown(0.0, 0.01, margin)


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.3), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_a_wider_margin_never_loses_equivalence(estimate: float, half: float, one: float, other: float) -> None:
    narrow, wide = sorted((one, other))
    small, large = shown(estimate, half, narrow), shown(estimate, half, wide)
    assert large.shown >= small.shown and large.p <= small.p + 1e-6
