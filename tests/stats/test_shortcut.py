"""The learned shortcut: what it can find, and that it never sees the cluster that it calls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from graft.errors import DataError
from graft.stats import shortcut
from graft.stats.shortcut import encode_features, shortcut_calls

ROWS = [{"letter": letter, "size": float(size)} for letter in "abc" for size in range(4, 24)]


def test_categories_become_columns_and_quantities_are_scaled() -> None:
    table = encode_features([{"letter": "a", "size": 4.0}] * 3 + [{"letter": "b", "size": 6.0}] * 3 + [{"rare": "x"}])
    assert table.shape == (7, 3)  # size, letter=a, letter=b; what stands in fewer than 3 items is left out
    assert table[:, 0].std() == pytest.approx(1.0) and table[:, 1].tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert encode_features([{}, {}]).shape == (2, 0)


def test_a_shortcut_that_is_there_is_found() -> None:
    gold = np.array([int(row["letter"] == "b") + 2 * int(row["letter"] == "c") for row in ROWS])
    assert (shortcut_calls(encode_features(ROWS), gold, np.arange(60)) == gold).all()


def test_without_features_the_most_frequent_class_is_called() -> None:
    gold = np.array([0] * 20 + [1] * 40)
    assert shortcut_calls(np.empty((60, 0)), gold, np.arange(60)).tolist() == [1] * 60


def test_balanced_classes_are_called_although_one_is_rare() -> None:
    draw = np.random.default_rng(0)
    gold = (draw.uniform(size=600) < 0.15).astype(int)
    sign = (gold + draw.normal(0, 0.8, 600))[:, None]
    plain, balanced = (shortcut_calls(sign, gold, np.arange(600), balanced=b) for b in (False, True))
    assert balanced[gold == 1].mean() > 0.6 > plain[gold == 1].mean()


def test_items_of_one_cluster_never_teach_each_other() -> None:
    draw = np.random.default_rng(1)
    codes = np.repeat(np.arange(40), 5)
    gold = draw.integers(0, 2, 40)[codes]  # each cluster has its own class, which only its own name tells
    features = np.eye(40)[codes]
    assert abs((shortcut_calls(features, gold, codes) == gold).mean() - 0.5) < 0.2
    assert (shortcut_calls(features, gold, np.arange(200)) == gold).mean() > 0.95


def test_the_fit_is_the_optimum_of_its_loss() -> None:
    draw = np.random.default_rng(2)
    features, gold = draw.normal(size=(80, 3)), draw.integers(0, 3, 80)
    weights = shortcut._fit(features, gold, balanced=False).weights

    def loss(flat: np.ndarray) -> float:
        scores = features @ flat.reshape(4, 3)[:-1] + flat.reshape(4, 3)[-1]
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return float(-scores[np.arange(80), gold].sum() + 0.5 * (flat.reshape(4, 3)[:-1] ** 2).sum())

    assert check_grad(loss, lambda flat: np.zeros(12), weights.ravel()) < 0.05


def test_one_cluster_or_missing_features_are_refused() -> None:
    with pytest.raises(DataError, match="clusters that it did not see"):
        shortcut_calls(np.ones((3, 1)), np.array([0, 1, 0]), np.zeros(3))
    with pytest.raises(DataError, match="features for each of 3 items"):
        shortcut_calls(np.ones((2, 1)), np.array([0, 1, 0]), np.arange(3))
