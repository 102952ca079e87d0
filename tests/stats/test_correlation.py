from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr

from graft.errors import DataError
from graft.stats import Association, across_runs_correlation, within_word_correlation
from graft.stats.correlation import _midranks


def words(link: float, n: int = 400, seed: int = 0) -> list[np.ndarray]:
    """Spelling gain, target gain, base spelling, base target, length; gains share ``link`` beyond the covariates."""
    rng = np.random.default_rng(seed)
    spelling, target, length = rng.random(n), rng.random(n), rng.integers(3, 12, n).astype(float)
    shared = rng.normal(size=n)
    return [
        link * shared + rng.normal(size=n) - 2 * spelling - length / 4,
        link * shared + rng.normal(size=n) - 2 * target - length / 4,
        spelling,
        target,
        length,
    ]


def test_the_partial_correlation_is_that_of_the_regression_residuals() -> None:
    columns = words(0.8)
    design = np.column_stack([np.ones(400), *columns[2:]])
    left = [y - design @ np.linalg.lstsq(design, y, rcond=None)[0] for y in columns[:2]]
    ranks = [rankdata(c) for c in columns]
    design = np.column_stack([np.ones(400), *ranks[2:]])
    left_ranks = [y - design @ np.linalg.lstsq(design, y, rcond=None)[0] for y in ranks[:2]]
    found = within_word_correlation(*columns, np.arange(400), np.random.default_rng(1), resamples=300)
    assert found.linear.estimate == pytest.approx(pearsonr(*left).statistic)
    assert found.rank.estimate == pytest.approx(pearsonr(*left_ranks).statistic)
    assert found.verdict is Association.POSITIVE
    assert found.controlled == ("base spelling", "base target", "length")


def test_a_correlation_that_the_covariates_explain_is_not_reported_as_one() -> None:
    columns = words(0.0)
    assert pearsonr(*columns[:2]).pvalue < 0.001  # length drives both gains
    found = within_word_correlation(*columns, np.arange(400), np.random.default_rng(1), resamples=500)
    assert found.verdict is Association.UNCLEAR and found.linear.low < 0 < found.linear.high


def test_the_interval_has_the_width_that_theory_gives() -> None:
    found = within_word_correlation(*words(0.0), np.arange(400), np.random.default_rng(1), resamples=2000)
    assert found.linear.high - found.linear.low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)


def test_a_constant_covariate_drops_out() -> None:
    columns = words(0.8)
    columns[4] = np.full(400, 7.0)
    found = within_word_correlation(*columns, np.arange(400), np.random.default_rng(1), resamples=200)
    assert found.linear.defined and found.rank.defined


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda c: [np.zeros(400), *c[1:]], "spelling gain is constant"),
        (lambda c: [c[0], np.ones(400), *c[2:]], "target gain is constant"),
        (lambda c: [1 - c[2], *c[1:]], "explained wholly by the covariates"),
        (lambda c: [*c[:4], np.full(400, np.nan)], "length is undefined for 400 of 400"),
        (lambda c: [x[:5] for x in c], "at least 7"),
    ],
)
def test_an_undefined_correlation_says_why(spoil, reason: str) -> None:  # type: ignore[no-untyped-def]
    columns = spoil(words(0.5))
    found = within_word_correlation(*columns, np.arange(len(columns[0])), np.random.default_rng(0), resamples=50)
    assert not found.linear.defined and found.verdict is Association.NONE and reason in found.reason


def test_weighted_ranks_are_the_ranks_of_the_sample_written_out() -> None:
    rng = np.random.default_rng(2)
    values, weights = rng.integers(0, 5, 30).astype(float), rng.integers(0, 4, (6, 30))
    found = _midranks(values, weights.astype(float))
    for row, weight in zip(found, weights, strict=True):
        expected = rankdata(np.repeat(values, weight))
        assert np.repeat(row, weight) == pytest.approx(expected)


def test_across_runs_both_estimates_are_the_textbook_ones() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=15)
    y = x + rng.normal(size=15)
    found = across_runs_correlation(x, y, rng, resamples=500)
    assert found.linear.estimate == pytest.approx(pearsonr(x, y).statistic)
    assert found.rank.estimate == pytest.approx(spearmanr(x, y).statistic)
    assert (found.n, found.verdict) == (15, Association.POSITIVE)
    assert across_runs_correlation(x, -y, rng, resamples=500).verdict is Association.NEGATIVE


def test_under_ten_runs_numbers_are_given_but_no_verdict() -> None:
    x = np.arange(9.0)
    found = across_runs_correlation(x, x + np.array([0, 0.1] * 4 + [0]), np.random.default_rng(0), resamples=200)
    assert found.linear.defined and found.verdict is Association.NONE
    assert found.reason == "9 runs: no verdict under 10"


@pytest.mark.parametrize(("x", "reason"), [(np.ones(12), "x is constant"), (np.arange(2.0), "at least 3")])
def test_runs_that_show_nothing_say_why(x: np.ndarray, reason: str) -> None:
    found = across_runs_correlation(x, np.arange(float(x.size)), np.random.default_rng(0))
    assert not found.rank.defined and reason in found.reason


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match="equally long"):
        across_runs_correlation(np.ones(3), np.ones(4), np.random.default_rng(0))
