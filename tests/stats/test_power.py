from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.errors import DataError
from graft.stats import mcnemar_exact, mcnemar_sample_size, minimum_detectable_effect


@pytest.mark.parametrize(
    ("delta", "discordance", "n"), [(0.10, 0.30, 234), (0.05, 0.20, 626), (0.03, 0.10, 870), (0.02, 0.20, 3923)]
)
def test_the_documented_sample_sizes_come_out(delta: float, discordance: float, n: int) -> None:
    assert mcnemar_sample_size(delta, discordance) == n
    assert mcnemar_sample_size(-delta, discordance) == n


@given(st.integers(60, 20_000), st.floats(0.05, 1.0), st.floats(0.5, 0.95))
def test_the_detectable_effect_inverts_the_sample_size(n: int, discordance: float, power: float) -> None:
    effect = minimum_detectable_effect(n, discordance, power=power)
    if math.isnan(effect):
        assert mcnemar_sample_size(discordance, discordance, power=power) > n
    else:
        assert mcnemar_sample_size(effect * (1 + 1e-9), discordance, power=power) in (n, n + 1)
        assert mcnemar_sample_size(effect * 0.99, discordance, power=power) > n


def test_two_thousand_words_at_unknown_discordance_show_about_three_points() -> None:
    assert minimum_detectable_effect(2000) == pytest.approx(0.028, abs=0.0005)


def test_five_seeds_are_worth_five_thirds_of_the_items() -> None:
    assert minimum_detectable_effect(600, seeds=5) == pytest.approx(minimum_detectable_effect(1000))


def test_too_few_items_detect_nothing_at_all() -> None:
    assert math.isnan(minimum_detectable_effect(10, 0.05))


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


@pytest.mark.parametrize(("n", "seeds"), [(0, 1), (10, 0)])
def test_no_items_or_no_seeds_are_refused(n: int, seeds: int) -> None:
    with pytest.raises(DataError, match="at least 1"):
        minimum_detectable_effect(n, seeds=seeds)
