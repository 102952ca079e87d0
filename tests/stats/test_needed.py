from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from graft.stats import TargetVerdict, TaskScores, Verdict, judge
from graft.stats.simulation import Cell, draw_studies

TAUGHT = TaskScores("spelling", np.arange(40), np.zeros(40), {"trained": np.ones((2, 40))})


def verdict(cell: Cell, pool: int | None = None, seed: int = 0) -> TargetVerdict:
    (target,) = next(draw_studies(cell, 1, np.random.default_rng(seed)))
    return judge(TAUGHT, [replace(target, pool=pool)], audit_ok=True).targets[0]


def half(found: TargetVerdict, level: str) -> float:
    interval = getattr(found.contrasts[1].change, level)
    return float(interval.high - interval.low) / 2


@pytest.mark.parametrize("seeds", [5, 10])
def test_with_the_words_that_would_decide_a_null_the_interval_is_the_margin_wide(seeds: int) -> None:
    few = verdict(Cell("null", seeds=seeds, words=400))
    assert few.verdict is Verdict.INCONCLUSIVE and 400 < few.words_to_decide < 50_000
    many = verdict(Cell("null", seeds=seeds, words=int(few.words_to_decide)), seed=1)
    assert half(many, "interval90") == pytest.approx(0.01, rel=0.25)


def test_with_the_words_that_would_decide_a_gain_it_is_claimed() -> None:
    few = verdict(Cell("gain", seeds=5, words=150, gain=0.06), seed=3)
    assert few.verdict is Verdict.INCONCLUSIVE and 150 < few.words_to_decide < 3000
    cell = Cell("gain", seeds=5, words=int(few.words_to_decide), gain=few.contrasts[1].change.estimate)
    assert sum(verdict(cell, seed=s).verdict is Verdict.TRANSFER for s in range(30)) > 18


def test_no_more_words_are_asked_for_than_there_are() -> None:
    found = verdict(Cell("null", seeds=5, words=400), pool=2600)
    assert math.isnan(found.words_to_decide)
    assert "words would decide, but the pool has 2,600: more seeds may" in found.words_reason
    assert found.words_reason in found.headline


def test_seeds_that_differ_too_much_ask_for_seeds() -> None:
    found = verdict(Cell("null", seeds=5, words=2000, seed_sd=0.03), seed=1)
    assert math.isnan(found.words_to_decide) and "seeds differ too much" in found.words_reason
    named = [int(word) for word in found.words_reason.split() if word.isdigit()]
    assert named and 10 < named[0] <= 100
    enough = verdict(Cell("null", seeds=named[0], words=4000, seed_sd=0.03), seed=2)
    assert half(enough, "interval90") < 0.02


def test_unchanged_words_need_the_rule_of_three() -> None:
    same = np.arange(60) < 30
    target = TaskScores("count", np.arange(60), same, {a: np.tile(same, (5, 1)) for a in ("trained", "format")})
    found = judge(TAUGHT, [target], audit_ok=True).targets[0]
    assert found.words_to_decide == math.ceil(math.log(0.05) / math.log(0.98)) == 149
