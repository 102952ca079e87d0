"""Numbers as a reader sees them: one decimal for percentages, a sign for changes, a dash for what is undefined."""

from __future__ import annotations

import math
import re

from graft.stats.intervals import Interval

DASH = "–"
"""Stands for an undefined value; the reason always goes with it."""

_MINUS = "−"


def percent(share: float) -> str:
    """A proportion in [0, 1] as a percentage with one decimal, a dash when NaN."""
    return DASH if math.isnan(share) else f"{100 * share:.1f}%"


def signed(value: float, decimals: int = 1) -> str:
    """A number with its sign, a true minus and no sign on a rounded zero; a dash when NaN."""
    if math.isnan(value):
        return DASH
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0.0:
        return text
    return ("+" if value > 0 else _MINUS) + text


def points(change: float) -> str:
    """A change of a proportion as signed percentage points."""
    return signed(100 * change)


def points_with_interval(change: float, interval: Interval) -> str:
    """A change in points, then its interval in brackets when that is defined."""
    if math.isnan(change) or not interval.defined:
        return points(change)
    return f"{points(change)} [{points(interval.low)}, {points(interval.high)}]"


def percent_with_interval(interval: Interval) -> str:
    """A proportion with its interval in percent."""
    if not interval.defined:
        return percent(interval.estimate)
    return f"{percent(interval.estimate)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def p_value(p: float) -> str:
    """A p-value with three decimals; below that only the bound, since resamples cannot show more."""
    if math.isnan(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def level(value: str) -> str:
    """A stratum's level in words: the truth values are stored as Python prints them."""
    return {"True": "yes", "False": "no"}.get(value, value)


def level_order(value: str) -> tuple[float, str]:
    """Sort key of a stratum's levels: by their leading number, the others after them by name."""
    match = re.match(r"[-+]?\d+(\.\d+)?", value)
    return (float(match[0]) if match else math.inf, value)


def number(value: object) -> str:
    """A whole number with thin separators, a fraction with three significant digits, a dash when NaN or missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
