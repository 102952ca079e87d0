from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.errors import DataError
from graft.stats import mcnemar_exact, paired_change
from graft.stats.resampling import draw_counts


def scored(gained: int, lost: int, same: int) -> tuple[np.ndarray, np.ndarray]:
    before = np.r_[np.zeros(gained), np.ones(lost), np.ones(same)].astype(bool)
    after = np.r_[np.ones(gained), np.zeros(lost), np.ones(same)].astype(bool)
    return before, after


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (5, 0, 2 / 32),  # 2 · 2⁻⁵
        (6, 1, 2 * (1 + 7) / 128),
        (3, 1, 2 * (1 + 4) / 16),
        (1, 3, 2 * (1 + 4) / 16),
        (2, 2, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_matches_the_binomial_by_hand(gained: int, lost: int, p: float) -> None:
    found = mcnemar_exact(*scored(gained, lost, same=7))
    assert (found.gained, found.lost, found.n) == (gained, lost, gained + lost + 7)
    assert found.p == pytest.approx(p)


def test_mcnemar_refuses_scores_of_other_items() -> None:
    with pytest.raises(DataError, match=r"\(2,\) and \(3,\)"):
        mcnemar_exact([True, False], [True, False, True])


@pytest.mark.parametrize("units", [3, 500])
def test_drawn_counts_are_those_of_drawing_with_replacement(units: int) -> None:
    counts = draw_counts(np.random.default_rng(0), 4000, units)
    assert (counts.sum(axis=1) == units).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(units), abs=0.08)
    assert counts.var(axis=0).mean() == pytest.approx(1 - 1 / units, abs=0.05)


@given(seed=st.integers(0, 1000), seeds=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_the_order_of_items_does_not_matter(seed: int, seeds: int) -> None:
    rng = np.random.default_rng(seed)
    before, after, words = rng.random(60) < 0.5, rng.random((seeds, 60)) < 0.6, rng.integers(0, 30, 60)
    order = rng.permutation(60)
    one = paired_change(before, after, words)
    other = paired_change(before[order], after[:, order], words[order])
    assert (one.interval.low, one.interval.high) == pytest.approx((other.interval.low, other.interval.high))
    assert one.per_seed == pytest.approx(other.per_seed)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_swapping_before_and_after_mirrors_the_change(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after, words = rng.random(50) < 0.5, rng.random(50) < 0.6, np.arange(50)
    gain = paired_change(before, after, words)
    loss = paired_change(after, before, words)
    assert gain.estimate == pytest.approx(-loss.estimate)
    assert gain.interval.low == pytest.approx(-loss.interval.high)
    assert gain.p == pytest.approx(loss.p)


def test_a_change_reports_sizes_every_seed_and_the_narrower_interval() -> None:
    rng = np.random.default_rng(8)
    before, after = rng.random((3, 120)) < 0.4, rng.random((3, 120)) < 0.6
    found = paired_change(before, after, np.repeat(np.arange(60), 2))
    assert (found.n_items, found.n_clusters, found.seeds, len(found.per_seed)) == (120, 60, 3, 3)
    assert found.estimate == pytest.approx(after.mean() - before.mean())
    assert found.interval.low < found.interval90.low < found.estimate < found.interval90.high < found.interval.high


def test_one_word_gives_the_estimate_but_no_interval() -> None:
    found = paired_change([False, False], [True, False], np.array(["a", "a"]))
    assert found.estimate == 0.5 and math.isnan(found.p) and not found.interval.defined
    assert "one word only" in found.reason


@pytest.mark.parametrize(
    ("before", "after", "words", "reason"),
    [(np.zeros(0), np.zeros((2, 0)), [], "no items"), (np.array([0, np.nan]), np.ones(2), ["a", "b"], "1 of 4")],
)
def test_an_undefined_change_says_why(before: np.ndarray, after: np.ndarray, words: list[str], reason: str) -> None:
    found = paired_change(before, after, np.array(words))
    assert math.isnan(found.estimate) and math.isnan(found.p) and reason in found.reason == found.interval.reason


@pytest.mark.parametrize(
    ("before", "after", "words", "rule"),
    [
        (np.zeros(3), np.zeros((2, 4)), 4, "same items"),
        (np.zeros(4), np.zeros((0, 4)), 4, "same items"),
        (np.zeros(4), np.zeros((2, 4)), 3, "one label per item"),
    ],
)
def test_scores_that_do_not_match_are_refused(before: np.ndarray, after: np.ndarray, words: int, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        paired_change(before, after, np.arange(words))


def test_with_one_seed_the_interval_is_that_of_a_paired_mean() -> None:
    rng = np.random.default_rng(3)
    change = rng.choice([-1, 0, 1], p=[0.1, 0.6, 0.3], size=800)
    found = paired_change(change < 0, change > 0, np.arange(800))
    half = 1.963 * change.std(ddof=1) / math.sqrt(800)
    assert found.interval.high - found.estimate == pytest.approx(half, rel=0.03)


def test_when_only_seeds_differ_the_interval_is_that_of_a_t_test_over_seeds() -> None:
    level = np.array([500, 520, 570])
    after = np.arange(1000) < level[:, None]
    found = paired_change(np.arange(1000) < 500, after, np.arange(1000))
    seeds = 4.303 * (level / 1000).std(ddof=1) / math.sqrt(3)
    # What all seeds share is left after the noise of single seeds is taken out: here the items that all gained.
    assert seeds <= found.interval.high - found.estimate < 1.05 * seeds


def test_items_of_one_word_do_not_count_as_independent() -> None:
    rng = np.random.default_rng(5)
    before, after = rng.random(200) < 0.5, rng.random(200) < 0.5
    single = paired_change(before, after, np.arange(200))
    fourfold = paired_change(np.repeat(before, 4), np.repeat(after, 4), np.repeat(np.arange(200), 4))
    assert fourfold.interval.low == pytest.approx(single.interval.low, abs=0.003)
    assert fourfold.p == pytest.approx(single.p)


def test_arms_may_have_different_numbers_of_seeds() -> None:
    rng = np.random.default_rng(6)
    found = paired_change(rng.random((3, 90)) < 0.4, rng.random((5, 90)) < 0.6, np.arange(90))
    assert found.interval.defined and len(found.per_seed) == 5
