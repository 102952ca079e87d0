"""Reading and comparing numeric answers."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.tasks.answers.numbers import final_number, numbers, only_number, score_final_number, score_number

READ = {
    "$1,234.50": Fraction(2469, 2),
    "-$3": -3,
    "$-3": -3,
    "−3": -3,
    "- 26.16": Fraction(-654, 25),
    ".5": Fraction(1, 2),
    "3/4": Fraction(3, 4),
    "1 1/2": Fraction(3, 2),
    r"\frac{3}{4}": Fraction(3, 4),
    "1.2e6": 1_200_000,
    "14.2%": Fraction(142, 1000),
    "10 percent": Fraction(1, 10),
    "+7": 7,
    "18.": 18,
}


@pytest.mark.parametrize("text", READ)
def test_numbers_are_read_as_people_write_them(text: str) -> None:
    number = only_number(text)
    assert number is not None and number.value == READ[text]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("16 - 3 = 13", [16, 3, 13]),
        ("from 5-3 to 1,23", [5, 3, 1, 23]),
        ("1,000,000 and 2,000", [1_000_000, 2000]),
        ("x=-7.", [-7]),
        ("1/0", []),
        ("9" * 100, []),
        ("no number", []),
    ],
)
def test_numbers_in_running_text_are_told_apart(text: str, values: list[int]) -> None:
    assert [number.value for number in numbers(text)] == values


@pytest.mark.parametrize("text", ["3 apples", "80 million people", "(5)", "", "####", "#### 3"])
def test_a_text_with_more_than_a_number_is_not_only_a_number(text: str) -> None:
    assert only_number(text) is None


GOLD = "It takes 2/2=<<2/2=1>>1 bolt\nSo 2+1=<<2+1=3>>3 bolts\n#### 1,003"


@pytest.mark.parametrize(
    ("reply", "strict", "lenient", "parsed"),
    [
        (GOLD, True, True, True),
        ("#### 1003", True, True, True),
        ("work\n#### $1,003.00\n", True, True, True),
        ("#### 1003 bolts", False, True, True),
        ("The answer is 1,003.", False, True, True),
        ("#### 1003\nQuestion: 5", False, True, True),
        ("first 1003, no, 1004", False, False, True),
        ("#### 4 #### 1003", False, False, True),
        ("1003 #### 7", False, False, True),
        ("#### none", False, False, False),
        ("", False, False, False),
    ],
)
def test_gsm8k_compares_final_numbers(reply: str, strict: bool, lenient: bool, parsed: bool) -> None:
    score = score_final_number(GOLD, reply)
    assert (score.strict, score.lenient, score.parsed) == (strict, lenient, parsed)


@pytest.mark.parametrize(
    ("gold", "reply", "strict", "lenient"),
    [
        ("142.4%", "142.4%", True, True),
        ("142.4%", "1.424", True, True),
        ("142.4%", "142.4", False, True),  # the sign forgotten
        ("0.25", "25%", True, True),
        ("35.80", "35.8", True, True),
        ("35.80", "36.1", False, True),  # within 1%
        ("35.80", "36.2", False, False),
        ("35.80", "-35.80", False, False),
        ("35.80", "The answer is 35.80 for 2007", False, True),
        ("35.80", "It changed by $35.80", False, True),
        ("-4.1", "−4.1", True, True),
        ("0", "0.004", False, False),
        ("0", "0.9", False, False),
        ("3/4", "0.75", True, True),
        ("no", "No.", True, True),
        ("no", "No, it was not", False, True),
        ("yes", "no", False, False),
        ("60.94", "I do not know", False, False),
    ],
)
def test_convfinqa_compares_numbers_with_a_tolerance(gold: str, reply: str, strict: bool, lenient: bool) -> None:
    score = score_number(gold, reply)
    assert (score.strict, score.lenient) == (strict, lenient)


def test_the_tolerance_can_be_set() -> None:
    assert score_number("100.00", "100.9").lenient
    assert not score_number("100.00", "100.9", tolerance=Fraction(1, 1000)).lenient


@given(st.text(), st.text())
def test_no_reply_makes_a_scorer_fail_and_strict_is_never_without_lenient(gold: str, reply: str) -> None:
    for score in (score_final_number(gold, reply), score_number(gold, reply)):
        assert score.lenient or not score.strict
        assert (score.answer is None) or score.parsed


@given(st.text(alphabet="0123456789.,-+/%$e# \n\\{}frac", max_size=60))
def test_no_mixture_of_signs_makes_a_scorer_fail(reply: str) -> None:
    score_final_number("#### 3", reply)
    score_number("3.5%", reply)


@given(st.fractions(max_denominator=1).map(int), st.booleans())
def test_a_whole_number_is_read_back_with_and_without_commas(value: int, commas: bool) -> None:
    if len(str(value)) < 25:
        found = final_number(f"so it is {value:,}." if commas else f"so it is {value}.")
        assert found is not None and found.value == value


@pytest.mark.parametrize("piece", ["9", "1,111,", "answer ", "- ", "1/", "#### ", "$", "\\frac{"])
def test_long_replies_are_scored_in_time(piece: str) -> None:
    reply, start = piece * (20_000 // len(piece)), time.perf_counter()
    score_final_number("#### 3", reply)
    score_number("3", reply)
    assert time.perf_counter() - start < 2.0
