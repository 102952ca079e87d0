from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from graft.errors import DataError
from graft.stats.classification import (
    accuracy,
    class_f1,
    classify,
    confusion_table,
    macro_f1,
    mcc,
)
from graft.stats.shares import classification_change

GOLD = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
CALLED = [0, 0, 1, 2, 1, 1, 0, 2, 2, 1]
LABELS = ("a", "b", "c")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def table_of(gold: Sequence[int], called: Sequence[int], classes: int = 3) -> np.ndarray:
    return confusion_table(gold, called, classes)


def test_the_table_has_answers_as_rows_and_calls_as_columns() -> None:
    assert table_of(GOLD, CALLED).tolist() == [[2, 1, 1], [1, 2, 0], [0, 1, 2]]


def test_accuracy_and_f1_are_those_computed_by_hand() -> None:
    table = table_of(GOLD, CALLED)
    assert accuracy(table) == pytest.approx(6 / 10)
    # 2·TP / (support + predicted): a 2·2/(4+3), b 2·2/(3+4), c 2·2/(3+3)
    assert class_f1(table) == pytest.approx([4 / 7, 4 / 7, 2 / 3])
    assert macro_f1(table) == pytest.approx((4 / 7 + 4 / 7 + 2 / 3) / 3)


def test_mcc_of_two_classes_is_the_correlation_of_their_indicators() -> None:
    draw = np.random.default_rng(1)
    gold = draw.integers(0, 2, 200)
    called = np.where(draw.uniform(size=200) < 0.7, gold, 1 - gold)
    assert mcc(table_of(gold, called, 2)) == pytest.approx(np.corrcoef(gold, called)[0, 1])


def test_mcc_of_many_classes_is_the_correlation_of_one_hot_matrices() -> None:
    draw = np.random.default_rng(2)
    gold, called = draw.integers(0, 5, 300), draw.integers(0, 5, 300)
    called[:150] = gold[:150]
    one, other = np.eye(5)[gold], np.eye(5)[called]

    def covariance(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a - a.mean(0)) * (b - b.mean(0))).sum())

    expected = covariance(one, other) / math.sqrt(covariance(one, one) * covariance(other, other))
    assert mcc(table_of(gold, called, 5)) == pytest.approx(expected)


def test_an_absent_class_is_left_out_of_macro_f1_and_says_why() -> None:
    table = table_of([0, 0, 1], [0, 1, 1], 4)
    assert macro_f1(table) == pytest.approx((2 / 3 + 2 / 3) / 2)
    found = classify([0, 0, 1], [0, 1, 1], ("a", "b", "c", "d"), np.arange(3), rng(), 50)
    assert math.isnan(found.classes[2].f1)
    assert found.classes[2].reason == "no item has this answer; no item was called so"


def test_a_class_that_is_never_called_has_f1_of_zero_and_no_precision() -> None:
    row = classify([0, 0, 1, 1], [0, 0, 0, 0], ("a", "b"), np.arange(4), rng(), 50).classes[1]
    assert (row.recall, row.f1) == (0.0, 0.0)
    assert math.isnan(row.precision) and row.reason == "no item was called so"


def test_mcc_of_constant_calls_is_undefined_with_a_reason() -> None:
    found = classify([0, 0, 1, 1], [0, 0, 0, 0], ("a", "b"), np.arange(4), rng(), 50)
    assert math.isnan(found.mcc.estimate)
    assert found.mcc.reason == "all answers or all calls are one class"


def test_without_items_everything_is_undefined() -> None:
    found = classify([], np.zeros((1, 0)), LABELS, np.array([]), rng(), 50)
    assert found.accuracy.reason == found.macro_f1.reason == "no items"


def test_values_over_seeds_are_means_of_the_seeds() -> None:
    found = classify(GOLD, [CALLED, GOLD], LABELS, np.arange(10), rng(), 200)
    assert found.seeds == 2
    assert found.accuracy.estimate == pytest.approx((0.6 + 1.0) / 2)
    assert found.confusion[0] == (3.0, 0.5, 0.5)


