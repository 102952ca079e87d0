"""Are the probabilities of labels what they say? Brier score, calibration error, and a temperature that mends it.

Axes: N items, K options. An item with fewer options than K has scores of −inf in the rest, which are probability 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from graft.errors import DataError
from graft.stats.intervals import NAN

BINS = 15
"""Bins of equal width of the top label's probability, as in Guo et al. (2017)."""

_LOG_RANGE = 12.0
"""The inverse temperature is sought between e^−12 and e^12."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Items whose top label has a probability in (low, high]; NaN means where there is none."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well the probabilities of labels fit what is right.

    Attributes:
        n: items.
        brier: mean over items of the squared distance of the probabilities from the right answer, summed over the
            options; 0 is perfect, 2 is certainty of the wrong answer. NaN without items.
        nll: mean of −log of the right answer's probability, in nats; NaN without items or when one has probability 0.
        ece: expected calibration error: the mean over items of |accuracy − confidence| of their bin.
        bins: the reliability table, lowest confidence first.
    """

    n: int
    brier: float
    nll: float
    ece: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Temperature:
    """What the scores are divided by before the softmax.

    Attributes:
        value: above 0; above 1 the model was too sure. NaN when undefined.
        n: items it was fitted on.
        nll_before: mean negative log-likelihood of those items at temperature 1, in nats.
        nll_after: the same at `value`.
        reason: why it is NaN; empty when it is a number.
    """

    value: float
    n: int
    nll_before: float = NAN
    nll_after: float = NAN
    reason: str = ""


def padded(scores: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Scores of items with different numbers of options as (N, K), filled up with −inf."""
    table = np.full((len(scores), max(map(len, scores), default=0)), -np.inf)
    for row, values in enumerate(scores):
        table[row, : len(values)] = values
    return table


def probabilities(scores_NK: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax of the scores divided by a temperature.

    Args:
        scores_NK: (N, K) log-likelihoods or other scores in nats.
        temperature: above 0.

    Raises:
        DataError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise DataError(f"temperature must be above 0, but got {temperature}")
    scaled = np.asarray(scores_NK, dtype=np.float64) / temperature
    found: NDArray[np.float64] = np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True))
    return found


def brier_items(probabilities_NK: NDArray[np.float64], gold_N: NDArray[np.intp]) -> NDArray[np.float64]:
    """Per item the squared distance of the probabilities from the right answer, 0 to 2.

    Source: Brier (1950), Monthly Weather Review 78:1–3, in its original form for several classes.
    """
    right = np.zeros_like(probabilities_NK)
    right[np.arange(len(gold_N)), gold_N] = 1.0
    found: NDArray[np.float64] = ((probabilities_NK - right) ** 2).sum(axis=1)
    return found


def reliability(probabilities_NK: NDArray[np.float64], gold_N: NDArray[np.intp], bins: int = BINS) -> tuple[Bin, ...]:
    """Confidence and accuracy of the top label in bins of equal width.

    Source: Guo, Pleiss, Sun & Weinberger (2017), On Calibration of Modern Neural Networks, equations 1 to 3.
    """
    confidence = probabilities_NK.max(axis=1)
    right = probabilities_NK.argmax(axis=1) == gold_N
    codes = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    table = []
    for code in range(bins):
        own = codes == code
        n = int(own.sum())
        means = (float(confidence[own].mean()), float(right[own].mean())) if n else (NAN, NAN)
        table.append(Bin(code / bins, (code + 1) / bins, n, *means))
    return tuple(table)


def calibration(scores_NK: ArrayLike, gold_N: ArrayLike, temperature: float = 1.0) -> Calibration:
    """Judge the probabilities that scores give.

    Args:
        scores_NK: (N, K) scores in nats.
        gold_N: (N,) place of each item's right answer.
        temperature: above 0; divides the scores.

    Raises:
        DataError: shapes disagree, a place is outside the options, or the temperature is not above 0.
    """
    scores, gold = _checked(scores_NK, gold_N)
    if not len(gold):
        return Calibration(0, NAN, NAN, NAN, ())
    shares = probabilities(scores, temperature)
    table = reliability(shares, gold)
    error = sum(part.n * abs(part.accuracy - part.confidence) for part in table if part.n) / len(gold)
    nll = _nll(scores, gold, 1 / temperature)
    return Calibration(
        n=len(gold),
        brier=float(brier_items(shares, gold).mean()),
        nll=nll if np.isfinite(nll) else NAN,
        ece=error,
        bins=table,
    )


def fit_temperature(
    scores_NK: ArrayLike, gold_N: ArrayLike, *, fitted_on: Sequence[str], scored: Iterable[str]
) -> Temperature:
    """The temperature under which the right answers are likeliest, fitted on items that are never scored.

    The negative log-likelihood is convex in the inverse temperature, so there is one best value, unless it lies at an
    end: every answer right (the surer the better), or scores that say nothing (the less sure the better).

    Args:
        scores_NK: (N, K) scores in nats of the items that it is fitted on.
        gold_N: (N,) place of each one's right answer.
        fitted_on: (N,) their ids.
        scored: ids of the items that the temperature will be judged on.

    Returns:
        The temperature; NaN with a reason when there is none.

    Raises:
        DataError: an item is both fitted on and scored, or shapes disagree.

    Source: Guo et al. (2017), section 4.2.
    """
    if shared := sorted(set(fitted_on) & set(scored)):
        raise DataError(
            f"the temperature would be fitted on {len(shared)} items that it is judged on (first: {shared[0]}); "
            "fit it on other rows"
        )
    scores, gold = _checked(scores_NK, gold_N)
    if not len(gold):
        return Temperature(NAN, 0, reason="no items to fit it on")
    before = _nll(scores, gold, 1.0)
    if not np.isfinite(before):
        return Temperature(NAN, len(gold), reason="a right answer has probability 0")
    if reason := _no_optimum(scores, gold):
        return Temperature(NAN, len(gold), before, NAN, reason)
    best = minimize_scalar(
        lambda log: _nll(scores, gold, float(np.exp(log))), bounds=(-_LOG_RANGE, _LOG_RANGE), method="bounded",
        options={"xatol": 1e-6},
    )  # fmt: skip
    return Temperature(float(np.exp(-best.x)), len(gold), before, float(best.fun))


def _no_optimum(scores: NDArray[np.float64], gold: NDArray[np.intp]) -> str:
    right = scores[np.arange(len(gold)), gold]
    if bool((right >= scores.max(axis=1)).all()):
        return "every fitted item is right, so no temperature is cold enough"
    shown = np.isfinite(scores)
    means = np.where(shown, scores, 0.0).sum(axis=1) / shown.sum(axis=1)
    if float((right - means).mean()) <= 0:
        return "the scores do not favour the right answers, so no temperature is hot enough"
    return ""


def _nll(scores: NDArray[np.float64], gold: NDArray[np.intp], inverse: float) -> float:
    scaled = scores * inverse
    return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(gold)), gold]).mean())


def _checked(scores_NK: ArrayLike, gold_N: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    scores, gold = np.asarray(scores_NK, dtype=np.float64), np.asarray(gold_N, dtype=np.intp)
    if scores.ndim != 2 or gold.shape != scores.shape[:1]:
        raise DataError(f"scores must be (N, K) and answers (N,), but got {scores.shape} and {gold.shape}")
    if len(gold) and not (gold.min() >= 0 and gold.max() < scores.shape[1]):
        raise DataError(f"an answer's place must lie in 0..{scores.shape[1] - 1}, but got {gold.min()}..{gold.max()}")
    return scores, gold
