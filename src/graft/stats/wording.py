"""The sentences of a study, in plain English. Numbers are shown in percentage points."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graft.stats.arms import BASE, Contrast
from graft.stats.intervals import Interval

MINUS = "−"


def points(value: float, *, signed: bool = True) -> str:
    """A proportion as percentage points with one decimal: ``+1.5``; ``undefined`` for NaN."""
    if math.isnan(value):
        return "undefined"
    shown = round(100 * value, 1) + 0.0  # + 0.0 turns −0.0 into 0.0
    return (f"{shown:+.1f}" if signed else f"{shown:.1f}").replace("-", MINUS)


def span(interval: Interval) -> str:
    """``95% interval −0.5 to +1.5``."""
    return f"{100 * interval.level:.0f}% interval {points(interval.low)} to {points(interval.high)}"


def size(margin: float) -> str:
    """``2 points``, ``1 point``, ``0.5 points``."""
    number = f"{100 * margin:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def rival(contrast: Contrast) -> str:
    """The arm that is compared with, as a reader knows it."""
    return "the base" if contrast.before == BASE else f"the {contrast.before} control"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def changes(required: Sequence[Contrast]) -> str:
    """``+6.1 points over the base (95% interval …) and +5.3 points over the format control (95% interval …)``."""
    return " and ".join(
        f"{points(c.change.estimate)} points against {rival(c)} ({span(c.change.interval)})" for c in required
    )


def equivalent(contrast: Contrast) -> str:
    """Why a change counts as none."""
    shown = f"±{points(contrast.equivalence.margin, signed=False)} points"
    change = f"change {points(contrast.change.estimate)}, {span(contrast.equivalence.interval)}"
    return f"equivalent to {rival(contrast)} within {shown} ({change})"


def accuracy(arm: str, interval: Interval) -> str:
    """``base 48.0% (95% interval 45.0 to 51.0)``."""
    low, high = (points(end, signed=False) for end in (interval.low, interval.high))
    return f"{arm} {points(interval.estimate, signed=False)}% ({100 * interval.level:.0f}% interval {low} to {high})"


def no_room(arm: str, interval: Interval, margin: float) -> str:
    """Why an arm leaves less room for a gain than the margin; empty when it does not."""
    if not interval.high > 1 - margin:
        return ""
    return f"{accuracy(arm, interval)} leaves less room than {size(margin)}"


def undecided(required: Sequence[Contrast], words: float, words_reason: str, claim_p_adjusted: float) -> str:
    """Why neither transfer nor its absence is shown, and what would decide."""
    broken = [c.change.reason for c in required if c.change.reason]
    if broken:
        return broken[0]
    after = words_reason if math.isnan(words) else f"about {about(words)} words would decide"
    return f"{changes(required)}, adjusted {p_value(claim_p_adjusted)}; {after}"


def about(number: float) -> str:
    """A forecast rounded up to two digits, so that it does not look like a measurement: 42,047 is ``43,000``."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / unit) * unit:,}"


def p_value(p: float) -> str:
    """``p = 0.031``, ``p < 0.001``, ``p undefined`` for NaN."""
    if math.isnan(p):
        return "p undefined"
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def label(exploratory: bool, seeds: int) -> str:
    """The prefix that marks a study with few seeds."""
    return f"Exploratory ({seeds} {'seed' if seeds == 1 else 'seeds'}): " if exploratory else ""


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."
