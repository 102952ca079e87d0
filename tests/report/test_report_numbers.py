import math

import pytest

from graft.report.numbers import level, level_order, number, p_value, percent, points, points_with_interval
from graft.stats.intervals import Interval, undefined


@pytest.mark.parametrize(("share", "text"), [(0.4111, "41.1%"), (0.0, "0.0%"), (1.0, "100.0%"), (math.nan, "–")])
def test_a_share_has_one_decimal(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("change", "text"), [(0.1234, "+12.3"), (-0.0061, "−0.6"), (0.0, "0.0"), (-0.0004, "0.0"), (math.nan, "–")]
)
def test_a_change_has_a_sign_unless_it_rounds_to_zero(change: float, text: str) -> None:
    assert points(change) == text


def test_an_undefined_interval_is_left_out() -> None:
    assert points_with_interval(0.01, undefined("one word only", estimate=0.01)) == "+1.0"
    assert points_with_interval(0.01, Interval(0.01, -0.02, 0.04, 0.95, 10)) == "+1.0 [−2.0, +4.0]"


def test_a_small_p_is_a_bound() -> None:
    assert [p_value(p) for p in (0.0002, 0.0499, 1.0, math.nan)] == ["< 0.001", "0.050", "1.000", "–"]


def test_numbers_of_any_kind_are_printed() -> None:
    assert [number(v) for v in (12345, 0.31415, 3.0, True, None, math.nan, "x")] == [
        "12,345",
        "0.314",
        "3",
        "yes",
        "–",
        "–",
        "x",
    ]


def test_levels_are_ordered_by_number_and_named_in_words() -> None:
    assert sorted(["12", "4", "3+", "hyphen", "10"], key=level_order) == ["3+", "4", "10", "12", "hyphen"]
    assert [level(value) for value in ("True", "False", "2")] == ["yes", "no", "2"]
