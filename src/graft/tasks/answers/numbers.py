r"""Numeric answers: reading numbers as people write them, and comparing them.

A number is read exactly, as a fraction: ``1,234.50``, ``70 000``, ``1{,}234``, ``$-3``, ``−3`` (Unicode minus),
``minus 3``, ``.5``, ``3/4``, ``1 1/2``, ``\frac{3}{4}``, ``\frac12``, ``1.2e6``, ``1.2 × 10^6``, ``1.2 million``,
``14.2%``, and in words (*twelve*) where a statement has no digits. Ordinals and digits inside names (*3rd*, *CO2*) are
no numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from graft.tasks.answers.number_words import with_digits
from graft.tasks.answers.reading import (
    ANSWERED,
    FINAL,
    NAMED,
    TERMINAL,
    Mention,
    characters,
    committed,
    distinct,
    plain,
    settle,
)
from graft.tasks.answers.truths import parse_yes_no
from graft.types import Score

MARKER = "####"
"""What precedes the final number in GSM8K."""

TOLERANCE = Fraction(1, 100)
"""Relative error that a lenient numeric answer may have: the gold answers are rounded to two or three digits."""

_LONGEST = 40
"""A run of more characters than this is no number; it bounds the cost of reading one."""

_MOST = 1000
"""Numbers that are read at the end of a text, and a quarter of that at its beginning."""

_SCALES = {
    "hundred": 10**2, "dozen": 12, "thousand": 10**3, "k": 10**3,
    "million": 10**6, "mn": 10**6, "mln": 10**6, "m": 10**6,
    "billion": 10**9, "bn": 10**9, "b": 10**9, "trillion": 10**12, "tn": 10**12,
}  # fmt: skip
"""What a word or letter after a number multiplies it by."""

_DIGITS = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9])|"
    r"[0-9]{1,3}(?:'[0-9]{3})+(?![0-9])"
    r"|(?<![0-9] )[0-9]{1,3}(?: [0-9]{3})+(?![0-9/]| ?[/:])|[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9])|"
    r"0,[0-9]+(?![0-9,])|[0-9]+)"
)
_NUMBER = re.compile(
    rf"(?<![0-9A-Za-z_^±])(?<![0-9]\.)(?![0-9]*\s?\^)"
    rf"(?P<sign>(?<![0-9)\]%])(?<![0-9)\]%]\s)(?:[-+](?=[\d.$€£¥₹])|(?:(?<=^)|(?<=[=:(])|(?<=[=:(]\s)|"
    rf"(?<=\bis\s))[-+]\s|\b(?:minus|negative)\s+))?"
    rf"(?:(?:US|A|C|AU|CA)?(?P<currency>[$€£¥₹])\s?)?(?P<late>(?<=[$€£¥₹\s])-(?=[0-9.]))?"
    rf"(?:(?P<mixed>[0-9]{{1,9}})\s(?=[0-9]{{1,9}}\s?/\s?[0-9]))?"
    rf"(?P<digits>{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+)(?!(?:st|nd|rd|th)\b)"
    rf"(?P<exponent>[eE][-+]?[0-9]{{1,2}}(?![0-9A-Za-z])|\s?[x×*]\s?10\s?\^\s?\{{?[-+]?[0-9]{{1,2}}\}}?)?"
    rf"(?:\s?/\s?(?P<below>{_DIGITS})(?![0-9./]))?"
    rf"(?:(?P<letter>k|K|M|B|bn|mn)\b|[\s-]?(?P<scale>hundred|dozen|thousand|million|mln|mn|billion|bn|"
    rf"trillion|tn)\b)?"
    rf"(?P<half>\s+and\s+(?:a|one)\s+half\b)?(?P<percent>\s?(?:%|percent\b|per\s?cent\b|pct\b))?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{\s*(-?[0-9]{1,20})\s*\}|([0-9]))\s*(?:\{\s*([0-9]{1,20})\s*\}|([0-9]))")
_SPACING = re.compile(r"\\[,;:! ]|\\(?:quad|left|right)\b|(?<=\d)~(?=\d)")
_SUM = re.compile(
    r"(?<![\w.$(+*/×÷])[$(]{0,3}-?[0-9][0-9.,]{0,20}[)%]{0,3}(?:\s{0,2}(?:[-+*/x×÷]|times|plus|minus|"
    r"divided by|multiplied by)\s{0,2}[$(]{0,3}[0-9][0-9.,]{0,20}[)%]{0,3}){1,40}\s{0,2}=\s{0,2}"
)
_MARKED = re.compile(rf"{MARKER}\s*(?=[-+]?\s?[$€£¥₹]?\s?[-+]?\.?[0-9])")
_ASIDE = re.compile(
    r"(?<=[.!\n])\s*(?:that|this|which|it)(?:'s| is| equals| means)\b[^.\n]{0,80}?\b(?:times|plus|minus|sum|"
    r"product|more|"
    r"less|half|double|twice|divided|because|since)\b[^\n]{0,80}|\b(?:because|since|check(?:ing)?:|"
    r"verification:)[^\n]{0,120}",
    re.IGNORECASE,
)
_YEAR = re.compile(
    r"\b(?:in|since|during|by|of|for|fy)\s+(?:(?:fiscal|the)\s+)?(?:year\s+)?(?:19|20)\d\d\b", re.IGNORECASE
)
_BRACKETS = re.compile(r"(?<=[\w.,%])\s?\([^()\n]{1,200}\)")
_COUNTED = re.compile(r"(?<=\d)()\s+[a-z]+\s+(and|or)\s+(?=[$€£]?\d)", re.IGNORECASE)
_RANGE = re.compile(r"(?<=\d)\s?(?:-|\bto\b|\bthrough\b)\s?(?=[$€£]?\d)", re.IGNORECASE)
_UNCOMMITTED = re.compile(
    r"\b(?:at least|at most|more than|less than|fewer than|over|under|up to)\s+[$€£]?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a text.

    Attributes:
        value: what it says, a percentage divided by 100.
        percent: it was written with a percent sign.
        step: half a unit of the last decimal that was written, in units of `value`; 0 for a number without decimals.
    """

    value: Fraction
    percent: bool = False
    step: Fraction = field(default=Fraction(0), compare=False)

    @property
    def shown(self) -> Fraction:
        """The number without regard to a percent sign."""
        return self.value * 100 if self.percent else self.value


