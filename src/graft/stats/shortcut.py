"""The best answer without the skill: logistic regression on what can be read off an item, judged on unseen clusters.

Axes: N items, F features, K classes, T training items.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from graft.errors import DataError
from graft.stats.resampling import encode_clusters

Features = Mapping[str, str | float]
"""What can be read off one item: a text is a category, a number is a quantity; what is absent is 0."""

FOLDS = 5
"""Parts of the clusters; each is called by a regression that was fitted on the others."""

LEAST_SEEN = 3
"""Items in which a feature must differ from 0, or it cannot be learned from."""

MOST_FEATURES = 400
"""The most frequent features that are kept: a bag of words has a long tail."""

PENALTY = 1.0
"""Weight of half the squared coefficients beside the summed loss, as is usual (scikit-learn's C = 1)."""

_STEPS = 100
"""Steps of the optimizer at most; the calls settle long before the last digit of the coefficients does."""


def encode_features(rows: Sequence[Features]) -> NDArray[np.float64]:
    """Features as a table: one column for each category and each quantity, the most frequent ones first.

    Returns:
        (N, F), quantities scaled to a standard deviation of 1; F may be 0.
    """
    columns: dict[str, dict[int, float]] = defaultdict(dict)
    for index, row in enumerate(rows):
        for name, value in row.items():
            if isinstance(value, str):
                columns[f"{name}={value}"][index] = 1.0
            elif value:
                columns[name][index] = float(value)
    frequent = sorted((name for name in columns if len(columns[name]) >= LEAST_SEEN), key=lambda n: -len(columns[n]))
    table = np.zeros((len(rows), min(len(frequent), MOST_FEATURES)))
    for place, name in enumerate(frequent[:MOST_FEATURES]):
        table[list(columns[name]), place] = list(columns[name].values())
        if "=" not in name and (spread := table[:, place].std()) > 0:
            table[:, place] = (table[:, place] - table[:, place].mean()) / spread
    return table


def shortcut_calls(
    features_NF: NDArray[np.float64], gold_N: NDArray[np.intp], clusters: NDArray[Any], *, balanced: bool = False
) -> NDArray[np.intp]:
    """The class of every item by a regression that saw neither the item nor its cluster.

    Args:
        features_NF: what is known of each item.
        gold_N: (N,) number of each item's right class.
        clusters: (N,) label of each item's cluster, such as its word.
        balanced: every class weighs the same in the fit, for measures that weigh classes and not items.

    Returns:
        (N,) numbers of classes. Clusters go to folds in a fixed, shuffled order, so equal items give equal calls.

    Raises:
        DataError: shapes disagree, or there are fewer than two clusters.
    """
    gold = np.asarray(gold_N, dtype=np.intp)
    if features_NF.shape[0] != len(gold):
        raise DataError(f"a shortcut needs features for each of {len(gold)} items, but got {features_NF.shape[0]}")
    codes, count = encode_clusters(clusters, len(gold))
    if count < 2:
        raise DataError(f"a shortcut is judged on clusters that it did not see, but there is {count}")
    fold_N = (np.random.default_rng(0).permutation(count) % min(FOLDS, count))[codes]
    calls = np.empty(len(gold), dtype=np.intp)
    for fold in range(min(FOLDS, count)):
        held_out = fold_N == fold
        calls[held_out] = _fit(features_NF[~held_out], gold[~held_out], balanced).call(features_NF[held_out])
    return calls


class _Regression:
    """Fitted coefficients, (F + 1, K) with the intercept last, of the classes that were there to fit."""

    def __init__(self, weights: NDArray[np.float64], classes: NDArray[np.intp]) -> None:
        self.weights, self.classes = weights, classes

    def call(self, features: NDArray[np.float64]) -> NDArray[np.intp]:
        """The likeliest class of each item."""
        found: NDArray[np.intp] = self.classes[(features @ self.weights[:-1] + self.weights[-1]).argmax(axis=1)]
        return found


def _fit(features_TF: NDArray[np.float64], gold_T: NDArray[np.intp], balanced: bool) -> _Regression:
    """Multinomial logistic regression with an L2 penalty on all but the intercept, which has a unique optimum.

    Source: Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, section 4.4.
    """
    classes, codes, sizes = np.unique(gold_T, return_inverse=True, return_counts=True)
    shape = (features_TF.shape[1] + 1, len(classes))
    right_TK = np.eye(len(classes))[codes]
    weight_T = (len(codes) / (len(classes) * sizes))[codes] if balanced else np.ones(len(codes))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(shape)
        scores_TK = features_TF @ weights[:-1] + weights[-1]
        off_TK = weight_T[:, None] * (softmax(scores_TK, axis=1) - right_TK)
        value = -float(weight_T @ (right_TK * log_softmax(scores_TK, axis=1)).sum(axis=1))
        slope = np.concatenate([features_TF.T @ off_TK + PENALTY * weights[:-1], off_TK.sum(axis=0)[None]])
        return value + PENALTY / 2 * float((weights[:-1] ** 2).sum()), slope.ravel()

    start = np.zeros(shape)
    start[-1] = np.log(np.bincount(codes, weights=weight_T))
    best = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return _Regression(best.x.reshape(shape), classes)
