"""Adjusting p-values for how many were looked at. Undefined p-values stay NaN and do not count."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graft.errors import DataError


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values that bound the chance of any false claim in the family.

    Args:
        p_values: (M,) in [0, 1] or NaN.

    Returns:
        (M,) adjusted values in the given order: in ascending order the i-th (from 0) of m is multiplied by m − i,
        made non-decreasing and capped at 1.

    Raises:
        DataError: if a value is outside [0, 1] or the array is not one-dimensional.

    Source: Holm (1979), Scand. J. Statist. 6:65–70.
    """
    p, order = _ranked(p_values)
    m = len(order)
    adjusted = np.minimum(1.0, np.maximum.accumulate(p[order] * (m - np.arange(m))))
    return _placed(adjusted, order, p)


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values that bound the expected share of false finds among the finds.

    Args:
        p_values: (M,) in [0, 1] or NaN.

    Returns:
        (M,) adjusted values in the given order: in ascending order the i-th (from 1) of m is multiplied by m/i and
        made non-decreasing from the largest down.

    Raises:
        DataError: if a value is outside [0, 1] or the array is not one-dimensional.

    Source: Benjamini & Hochberg (1995), J. R. Statist. Soc. B 57:289–300.
    """
    p, order = _ranked(p_values)
    m = len(order)
    scaled = p[order] * m / np.arange(1, m + 1)
    adjusted = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return _placed(adjusted, order, p)


def _ranked(p_values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The checked values and the positions of the defined ones in ascending order."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise DataError(f"p-values must be one-dimensional, but got shape {p.shape}")
    wrong = p[(p < 0) | (p > 1)]
    if wrong.size:
        raise DataError(f"p-values must lie in [0, 1], but got {wrong[0]}")
    order = np.argsort(p, kind="stable")
    return p, order[: int((~np.isnan(p)).sum())]


def _placed(adjusted: NDArray[np.float64], order: NDArray[np.intp], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted values back at their places, NaN elsewhere."""
    out = np.full(p.shape, np.nan)
    out[order] = adjusted
    return out
