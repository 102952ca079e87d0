from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from graft.errors import DataError
from graft.stats.simulation import Cell, draw_studies, simulate


def run(cell: Cell, studies: int = 120):  # type: ignore[no-untyped-def]
    return simulate(cell, studies, np.random.default_rng(7))


def test_drawn_studies_have_the_accuracy_discordance_and_seed_correlation_that_was_asked_for() -> None:
    cell = Cell("plain", seeds=3, words=20_000)
    (target,) = next(iter(draw_studies(cell, 1, np.random.default_rng(0))))
    trained = target.arms["trained"]
    change = trained.astype(float) - target.base
    assert target.base is not None and target.base.mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(change).mean() == pytest.approx(0.20, abs=0.01)
    assert 0.3 < np.corrcoef(change)[0, 1] < 0.7


def test_the_truth_of_a_cell_is_its_mean_over_seeds_cut_at_the_ends() -> None:
    assert Cell("gain", seeds=2, gain=0.03).change("base") == pytest.approx(0.03)
    assert Cell("floor", seeds=2, accuracy=0.0, seed_sd=0.04).change("base") == pytest.approx(0.04 * 0.399, rel=0.01)


@pytest.mark.parametrize(
    "cell",
    [
        Cell("both arms gain 10", seeds=2, seed_sd=0.04, words=300, targets=2, gain=0.10, format_gain=0.10),
        Cell("both arms gain 10", seeds=5, seed_sd=0.04, words=300, gain=0.10, format_gain=0.10),
        Cell("one arm spreads more", seeds=5, seed_sd=0.04, format_sd=0.01, words=300, gain=0.10, format_gain=0.10),
        Cell("a true gain of 3", seeds=2, seed_sd=0.04, words=300, gain=0.03),
        Cell("a true gain of 3", seeds=5, words=300, gain=0.03),
        Cell("floor", seeds=2, words=12, accuracy=0.01, gain=0.05),
        Cell("floor", seeds=5, words=40, accuracy=0.01, gain=0.05),
        Cell("words of four items", seeds=3, words=80, items=4, gain=0.10, format_gain=0.10),
        Cell("form alone", seeds=3, words=300, format_only=0.3),
        Cell("only self gains too", seeds=3, words=300, gain=0.10, format_gain=-0.3, self_gain=0.10, seed_sd=0.02),
    ],
    ids=lambda cell: f"{cell.name}-{cell.seeds}-seeds-{cell.words}-words",
)
def test_verdicts_and_intervals_keep_their_promises(cell: Cell) -> None:
    assert run(cell).failures() == ()


def test_a_claim_must_beat_the_second_control_too() -> None:
    cell = Cell("self gains as much", seeds=3, words=400, gain=0.10, format_gain=-0.3, self_gain=0.10)
    beaten = replace(cell, self_gain=0.0)
    assert cell.controls == ("format", "self")
    assert run(cell, 40).verdicts.get("transfer", 0.0) <= 0.05 < 0.9 < run(beaten, 40).verdicts["transfer"]


def test_a_broken_promise_is_named() -> None:
    found = run(Cell("null", seeds=2, words=50), 20)
    broken = replace(found, false_transfer=0.4, coverage_base=0.5)
    assert "false transfer in 40.0% of studies, at most 2.5% are allowed" in broken.failures()
    assert "the 95% interval against base covers 50.0%" in broken.failures()


def test_a_mistake_that_cannot_be_made_is_undefined_and_no_failure() -> None:
    found = run(Cell("gain", seeds=2, words=50, gain=0.2), 10)
    assert math.isnan(found.false_transfer) and found.failures() == ()


def test_a_simulation_without_studies_is_refused() -> None:
    with pytest.raises(DataError, match="at least 1 study, but got 0"):
        run(Cell("null", seeds=2), 0)
