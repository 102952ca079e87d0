from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from graft.errors import DataError
from graft.stats import Verdict, mcnemar_exact, mcnemar_sample_size, smallest_detectable
from graft.stats.power import Plan, claimed_from, detectable_change, power
from graft.stats.simulation import Cell, simulate


@pytest.mark.parametrize(
    ("delta", "discordance", "n"), [(0.10, 0.30, 234), (0.05, 0.20, 626), (0.03, 0.10, 870), (0.02, 0.20, 3923)]
)
def test_the_documented_sample_sizes_come_out(delta: float, discordance: float, n: int) -> None:
    assert mcnemar_sample_size(delta, discordance) == n
    assert mcnemar_sample_size(-delta, discordance) == n


def test_the_promised_power_is_kept_by_the_exact_test() -> None:
    # The exact test is conservative, so it falls a little short of the asymptotic 80%.
    rng = np.random.default_rng(0)
    n = mcnemar_sample_size(0.10, 0.30)
    kinds = rng.choice([1, -1, 0], p=[0.20, 0.10, 0.70], size=(400, n))
    found = [mcnemar_exact(row == -1, row == 1).p < 0.05 for row in kinds]
    assert 0.70 < np.mean(found) < 0.86


@pytest.mark.parametrize(
    ("delta", "discordance", "alpha", "power"),
    [
        (0.3, 0.2, 0.05, 0.8),
        (0.0, 0.2, 0.05, 0.8),
        (0.1, 0, 0.05, 0.8),
        (0.1, 1.1, 0.05, 0.8),
        (0.1, 0.2, 0, 0.8),
        (0.1, 0.2, 0.05, 1),
    ],
)
def test_impossible_plans_are_refused(delta: float, discordance: float, alpha: float, power: float) -> None:
    with pytest.raises(DataError, match="but got"):
        mcnemar_sample_size(delta, discordance, alpha, power)


def least(plan: Plan) -> float:
    return smallest_detectable(plan, np.random.default_rng(0))


@pytest.mark.parametrize(
    "plan",
    [
        Plan(words=300, seeds=3, seed_sd=0.02),
        Plan(words=300, seeds=5, seed_sd=0.0),
        Plan(words=60, seeds=5, seed_sd=0.0),
        Plan(words=400, seeds=5, seed_sd=0.04),
    ],
)
def test_the_judge_finds_the_smallest_detectable_change_four_times_out_of_five(plan: Plan) -> None:
    """Formulas for one contrast of one seed promised 80% where the judge found 14 to 70%."""
    cell = Cell("planned", plan.seeds, words=plan.words, seed_sd=plan.seed_sd, gain=least(plan))
    found = simulate(cell, 200, np.random.default_rng(1)).verdicts.get(Verdict.TRANSFER.value, 0.0)
    assert 0.8 - 0.08 < found < 0.8 + 0.09


def test_power_is_the_share_of_studies_that_would_claim_the_change() -> None:
    plan = Plan(words=1000, seeds=5)
    assert power(plan, least(plan), np.random.default_rng(0)) == pytest.approx(0.8, abs=0.001)
    assert power(plan, 0.0, np.random.default_rng(0)) < 0.01


def test_more_words_seeds_and_agreement_show_smaller_changes_and_more_targets_larger_ones() -> None:
    plan = Plan(words=500, seeds=3)
    better = [replace(plan, words=2000), replace(plan, seeds=5), replace(plan, seed_sd=0.005)]
    assert all(least(other) < least(plan) for other in better)
    assert least(replace(plan, discordance=0.4)) > least(plan)
    assert least(replace(plan, targets=3, seeds=10)) > least(replace(plan, seeds=10))


def test_words_do_not_help_against_seeds_that_differ() -> None:
    assert least(Plan(words=100_000, seeds=5, seed_sd=0.04)) > 0.06


def test_a_change_that_nothing_could_show_is_undefined() -> None:
    assert math.isnan(least(Plan(words=300, seeds=2, seed_sd=0.3)))


@pytest.mark.parametrize("plan", [Plan(0, 5), Plan(10, 1), Plan(10, 2, targets=0), Plan(10, 2, discordance=0.6)])
def test_a_plan_that_cannot_be_simulated_is_refused(plan: Plan) -> None:
    with pytest.raises(DataError, match="but got"):
        claimed_from(plan, np.random.default_rng(0))


def test_the_smallest_detectable_change_needs_just_the_items_there_are() -> None:
    for n, discordance in ((500, 0.2), (100, 0.07), (2000, 0.01)):
        change = detectable_change(n, discordance)
        needed = [mcnemar_sample_size(part, max(part, discordance)) for part in (change * 1.001, change * 0.98)]
        assert needed[0] <= n < needed[1]
    assert math.isnan(detectable_change(3, 0.2))
