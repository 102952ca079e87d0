from __future__ import annotations

import math

import numpy as np
import pytest

from graft.errors import DataError
from graft.stats.calibration import (
    calibration,
    fit_temperature,
    padded,
    probabilities,
    reliability,
)


def ids(kind: str, count: int) -> list[str]:
    return [f"{kind}/{index}" for index in range(count)]


def drawn(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of three labels, and answers drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 3, (n, 3))
    shares = probabilities(scores, temperature)
    gold = (rng.uniform(size=(n, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    return scores, gold


def test_brier_and_nll_are_those_computed_by_hand() -> None:
    scores = np.log([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    found = calibration(scores, [0, 1])
    first = 0.3**2 + 0.2**2 + 0.1**2
    second = 0.5**2 + 0.75**2 + 0.25**2
    assert found.brier == pytest.approx((first + second) / 2)
    assert found.nll == pytest.approx(-(math.log(0.7) + math.log(0.25)) / 2)


def test_certainty_of_the_wrong_answer_has_a_brier_score_of_two() -> None:
    assert calibration([[0.0, -1000.0]], [1]).brier == pytest.approx(2.0)


def test_ece_is_that_computed_by_hand() -> None:
    # confidences 0.62 (right), 0.64 (wrong) share the bin (0.6, 0.667]; 0.9 (right) is in (0.867, 0.933]
    scores = np.log([[0.62, 0.38], [0.64, 0.36], [0.9, 0.1]])
    found = calibration(scores, [0, 1, 0])
    assert found.ece == pytest.approx((2 * abs(0.5 - 0.63) + 1 * abs(1.0 - 0.9)) / 3)
    filled = [part for part in found.bins if part.n]
    assert [(part.n, round(part.confidence, 3), part.accuracy) for part in filled] == [(2, 0.63, 0.5), (1, 0.9, 1.0)]
    assert len(found.bins) == 15


def test_certainty_falls_into_the_last_bin_and_an_empty_bin_has_no_means() -> None:
    table = reliability(np.array([[1.0, 0.0]]), np.array([0]))
    assert table[-1].n == 1 and table[-1].accuracy == 1.0
    assert math.isnan(table[0].accuracy)


def test_the_temperature_that_made_the_answers_is_found() -> None:
    scores, gold = drawn(20_000, 2.5)
    found = fit_temperature(scores, gold, fitted_on=ids("fit", len(gold)), scored=ids("test", 10))
    assert found.value == pytest.approx(2.5, rel=0.04)
    assert found.nll_after < found.nll_before


def test_a_temperature_fitted_on_other_items_mends_the_scored_ones() -> None:
    scores, gold = drawn(2000, 3.0, seed=1)
    others, answers = drawn(2000, 3.0, seed=2)
    found = fit_temperature(others, answers, fitted_on=ids("fit", 2000), scored=ids("test", 2000))
    before, after = calibration(scores, gold), calibration(scores, gold, found.value)
    assert after.ece < 0.04 < 0.15 < before.ece
    assert after.brier < before.brier and after.nll < before.nll


def test_items_that_are_scored_cannot_be_fitted_on() -> None:
    with pytest.raises(DataError, match=r"fitted on 1 items that it is judged on \(first: b\)"):
        fit_temperature([[0.0, 1.0]] * 2, [0, 1], fitted_on=["a", "b"], scored=["b", "c"])


def test_no_temperature_is_cold_enough_when_every_item_is_right() -> None:
    found = fit_temperature([[2.0, 0.0], [0.0, 1.0]], [0, 1], fitted_on=["a", "b"], scored=[])
    assert math.isnan(found.value) and "every fitted item is right" in found.reason


def test_no_temperature_is_hot_enough_when_the_scores_mislead() -> None:
    found = fit_temperature([[2.0, 0.0], [0.0, 1.0]], [1, 0], fitted_on=["a", "b"], scored=[])
    assert math.isnan(found.value) and "do not favour" in found.reason


def test_without_items_nothing_is_defined() -> None:
    assert fit_temperature(padded([]), [], fitted_on=[], scored=[]).reason == "no items to fit it on"
    assert math.isnan(calibration(padded([]), []).brier)


def test_missing_options_have_probability_zero_at_any_temperature() -> None:
    table = padded([[0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    for temperature in (0.5, 1.0, 4.0):
        assert probabilities(table, temperature) == pytest.approx(np.array([[0.5, 0.5, 0, 0], [0.25] * 4]))
    found = fit_temperature(
        padded([[3.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.0]]), [0, 0, 1], fitted_on=["a", "b", "c"], scored=[]
    )
    assert found.value > 0


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(DataError, match="temperature must be above 0, but got 0"):
        probabilities([[0.0, 1.0]], 0)


def test_an_answer_outside_the_options_is_refused() -> None:
    with pytest.raises(DataError, match=r"must lie in 0\.\.1, but got 2\.\.2"):
        calibration([[0.0, 1.0]], [2])