def linear(text: str) -> str:
    r"""A text in plain characters, with the LaTeX of numbers on one line: ``1{,}234``, ``\frac12``, ``\$5``."""
    text = characters(text).replace("{,}", ",").replace("\\%", "%").replace("\\$", "$")
    text = _SPACING.sub(" ", text)
    text = re.sub(r"(?<![\d^*×x]\s)(?<![\d^*×x])\b10\s?\^\s?\{?(-?[0-9]{1,2})\}?", r"1e\1", text)
    text = re.sub(r"\\(?:times|cdot)\b", "*", re.sub(r"\\div\b", "/", text))
    return _FRACTION.sub(lambda found: f" {found[1] or found[2]}/{found[3] or found[4]}", text)


def without_sums(text: str) -> str:
    """The text with each calculation as its result: ``1 + 1 + 1 = 3`` is 3."""
    return _SUM.sub("= ", _SUM.sub("= ", text))


BEYOND = Number(Fraction(10**99))
"""Stands for a run of digits that is too long to be read, so that nothing beside it is taken for the only number."""


def numbers(text: str) -> list[Number]:
    """All numbers of a text, in order; runs that are too long to be numbers are left out."""
    return [mention.value for mention in mentions(linear(text)) if mention.value != BEYOND]


def mentions(text: str) -> list[Mention[Number]]:
    """The numbers of a text with their places; a run that is too long to be a number is `BEYOND`."""
    matches = list(_NUMBER.finditer(text))
    matches = matches[: _MOST // 4] + matches[_MOST // 4 :][-_MOST:]
    found = ((match, _read(match)) for match in matches)
    return [Mention(match.start(), match.end(), number) for match, number in found if number is not None]


def only_number(text: str) -> Number | None:
    """The number that is all of a text but for white space and a full stop; ``None`` when anything else is there."""
    found = _NUMBER.fullmatch(linear(text).strip().rstrip("."))
    number = _read(found) if found else None
    return None if number == BEYOND else number


def final_number(text: str) -> Number | None:
    """The number that a right solution ends with: after the first ``####`` if there is one, else its last number."""
    read = read_number(plain(text))
    return read[0] if len(read) == 1 and read[0] != BEYOND else None


def committed_number(reply: str) -> Number | None:
    """The number that a reply commits to (`read_number`)."""
    found = committed(reply, read_number)
    return None if found == BEYOND else found


def read_number(statement: str) -> list[Number]:
    """The distinct numbers that one statement gives as its answer; more than one when it leaves the choice.

    The number after the first ``####`` counts first, then one that is announced (*the answer is*), then the last.

    Source: the official scorer of GSM8K (``grade-school-math``, ``extract_answer``) searches the first ``#### n``.
    """
    text = without_sums(linear(statement))
    if marked := _MARKED.search(text):
        line = text[marked.end() :].split("\n", 1)[0].split(MARKER, 1)[0]
        return [mention.value for mention in mentions(line)[:1]]
    for aside in (_ASIDE, _YEAR, _BRACKETS):
        shorter = aside.sub(" ", text)
        text = shorter if mentions(shorter) else text
    text = _COUNTED.sub(r"\1 \2 ", _RANGE.sub(" or ", text))
    if not (found := mentions(text)):
        text = with_digits(text)
        found = mentions(text)
    live = [mention for mention in found if not _UNCOMMITTED.search(text[max(0, mention.start - 30) : mention.start])]
    return distinct(text, live, (FINAL, ANSWERED, NAMED), last=True)


def score_final_number(gold: str, reply: str) -> Score:
    """Score worked solutions that end with ``#### n``, as in GSM8K; a percent sign after the number changes nothing.

    Args:
        gold: the right solution, or its number alone.
        reply: what the model wrote.

    Returns:
        Strict when the last line of the reply is ``#### n`` with the right number; lenient when the number that the
        reply commits to is right (`read_number`).

    Source: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", section 2 (final answers only).
    """
    right, found = final_number(gold), committed_number(reply)
    lines = reply.rstrip().rsplit("\n", 1)[-1].split(MARKER)
    last = only_number(lines[1]) if len(lines) == 2 and not lines[0].strip() else None
    same = right is not None and found is not None and found.shown == right.shown
    return Score(strict=same and last == found, lenient=same, parsed=found is not None, answer=_written(found))


def score_number(
    gold: str, reply: str, *, tolerance: Fraction = TOLERANCE, exact_integers: bool = True, rounded: bool = False
) -> Score:
    """Score an answer that is a number, or *yes* or *no*, as in ConvFinQA and FinanceMath.

    A right answer that is written as a whole number has to be met exactly. Any other is equal as written within half a
    unit of its last digit: 1.424 and 142.4% are the same.

    Args:
        gold: the right answer.
        reply: what the model wrote; its answer is the number that it commits to (`read_number`).
        tolerance: relative error that is forgiven leniently where the right answer is no whole number.
        exact_integers: hold whole numbers to be exact; without it the tolerance is theirs too.
        rounded: right answers are rounded ones, so whole numbers and percentages too are met within half a unit.

    Returns:
        Strict when the reply is nothing but a number equal to gold as written; lenient when its number is right within
        the tolerance, or when one of the two has a percent sign and the other is the same number without it.

    Source: Chen et al. 2022, "ConvFinQA", section 5.1 (execution accuracy); the tolerance is this project's choice.
    """
    right = only_number(gold) or final_number(gold)
    if right is None:
        return _score_word(gold, reply)
    if rounded and right.step == 0:
        right = replace(right, step=Fraction(1, 200 if right.percent else 2))
    found, alone = committed_number(reply), only_number(reply)
    if exact_integers and right.step == 0 and not right.percent:
        tolerance = Fraction(0)
    strict = alone is not None and abs(alone.value - right.value) <= right.step
    lenient = strict or (found is not None and _close(right, found, tolerance))
    return Score(strict=strict, lenient=lenient, parsed=strict or found is not None, answer=_written(found or alone))


def number_of(text: str) -> float | None:
    """The number that is all of a text; ``None`` when anything else is there."""
    found = only_number(text)
    return None if found is None else float(found.value)


def score_value(gold: str, reply: str, tolerance: float | None = None) -> Score:
    """Score a number by how far it is from the right one.

    Args:
        gold: the right number.
        reply: what the model wrote; its answer is the number that it commits to (`read_number`).
        tolerance: largest difference that is right, at least 0; half a unit of the last decimal of gold when ``None``.

    Returns:
        Lenient when the number is within the tolerance, strict when the reply is nothing else. Details:
        ``right_number``, and where a number was found ``number``, ``absolute_error`` and ``squared_error``.
    """
    right = only_number(gold)
    assert right is not None, "whoever makes the examples checks it"
    found, alone = committed_number(reply), only_number(reply)
    if found is None or found == BEYOND:
        return Score(False, False, False, details={"right_number": float(right.value)})
    same_form = right.percent == found.percent
    wanted, said = (right.value, found.value) if same_form else (right.shown, found.shown)
    error = abs(said - wanted)
    near = error <= (right.step if tolerance is None else Fraction(str(tolerance)))
    details = {
        "right_number": float(wanted),
        "number": float(said),
        "absolute_error": float(error),
        "squared_error": float(error**2),
    }
    return Score(near and alone is not None, near, True, _written(found), details)


def _score_word(gold: str, reply: str) -> Score:
    """Score *yes* and *no* as such, and any other text literally, but for case and what stands around it."""
    right, said = plain(gold).strip(TERMINAL).casefold(), (settle(reply) or "").strip(TERMINAL).casefold()
    if right not in ("yes", "no"):
        return Score(strict=said == right, lenient=said == right, parsed=bool(said), answer=said or None)
    answer = parse_yes_no(reply)
    return Score(strict=said == right, lenient=answer == right, parsed=answer is not None, answer=answer)


def _close(right: Number, said: Number, tolerance: Fraction) -> bool:
    margin = max(right.step, tolerance * abs(right.value))
    if abs(said.value - right.value) <= margin:
        return True
    if right.percent == said.percent:
        return False
    return abs(said.shown - right.shown) <= (margin * 100 if right.percent else margin)


def _read(found: re.Match[str]) -> Number | None:
    if len(found[0]) > _LONGEST:
        return BEYOND
    digits = re.sub(r"[, ']", "", re.sub("^0,(?=[0-9])", "0.", found["digits"]))
    digits = digits.replace(".", "") if digits.count(".") > 1 else digits
    scale = (
        Fraction(_SCALES[(found["scale"] or found["letter"] or "k").lower()])
        if found["scale"] or found["letter"]
        else 1
    )
    if found["exponent"]:
        scale *= Fraction(10) ** int(re.sub(r"^(?:\s?[x×*]\s?10\s?\^\s?\{?|[eE])|\}", "", found["exponent"]))
    value, decimals = Fraction(digits), len(digits.partition(".")[2])
    if found["below"]:
        if (below := int(re.sub(r"[, '.]", "", found["below"]))) == 0:
            return None
        value, decimals = value / below, 6  # a fraction is exact; its decimal reading is compared to six digits
    if found["half"]:
        value, decimals = value + Fraction(1, 2), max(decimals, 1)
    if found["mixed"]:
        value += int(found["mixed"])
    if (found["sign"] or "").strip().lower() in ("-", "minus", "negative") or found["late"]:
        value = -value
    percent = bool(found["percent"])
    value, step = value * scale, Fraction(1, 2 * 10**decimals) * scale if decimals else Fraction(0)
    return Number(value / 100, True, step / 100) if percent else Number(value, False, step)


def _written(number: Number | None) -> str | None:
    """A number in normal form: a whole number, or a decimal of at most 12 digits; a percentage as its share."""
    if number is None:
        return None
    value = number.value
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.12g}"


__all__: Sequence[str] = (
    "BEYOND", "MARKER", "TOLERANCE", "Number", "committed_number", "final_number",
    "linear", "mentions", "number_of", "numbers", "only_number", "read_number",
    "score_final_number", "score_number", "score_value", "without_sums",
)  # fmt: skip
