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