def test_intervals_resample_whole_clusters() -> None:
    draw = np.random.default_rng(3)
    gold = draw.integers(0, 2, 400)
    right_of_cluster = draw.uniform(size=40) < 0.7
    clusters = np.repeat(np.arange(40), 10)
    called = np.where(right_of_cluster[clusters], gold, 1 - gold)
    whole = classify(gold, called, ("a", "b"), clusters, rng(), 2000).accuracy
    alone = classify(gold, called, ("a", "b"), np.arange(400), rng(), 2000).accuracy
    assert whole.estimate == alone.estimate
    # ten equal items in a cluster hold the information of one: the interval is about √10 as wide
    assert (whole.high - whole.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(10), rel=0.15)
    share = right_of_cluster.mean()
    assert whole.high - whole.low == pytest.approx(2 * 1.96 * math.sqrt(share * (1 - share) / 40), rel=0.1)


def test_one_cluster_gives_no_interval_but_its_estimate() -> None:
    found = classify(GOLD, CALLED, LABELS, np.zeros(10), rng(), 50).accuracy
    assert found.estimate == pytest.approx(0.6)
    assert not found.defined and "one cluster only" in found.reason


def test_a_change_is_paired() -> None:
    """Ten items gained by every seed, none lost: the interval stays above zero, though levels vary."""
    gold = np.array([0, 1] * 50)
    before = gold.copy()
    before[:30] = 1 - gold[:30]
    after = before.copy()
    after[:10] = gold[:10]
    change = classification_change(gold, before, [after, after], 2, np.arange(100))
    assert change["accuracy"].estimate == pytest.approx(0.10)
    assert 0.03 < change["accuracy"].interval.low < 0.10 < change["accuracy"].interval.high < 0.18
    assert change["accuracy"].p < 0.01
    assert change["mcc"].estimate == pytest.approx(
        float(mcc(table_of(gold, after, 2)) - mcc(table_of(gold, before, 2)))
    )
    assert change["macro_f1"].per_seed == pytest.approx([change["macro_f1"].estimate] * 2)


def test_a_change_from_an_undefined_mcc_is_undefined_with_its_reason() -> None:
    gold = np.array([0, 1] * 10)
    change = classification_change(gold, np.zeros(20), gold, 2, np.arange(20))
    assert math.isnan(change["mcc"].estimate) and change["mcc"].reason == "all answers or all calls are one class"
    assert change["accuracy"].estimate == 0.5


def test_a_number_that_is_no_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"must lie in 0\.\.2, but got 0\.\.3"):
        classify([0, 3], [0, 1], LABELS, np.arange(2), rng(), 10)


def test_different_items_are_refused() -> None:
    with pytest.raises(DataError, match="answers must be"):
        classify([0, 1], [0, 1, 1], LABELS, np.arange(2), rng(), 10)


def test_rare_resamples_without_a_value_are_left_out_and_said() -> None:
    # the second class has 4 of 60 items: about (56/60)^60 = 1.6% of the resamples hold none of them
    gold, called = [0] * 56 + [1] * 4, [0] * 55 + [1] * 4 + [0]
    found = classify(gold, called, ("a", "b"), np.arange(60), rng(), 2000)
    assert found.mcc.defined and "resamples, which are left out" in found.mcc.reason


def test_the_change_of_mcc_needs_no_resample_that_holds_the_rare_class() -> None:
    gold, called = [0] * 56 + [1] * 4, [0] * 55 + [1] * 4 + [0]
    change = classification_change(gold, [0] * 50 + [1] * 10, [called, called], 2, np.arange(60))["mcc"]
    assert change.reason == "" and change.interval.low < change.estimate < change.interval.high


def test_many_resamples_without_a_value_leave_it_undefined() -> None:
    # one item of 30: (29/30)^30 = 36% of the resamples miss it
    found = classify([0] * 29 + [1], [0] * 28 + [1, 1], ("a", "b"), np.arange(30), rng(), 500)
    assert found.mcc.estimate > 0 and not found.mcc.defined
    assert found.mcc.reason.startswith("undefined in ")
