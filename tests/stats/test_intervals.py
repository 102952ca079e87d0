from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.errors import DataError
from graft.stats import cluster_bootstrap_mean, wilson


def test_wilson_matches_the_worked_value() -> None:
    # 8 of 10: centre (0.8 + 0.38415/2)/1.38415 = 0.71674; half-width 0.22658.
    found = wilson(8, 10)
    assert (found.estimate, found.n) == (0.8, 10)
    assert found.low == pytest.approx(0.4902, abs=1e-4)
    assert found.high == pytest.approx(0.9433, abs=1e-4)


def test_wilson_of_nothing_is_undefined_with_the_reason() -> None:
    found = wilson(0, 0)
    assert math.isnan(found.estimate) and math.isnan(found.low) and found.reason == "no items"
    assert not found.defined


@given(n=st.integers(1, 5000), share=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_wilson_holds_its_estimate_and_stays_in_the_unit_interval(n: int, share: float, level: float) -> None:
    found = wilson(round(share * n), n, level)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


@given(n=st.integers(1, 500), share=st.floats(0, 1))
def test_wilson_is_symmetric_in_right_and_wrong(n: int, share: float) -> None:
    right = round(share * n)
    one, other = wilson(right, n), wilson(n - right, n)
    assert one.low == pytest.approx(1 - other.high, abs=1e-12)


@pytest.mark.parametrize(("right", "n", "level"), [(11, 10, 0.95), (-1, 10, 0.95), (1, -1, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_impossible_counts_and_levels(right: int, n: int, level: float) -> None:
    with pytest.raises(DataError, match="but got"):
        wilson(right, n, level)


def test_the_cluster_interval_has_the_width_of_the_normal_one_when_every_cluster_is_one_item() -> None:
    values = np.tile([0.0, 1.0], 200)
    found = cluster_bootstrap_mean(values, np.arange(400), np.random.default_rng(0))
    half = 1.96 * 0.5 / math.sqrt(400)
    assert found.estimate == 0.5
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_items_that_repeat_a_word_do_not_narrow_the_interval() -> None:
    words = np.random.default_rng(1).random(100) < 0.5
    once = cluster_bootstrap_mean(words, np.arange(100), np.random.default_rng(2))
    thrice = cluster_bootstrap_mean(np.repeat(words, 3), np.repeat(np.arange(100), 3), np.random.default_rng(2))
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "clusters", "reason"),
    [([], [], "no items"), ([1.0, np.nan], ["a", "b"], "1 of 2"), ([1.0, 0.0], ["a", "a"], "one cluster")],
)
def test_an_undefined_mean_says_why(values: list[float], clusters: list[str], reason: str) -> None:
    found = cluster_bootstrap_mean(values, np.array(clusters), np.random.default_rng(0), 100)
    assert math.isnan(found.low) and math.isnan(found.high) and reason in found.reason


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="one label per item"):
        cluster_bootstrap_mean([1.0, 0.0], np.array(["a"]), np.random.default_rng(0))
