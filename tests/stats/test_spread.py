from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student

from graft.stats.spread import (
    Spread,
    combine,
    exact_p,
    exact_reach,
    measure_arm,
    seed_variances,
    word_variance,
)


def arm(rows: np.ndarray, words: int | None = None):  # type: ignore[no-untyped-def]
    n = rows.shape[1]
    codes = np.arange(n) if words is None else np.arange(n) % words
    return measure_arm(rows.astype(float), codes, words or n)


def test_the_two_parts_keep_their_own_quantile() -> None:
    spread = Spread(seed=4e-4, seed_df=2.0, word=1e-4, word_df=999.0)
    square = student.ppf(0.975, 2) ** 2 * 4e-4 + student.ppf(0.975, 999) ** 2 * 1e-4
    assert spread.half(0.95) == pytest.approx(math.sqrt(square))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_p_is_one_less_the_level_that_just_reaches(level: float) -> None:
    spread = Spread(4e-4, 2.0, 1e-4, 999.0)
    assert spread.p(spread.half(level)) == pytest.approx(1 - level, rel=1e-4)


def test_no_distance_has_p_one_and_no_spread_the_least_p() -> None:
    assert Spread(1.0, 1.0, 1.0, 1.0).p(0.0) == 1.0
    assert Spread(0.0, 0.0, 0.0, 1.0).p(0.1) < 1e-10


def test_seed_variance_is_pooled_over_the_family_and_never_below_the_tasks_own() -> None:
    flat, steep = (arm(np.arange(100) < np.array(level)[:, None]) for level in ([50, 52], [50, 60]))
    found = seed_variances([{"trained": flat}, {"trained": steep}])
    pooled = (2e-4 + 50e-4) / 2
    assert [v["trained"].value for v in found] == pytest.approx([pooled, 50e-4])
    assert [v["trained"].df for v in found] == [2, 2]


def test_an_arm_with_one_seed_has_no_seed_variance() -> None:
    assert seed_variances([{"base": arm(np.ones((1, 5)))}]) == [{}]


def test_arms_of_unequal_spread_get_the_degrees_of_freedom_of_welch() -> None:
    found = seed_variances(
        [{"a": arm(np.arange(100) < np.array([[40], [60]])), "b": arm(np.arange(100) < [[50], [50]])}]
    )
    spread = combine([(found[0]["a"], 2), (found[0]["b"], 2)], 0.0, 100)
    assert spread.seed_df == pytest.approx(1.0)  # one arm carries all of it
    alike = combine([(found[0]["a"], 2), (found[0]["a"], 2)], 0.0, 100)
    assert alike.seed_df == pytest.approx(2.0)


def test_the_words_part_is_what_all_seeds_share() -> None:
    rng = np.random.default_rng(0)
    shared, noise = rng.normal(0, 0.3, 4000), rng.normal(0, 0.3, (5, 4000))
    found = word_variance((arm(shared + noise), arm(np.zeros((1, 4000)))), 4000)
    assert found == pytest.approx(0.09 / 4000, rel=0.1)


def test_noise_alone_leaves_nothing_to_the_words() -> None:
    noise = np.random.default_rng(1).normal(0, 0.3, (5, 4000))
    assert word_variance((arm(noise), arm(np.zeros((1, 4000)))), 4000) < 0.2 * 0.09 / 5 / 4000


@pytest.mark.parametrize("n", [1, 12, 150])
def test_without_any_change_the_reach_is_the_rule_of_three(n: int) -> None:
    assert exact_reach(np.zeros(n), 1.0, n, 0.90) == pytest.approx((1 - 0.05 ** (1 / n),) * 2)


@pytest.mark.parametrize(("gained", "n"), [(1, 20), (4, 50), (20, 20)])
def test_of_gains_alone_the_lower_reach_holds_the_binomial_bound(gained: int, n: int) -> None:
    change = np.r_[np.ones(gained), np.zeros(n - gained)]
    bound = binomtest(gained, n).proportion_ci(0.95, "exact")
    none = 1 - 0.025 ** (1 / n)
    down, up = exact_reach(change, 1.0, n, 0.95)
    assert down == pytest.approx(math.hypot(gained / n - bound.low, none))
    assert up == pytest.approx(bound.high - gained / n)


def test_at_many_changed_words_the_exact_reach_is_the_usual_interval() -> None:
    change = np.r_[np.ones(150), -np.ones(50), np.zeros(1800)]
    usual = 1.96 * change.std() / math.sqrt(2000)
    assert max(exact_reach(change, 1.0, 2000, 0.95)) == pytest.approx(usual, rel=0.06)


@pytest.mark.parametrize(("gained", "lost"), [(5, 0), (6, 1), (3, 1), (2, 2), (0, 0), (40, 17), (300, 241)])
def test_with_one_seed_the_exact_p_is_mcnemars(gained: int, lost: int) -> None:
    change = np.r_[np.ones(gained), -np.ones(lost), np.zeros(9)]
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert exact_p(change, 1.0) == pytest.approx(expected)


def test_with_many_seeds_the_exact_p_counts_every_sign_pattern() -> None:
    change = np.array([0.2, 0.6, -0.4, 1.0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    sums = (signs * np.abs(change)[:, None]).sum(axis=0)
    expected = np.mean(np.abs(sums) >= abs(change.sum()) - 1e-9)
    assert exact_p(change, 0.2) == pytest.approx(expected)


def test_scores_that_are_no_whole_numbers_are_tested_on_a_grid() -> None:
    change = np.random.default_rng(2).normal(0.02, 0.2, 400)
    normal = 2 * student.sf(abs(change.sum()) / math.sqrt((change**2).sum()), 1e9)
    assert exact_p(change, None) == pytest.approx(normal, rel=0.1)
