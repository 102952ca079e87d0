"""Shares against the measures themselves: the mean by hand, the spread by resampling and by nudging a weight."""

from __future__ import annotations

import numpy as np
import pytest

from graft.errors import DataError
from graft.stats.classification import confusion_table, macro_f1, mcc
from graft.stats.shares import balanced_shares, macro_f1_shares, mcc_shares, ratio_shares

GOLD = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
CALLED = np.array([0, 0, 1, 2, 1, 1, 0, 2, 2, 1])
BOTH = [(macro_f1_shares, macro_f1), (mcc_shares, mcc)]


@pytest.mark.parametrize(("shares", "measure"), BOTH)
def test_the_mean_of_the_shares_is_the_measure(shares, measure) -> None:  # type: ignore[no-untyped-def]
    expected = measure(confusion_table(GOLD, CALLED, 3))
    assert shares(GOLD, CALLED, 3).mean() == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(("shares", "measure"), BOTH)
def test_a_share_is_how_much_the_measure_moves_with_the_item(shares, measure) -> None:  # type: ignore[no-untyped-def]
    table = confusion_table(GOLD, CALLED, 3) / len(GOLD)
    for item in (0, 2, 6, 9):
        nudged = (1 - 1e-7) * table
        nudged[GOLD[item], CALLED[item]] += 1e-7
        moved = float((measure(nudged) - measure(table)) / 1e-7)
        assert shares(GOLD, CALLED, 3)[item] - float(measure(table)) == pytest.approx(moved, abs=1e-5)


@pytest.mark.parametrize(("shares", "measure"), BOTH)
def test_the_spread_of_the_shares_is_that_of_the_resampled_measure(shares, measure) -> None:  # type: ignore[no-untyped-def]
    draw = np.random.default_rng(0)
    gold = draw.choice(3, 400, p=[0.6, 0.3, 0.1])
    called = np.where(draw.uniform(size=400) < 0.6, gold, draw.integers(0, 3, 400))
    picked = draw.integers(0, 400, (2000, 400))
    resampled = [float(measure(confusion_table(gold[p], called[p], 3))) for p in picked]
    assert shares(gold, called, 3).std() / 20 == pytest.approx(np.std(resampled), rel=0.08)


def test_no_call_is_wrong_but_no_class_of_its_own() -> None:
    # class 0: 2·1/(2 + 1), class 1: 2·1/(2 + 1); the two items without a call are in the supports only
    assert macro_f1_shares([0, 0, 1, 1], [0, -1, 1, -1], 2).mean() == pytest.approx(2 / 3)
    assert mcc_shares([0, 0, 1, 1], [0, -1, 1, -1], 2).mean() < 1


def test_calls_of_one_class_correlate_with_nothing() -> None:
    assert mcc_shares([0, 0, 1], [0, 0, 0], 2).tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(mcc_shares([0, 0, 0], [0, 1, 0], 2)).all()


def test_macro_f1_of_the_majority_is_its_f1_over_the_number_of_classes() -> None:
    # 64 of 100 are class 0: F1 of class 0 is 2·64/(100 + 64), the other class has 0
    gold = np.repeat([0, 1], [64, 36])
    assert macro_f1_shares(gold, np.zeros(100, int), 2).mean() == pytest.approx(128 / 164 / 2)


def test_micro_f1_is_two_hits_over_what_was_said_and_was_there() -> None:
    # hits 2, 0, 1; said 3, 1, 1; there 2, 2, 1: 2·3/(5 + 5)
    shares = ratio_shares(2 * np.array([2, 0, 1]), np.array([3, 1, 1]) + np.array([2, 2, 1]))
    assert shares.mean() == pytest.approx(0.6)
    # the ratio less the one without item 1, as its weight goes to 0: (0 − 0.6·3) / (10/3)
    assert shares[1] - 0.6 == pytest.approx(-1.8 / (10 / 3))
    assert np.isnan(ratio_shares([0, 0], [0, 0])).all()


def test_a_balanced_mean_weighs_strata_and_not_items() -> None:
    # stratum a: 3 of 4 right, stratum b: 0 of 1
    shares = balanced_shares([1, 1, 1, 0, 0], ["a", "a", "a", "a", "b"])
    assert shares.mean() == pytest.approx(0.375)
    assert shares[4] == pytest.approx(0.375)
    with pytest.raises(DataError, match="one stratum per item"):
        balanced_shares([1.0, 0.0], ["a"])
