from __future__ import annotations

import math

import numpy as np
import pytest

from graft.stats.between import RunScores, run_change

WORDS = np.arange(400)


def run(rng: np.random.Generator, difficulty: np.ndarray, seeds: int, sd: float) -> RunScores:
    """A run of a recipe that is right on half of the items, give or take its seed."""
    level = 0.5 + sd * rng.normal(size=(seeds, 1))
    return RunScores((0.8 * difficulty + 0.2 * rng.random((seeds, len(difficulty))) < level).astype(float), WORDS)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("first", "second"), [(3, 3), (5, 2), (3, 1)])
def test_the_interval_between_two_runs_holds_the_spread_of_their_seeds(first: int, second: int, paired: bool) -> None:
    """Runs with other seed ids used to lose it, and covered the truth in 42 to 71%."""
    rng = np.random.default_rng(first + 10 * second)
    held, studies = 0, 200
    for _ in range(studies):
        difficulty = rng.random(400)
        other = difficulty if paired else rng.random(400)
        one, two = run(rng, difficulty, first, 0.04), run(rng, other, second, 0.04)
        found = run_change(one, two, paired=paired)
        held += found.interval.low <= 0 <= found.interval.high
    assert held / studies > 0.93 - 2 * math.sqrt(0.93 * 0.07 / studies)


def test_one_seed_in_each_run_compares_two_checkpoints() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.random(400)
    assert run_change(run(rng, difficulty, 1, 0), run(rng, difficulty, 1, 0), paired=True).one_seed


def test_scores_that_are_no_shares_are_compared_too() -> None:
    """Correlations may be negative, and what an item adds to a metric may exceed 1."""
    rng = np.random.default_rng(4)
    before, after = (RunScores(rng.normal(level, 1.5, (3, 400)), WORDS) for level in (-0.3, 0.1))
    found = run_change(before, after, paired=False)
    assert found.interval.low < 0.4 < found.interval.high and found.p < 0.05


def test_one_word_has_no_interval() -> None:
    same = RunScores(np.ones((2, 3)), np.array(["a", "a", "a"]))
    found = run_change(same, same, paired=True)
    assert not found.interval.defined and "one word only" in found.interval.reason and math.isnan(found.p)
