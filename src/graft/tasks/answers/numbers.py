r"""Numeric answers: reading numbers as people write them, and comparing them.

A number is read exactly, as a fraction: ``1,234.50``, ``$-3``, ``−3`` (Unicode minus), ``.5``, ``3/4``, ``1 1/2``,
``\frac{3}{4}``, ``1.2e6``, ``14.2%``. Words for magnitudes (*million*) are not multiplied in: whether the gold answer
counts them is a matter of each dataset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from graft.types import Score

MARKER = "####"
"""What precedes the final number in GSM8K."""

TOLERANCE = Fraction(1, 100)
"""Relative error that a lenient numeric answer may have: the gold answers are rounded to two or three digits."""

_LONGEST = 40
"""A run of more characters than this is no number; it bounds the cost of reading one."""

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![0-9A-Za-z)\]])(?<![0-9)\]]\s)[-+−–])?\s?(?P<currency>[$€£¥])?\s?(?P<late>(?<=[$€£¥\s])[-−–](?=[0-9.]))?"
    rf"(?:(?P<mixed>[0-9]{{1,9}})\s(?=[0-9]{{1,9}}\s?/\s?[0-9]))?"
    rf"(?P<digits>{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+)"
    rf"(?P<exponent>[eE][-+]?[0-9]{{1,2}}(?![0-9A-Za-z]))?"
    rf"(?:\s?/\s?(?P<below>{_DIGITS})(?![0-9./]))?"
    rf"(?P<percent>\s?(?:%|\\%|percent\b|per cent\b))?",
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{\s*([0-9]{1,20})\s*\}\{\s*([0-9]{1,20})\s*\}")
_CUE = re.compile(r"\banswer(?:\s+is)?\b\s*[:=]?", re.IGNORECASE)
_WORDS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a text.

    Attributes:
        value: what it says, a percentage divided by 100.
        percent: it was written as a percentage.
        digits: digits after the decimal point, as written.
    """

    value: Fraction
    percent: bool = False
    digits: int = 0

    @property
    def step(self) -> Fraction:
        """Half a unit of the last digit that was written, in units of `value`."""
        return Fraction(1, 2 * 10**self.digits) / (100 if self.percent else 1)


def numbers(text: str) -> list[Number]:
    """All numbers of a text, in order; runs that are too long to be numbers are left out."""
    plain = _LATEX_FRACTION.sub(r"\1/\2", text)
    return [number for found in _NUMBER.finditer(plain) if (number := _read(found)) is not None]


def only_number(text: str) -> Number | None:
    """The number that is all of a text but for white space and a full stop; ``None`` when anything else is there."""
    plain = _LATEX_FRACTION.sub(r"\1/\2", text.strip()).rstrip(".")
    found = _NUMBER.fullmatch(plain)
    return _read(found) if found else None


def final_number(text: str) -> Number | None:
    """The number a text ends with: after the last ``####`` if there is one, else its last number."""
    _, marker, tail = text.rpartition(MARKER)
    found = numbers(tail)
    return (found[0] if marker else found[-1]) if found else None


def score_final_number(gold: str, reply: str) -> Score:
    """Score worked solutions that end with ``#### n``, as in GSM8K.

    Args:
        gold: the right solution, or its number alone.
        reply: what the model wrote.

    Returns:
        Strict when the last line of the reply is ``#### n`` with the right number; lenient when its final number is
        right: the one after the last ``####``, or else the last of all.

    Source: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", section 2 (final answers only).
    """
    right, found = final_number(gold), final_number(reply)
    lines = reply.rstrip().rsplit("\n", 1)[-1].split(MARKER)
    last = only_number(lines[1]) if len(lines) == 2 and not lines[0].strip() else None
    same = right is not None and found is not None and found.value == right.value
    strict = same and last is not None and last == found
    return Score(strict=strict, lenient=same, parsed=found is not None, answer=_written(found))


def score_number(gold: str, reply: str, *, tolerance: Fraction = TOLERANCE) -> Score:
    """Score an answer that is a number, or *yes* or *no*, as in ConvFinQA and FinanceMath.

    Equal as written means within half a unit of the last digit of the gold answer: 1.424 and 142.4% are the same.

    Args:
        gold: the right answer.
        reply: what the model wrote; its answer is the number after the word *answer*, or else its last number.
        tolerance: relative error that is forgiven leniently.

    Returns:
        Strict when the reply is nothing but a number equal to gold as written; lenient within `tolerance`, and also
        when a percentage is given as its number (142.4 for 142.4%) or a share as a percentage.

    Source: Chen et al. 2022, "ConvFinQA", section 5.1 (execution accuracy); the tolerance is this project's choice.
    """
    right = only_number(gold) or final_number(gold)
    if right is None:
        return _score_word(gold, reply)
    cues = list(_CUE.finditer(reply))
    said = numbers(reply[cues[-1].end() :])[:1] if cues else []
    found = said[0] if said else next(reversed(numbers(reply)), None)
    alone = only_number(reply)
    strict = alone is not None and _as_written(right, alone.value)
    lenient = strict or (found is not None and _close(right, found.value, tolerance))
    return Score(strict=strict, lenient=lenient, parsed=found is not None, answer=_written(found))


def _score_word(gold: str, reply: str) -> Score:
    """Score *yes* and *no* by the first such word, and any other text literally."""
    plain = reply.strip().rstrip(".").casefold()
    strict = plain == gold.strip().rstrip(".").casefold()
    if (right := _WORDS.get(gold.strip().casefold())) is None:
        return Score(strict=strict, lenient=strict, parsed=bool(plain), answer=plain or None)
    answer = next((_WORDS[word] for word in re.findall(r"[a-z]+", plain) if word in _WORDS), None)
    return Score(strict=strict, lenient=strict or answer == right, parsed=answer is not None, answer=answer)


def _as_written(right: Number, value: Fraction) -> bool:
    return abs(value - right.value) <= right.step


def _close(right: Number, value: Fraction, tolerance: Fraction) -> bool:
    if _as_written(right, value):
        return True
    readings = (value, value / 100, value * 100)
    return right.value != 0 and any(abs(one - right.value) <= tolerance * abs(right.value) for one in readings)


def _read(found: re.Match[str]) -> Number | None:
    if len(found[0]) > _LONGEST:
        return None
    digits = found["digits"].replace(",", "")
    value = Fraction(digits)
    if found["exponent"]:
        value *= Fraction(10) ** int(found["exponent"][1:])
    decimals = len(digits.partition(".")[2])
    if found["below"]:
        below = int(found["below"].replace(",", ""))
        if below == 0:
            return None
        value /= below
        decimals = 6  # a fraction is exact; its decimal reading is compared to six digits
    if found["mixed"]:
        value += int(found["mixed"])
    if (found["sign"] or found["late"] or "+") in "-−–":
        value = -value
    percent = bool(found["percent"])
    return Number(value / 100 if percent else value, percent, decimals)


def _written(number: Number | None) -> str | None:
    """A number in normal form: a whole number, or a decimal of at most 12 digits; a percentage as its share."""
    if number is None:
        return None
    value = number.value
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.12g}"
