from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.errors import DataError
from graft.stats import benjamini_hochberg, holm

P = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_holm_matches_the_worked_example() -> None:
    # Ascending .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; the last rises to .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_benjamini_hochberg_rejects_the_four_of_the_papers_fifteen() -> None:
    # Benjamini & Hochberg (1995), §3.2: fifteen p-values, of which the first four are found at 5%.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1,
    ]
    adjusted = benjamini_hochberg(p)
    assert (adjusted <= 0.05).sum() == 4
    assert adjusted[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert (holm(p) <= 0.05).sum() == 3


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_undefined_values_stay_undefined_and_do_not_count(adjust) -> None:  # type: ignore[no-untyped-def]
    adjusted = adjust([0.01, np.nan, 0.03])
    assert np.isnan(adjusted[1])
    assert adjusted[[0, 2]] == pytest.approx(adjust([0.01, 0.03]))
    assert np.isnan(adjust([np.nan])).all() and adjust([]).shape == (0,)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize("wrong", [[1.2], [-0.1], [[0.1, 0.2]]])
def test_what_is_no_list_of_p_values_is_refused(adjust, wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="but got"):
        adjust(wrong)


@given(P)
def test_adjusting_never_lowers_p_and_keeps_their_order(p: list[float]) -> None:
    raw = np.array(p)
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert (adjusted >= raw - 1e-15).all() and (adjusted <= 1).all()
        assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= -1e-15).all()
    assert (holm(p) >= benjamini_hochberg(p) - 1e-15).all()


@given(P, st.randoms())
def test_the_order_given_does_not_matter(p: list[float], random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(p)))
    random.shuffle(order)
    for adjust in (holm, benjamini_hochberg):
        assert adjust(np.array(p)[order]) == pytest.approx(adjust(p)[order])
