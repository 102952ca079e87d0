"""A task's metric of scored items, against values worked out by hand."""

from __future__ import annotations

import pytest

from graft.tasks.metric import metric_shares, metric_title

LABELS = ("bad", "good", "neutral")


def said(gold: str, called: str | None, **fields: object) -> dict[str, object]:
    return {"gold": gold, "options": LABELS, "answer": called, "right": called == gold, "details": {}, **fields}


def test_macro_f1_of_one_class_said_always_is_far_below_its_accuracy() -> None:
    records = [said("neutral", "neutral")] * 6 + [said("good", "neutral")] * 3 + [said("bad", "neutral")]
    assert metric_shares("accuracy", records).mean() == 0.6
    # neutral 2·6/(10 + 6), the two others 0
    assert metric_shares("macro_f1", records).mean() == pytest.approx(12 / 16 / 3)
    assert metric_shares("mcc", records).mean() == 0.0


def test_the_likeliest_label_counts_before_the_one_in_the_reply() -> None:
    records = [said("good", "bad", label_choice="good"), said("bad", None, label_choice="bad")]
    assert metric_shares("macro_f1", records).mean() == 1.0
    assert metric_shares("macro_f1", records, outcome="lenient").mean() == 0.0
    assert metric_shares("macro_f1", [said("good", "good"), said("bad", None)]).mean() == 0.5


def test_token_f1_is_the_mean_of_the_items_and_containment_is_not_right() -> None:
    records = [{"right": False, "details": {"f1": 0.19}}, {"right": True, "details": {"f1": 1.0}}]
    assert metric_shares("f1", records).tolist() == [0.19, 1.0]


def test_f1_of_counted_finds_is_over_all_items_together() -> None:
    counts = [(2.0, 3.0, 2.0), (0.0, 1.0, 2.0), (0.0, 0.0, 0.0)]
    keys = ("true_positives", "predicted", "expected")
    records = [{"right": False, "details": dict(zip(keys, one, strict=True))} for one in counts]
    assert metric_shares("f1", records).mean() == pytest.approx(4 / 8)


def test_any_other_metric_is_the_share_that_is_right() -> None:
    assert metric_shares("strict", [{"right": True}, {"right": False}]).mean() == 0.5
    letters = [{"right": False, "constrained": 0.75}, {"right": False, "constrained": 0.25}]
    assert metric_shares("strict", letters, outcome="constrained").tolist() == [0.75, 0.25]
    assert (metric_title("strict"), metric_title("macro_f1")) == ("accuracy", "macro-F1")


def numbered(gold: float, number: float | None) -> dict[str, object]:
    return {"details": {"right_number": gold} | ({} if number is None else {"number": number})}


def test_metrics_of_numbers_against_values_worked_out_by_hand() -> None:
    records = [numbered(gold, number) for gold, number in ((1, 2), (2, 2), (3, 5), (10, 7))]
    # errors 1 0 2 3; the median 2.5 is off by 1.5 0.5 0.5 7.5, the mean 4 by 3 2 1 6
    assert metric_shares("mae", records).mean() == pytest.approx(1 - 6 / 10)
    assert metric_shares("rmse", records).mean() == pytest.approx(1 - (14 / 50) ** 0.5)
    assert metric_shares("pearson", records).mean() == pytest.approx(27 / (50 * 18) ** 0.5)
    assert metric_shares("spearman", records).mean() == pytest.approx(0.94868330)
    assert metric_shares("mae", [numbered(1, 1), numbered(5, 5)]).tolist() == [1.0, 1.0]


def test_a_reply_without_a_number_is_as_far_off_as_can_be() -> None:
    known, unknown = (
        [numbered(0, 0), numbered(4, 4), numbered(10, 0)],
        [numbered(0, 0), numbered(4, 4), numbered(10, None)],
    )
    for metric in ("mae", "rmse", "pearson", "spearman"):
        assert metric_shares(metric, known).tolist() == metric_shares(metric, unknown).tolist()


def test_numbers_that_are_all_the_same_say_nothing() -> None:
    assert metric_shares("pearson", [numbered(1, 3), numbered(2, 3)]).tolist() == [0.0, 0.0]
    assert all(share != share for share in metric_shares("spearman", [numbered(2, 3), numbered(2, 1)]))
    assert metric_title("mae") == "skill in MAE"


@pytest.mark.parametrize("metric", ["mae", "rmse", "pearson"])
def test_the_spread_of_the_shares_is_that_of_the_metric_over_resamples(metric: str) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    gold = rng.normal(size=400)
    said = 0.6 * gold + rng.normal(size=400)
    records = [numbered(g, s) for g, s in zip(gold, said, strict=True)]
    drawn = [metric_shares(metric, [records[i] for i in rng.integers(400, size=400)]).mean() for _ in range(300)]
    assert np.std(drawn) == pytest.approx(metric_shares(metric, records).std() / 20, rel=0.25)


def test_macro_f1_of_several_labels_is_the_mean_of_theirs() -> None:
    rows = [((1, 0), (1, 1)), ((1, 1), (1, 0)), ((0, 0), (0, 0))]
    records = [{"details": {"gold: a": g[0], "gold: b": g[1], "called: a": c[0], "called: b": c[1]}} for g, c in rows]
    assert metric_shares("macro_f1", records).mean() == pytest.approx((1.0 + 0.0) / 2)
    assert metric_title("micro_f1") == "micro-F1"
