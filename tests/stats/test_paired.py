from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.errors import DataError
from graft.stats import hierarchical_bootstrap, mcnemar_exact, paired_change
from graft.stats.paired import two_sided_p
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


def test_with_one_seed_the_spread_is_the_standard_error_over_words() -> None:
    rng = np.random.default_rng(3)
    differences = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.7, 0.2], size=(1, 800))
    replicates = hierarchical_bootstrap(differences, np.arange(800), rng)
    assert replicates.shape == (10_000,)
    assert replicates.std() == pytest.approx(differences.std() / math.sqrt(800), rel=0.03)


def test_when_only_seeds_differ_the_spread_is_the_unbiased_standard_error_over_seeds() -> None:
    shifts = np.array([0.00, 0.02, 0.07])
    replicates = hierarchical_bootstrap(np.repeat(shifts[:, None], 50, axis=1), np.arange(50), np.random.default_rng(4))
    assert replicates.mean() == pytest.approx(shifts.mean(), abs=0.001)
    assert replicates.std() == pytest.approx(shifts.std(ddof=1) / math.sqrt(3), rel=0.03)


def test_all_seeds_share_the_drawn_words() -> None:
    # Equal rows: were words drawn apart for each seed, the spread would shrink by √5.
    row = np.random.default_rng(5).choice([0.0, 1.0], size=400)
    replicates = hierarchical_bootstrap(np.tile(row, (5, 1)), np.arange(400), np.random.default_rng(6))
    assert replicates.std() == pytest.approx(row.std() / math.sqrt(400), rel=0.03)


def test_ten_thousand_resamples_of_two_thousand_words_and_five_seeds_are_quick_and_small() -> None:
    rng = np.random.default_rng(7)
    differences, words = rng.choice([-1.0, 0.0, 1.0], size=(5, 2000)), np.array([f"w{i}" for i in range(2000)])
    begun = time.process_time()
    hierarchical_bootstrap(differences, words, rng)
    assert time.process_time() - begun < 2
    tracemalloc.start()
    hierarchical_bootstrap(differences, words, rng)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6


@given(seed=st.integers(0, 1000), seeds=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_the_order_of_items_does_not_matter(seed: int, seeds: int) -> None:
    rng = np.random.default_rng(seed)
    before, after, words = rng.random(60) < 0.5, rng.random((seeds, 60)) < 0.6, rng.integers(0, 30, 60)
    order = rng.permutation(60)
    one = paired_change(before, after, words, np.random.default_rng(1), resamples=200)
    other = paired_change(before[order], after[:, order], words[order], np.random.default_rng(1), resamples=200)
    assert (one.interval.low, one.interval.high) == pytest.approx((other.interval.low, other.interval.high))
    assert one.per_seed == pytest.approx(other.per_seed)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_swapping_before_and_after_mirrors_the_change(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after, words = rng.random(50) < 0.5, rng.random(50) < 0.6, np.arange(50)
    gain = paired_change(before, after, words, np.random.default_rng(1), resamples=300)
    loss = paired_change(after, before, words, np.random.default_rng(1), resamples=300)
    assert gain.estimate == pytest.approx(-loss.estimate)
    assert gain.interval.low == pytest.approx(-loss.interval.high)
    assert gain.p == pytest.approx(loss.p)


def test_a_change_reports_sizes_every_seed_and_the_narrower_interval() -> None:
    rng = np.random.default_rng(8)
    before, after = rng.random((3, 120)) < 0.4, rng.random((3, 120)) < 0.6
    found = paired_change(before, after, np.repeat(np.arange(60), 2), rng, resamples=2000)
    assert (found.n_items, found.n_clusters, found.seeds, len(found.per_seed)) == (120, 60, 3, 3)
    assert found.estimate == pytest.approx(after.mean() - before.mean())
    assert found.interval.low < found.interval90.low < found.estimate < found.interval90.high < found.interval.high


def test_p_never_falls_below_what_the_resamples_can_show() -> None:
    assert two_sided_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert two_sided_p(np.zeros(999)) == 1.0
    assert two_sided_p(np.array([-1.0, 1.0, 1.0])) == 1.0  # 2 · (1 + 1)/4


def test_one_word_gives_the_estimate_but_no_interval() -> None:
    found = paired_change([False, False], [True, False], np.array(["a", "a"]), np.random.default_rng(0))
    assert found.estimate == 0.5 and math.isnan(found.p) and not found.interval.defined
    assert "one word only" in found.reason


@pytest.mark.parametrize(
    ("before", "after", "words", "reason"),
    [(np.zeros(0), np.zeros((2, 0)), [], "no items"), (np.array([0, np.nan]), np.ones(2), ["a", "b"], "1 of 2")],
)
def test_an_undefined_change_says_why(before: np.ndarray, after: np.ndarray, words: list[str], reason: str) -> None:
    found = paired_change(before, after, np.array(words), np.random.default_rng(0))
    assert math.isnan(found.estimate) and math.isnan(found.p) and reason in found.reason == found.interval.reason


@pytest.mark.parametrize(
    ("before", "after", "words", "rule"),
    [
        (np.zeros(3), np.zeros((2, 4)), 4, "same items"),
        (np.zeros((3, 4)), np.zeros((2, 4)), 4, "same seeds"),
        (np.zeros(4), np.zeros((0, 4)), 4, "at least 1 seed"),
        (np.zeros(4), np.zeros((2, 4)), 3, "one label per item"),
    ],
)
def test_scores_that_do_not_match_are_refused(before: np.ndarray, after: np.ndarray, words: int, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        paired_change(before, after, np.arange(words), np.random.default_rng(0))


def test_undefined_differences_cannot_be_resampled() -> None:
    with pytest.raises(DataError, match="1 of 4 differences are NaN"):
        hierarchical_bootstrap(np.array([[0, 1], [np.nan, 1]]), np.arange(2), np.random.default_rng(0))


def coverage(seeds: int, words: int, spread: float, studies: int) -> float:
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(studies):
        shift, item = rng.normal(0, spread, (seeds, 1)), rng.normal(0, 0.3, words)
        differences = shift + item + rng.normal(0, 0.3, (seeds, words))
        low, high = np.quantile(
            hierarchical_bootstrap(differences, np.arange(words), rng, resamples=500), [0.025, 0.975]
        )
        held += low <= 0 <= high
    return held / studies


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "words", "spread", "least", "most"),
    [
        (2, 500, 0.01, 0.94, 1.00),
        (5, 500, 0.01, 0.94, 1.00),
        (2, 2000, 0.02, 0.84, 0.95),
        (5, 2000, 0.02, 0.89, 0.98),
        (2, 2000, 0.05, 0.70, 0.86),
        (5, 2000, 0.05, 0.83, 0.93),
    ],
)
def test_coverage_is_what_the_documentation_says(
    seeds: int, words: int, spread: float, least: float, most: float
) -> None:
    assert least <= coverage(seeds, words, spread, studies=300) <= most
