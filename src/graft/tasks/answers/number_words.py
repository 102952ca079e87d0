"""Numbers written in words, and when *one*, *once* or *none* says a number at all."""

from __future__ import annotations

import re
from functools import partial

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_UNITS, _TEENS = "|".join(_SMALL[1:10]), "|".join((_SMALL[0], *_SMALL[10:]))
_BELOW_100 = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-](?:{_UNITS})\b)?|{_TEENS}|{_UNITS})\b"
_BELOW_1000 = (
    rf"(?:(?:{_BELOW_100}|a)\s+hundred\b(?:\s+(?:and\s+)?{_BELOW_100})?|{_BELOW_100}|"
    rf"a(?=\s+(?:thousand|million|billion)\b))"
)
_RUN = re.compile(
    rf"(?<![\w-]){_BELOW_1000}(?:\s+(?:thousand|million|billion)\b(?:\s+(?:and\s+)?{_BELOW_1000})?)*(?!-\w)",
    re.IGNORECASE,
)
_SAYS = (
    r"(?:is|are|was|were|has|have|had|contains?|appears?|occurs?|exactly|only|just|total(?: of)?|"
    r"count(?: of)?|there's|uses?|equals|=|:|answer)"
)
_ONE = re.compile(
    rf"(?:(?:^|[.!\n])\s*|\b{_SAYS}\s*:?\s*)(?:exactly |only |just )?['\"(]*one['\")]*(?=\s*(?:[.!,;\n)(]|$)|"
    rf"\s+(?:in|times?|letters?|occurrences?|instances?|"
    rf"single|'?[a-z]'?(?:'?s)?(?!\w)))|\b(?:exactly|only|just)\s+one\b|\bone\s+(?=times?\b|occurrences?\b|"
    rf"instances?\b|'?[b-z]'?(?:'?s)?(?!['\w])|letter '?[a-z]'?(?!\w))",
    re.IGNORECASE,
)
_NO_ONE = re.compile(r"\b(?:no|any|some|every|each|which|this|that|the|another|other)\s+$", re.IGNORECASE)
_PRONOUN = re.compile(
    r"\s+(?:by one|at a time|letter at a time|can|could|must|should|would|who|that|which|thing|way|moment|more|"
    r"another)\b",
    re.IGNORECASE,
)
_ADVERBS = (
    (re.compile(rf"(?:^\W*|[.!\n]\s*|\b{_SAYS}\b[^.\n]{{0,60}}?\s|\bin\s+\S{{1,30}}\s)(?:exactly |only |"
                rf"just )?\bonce\b(?!\s+(?:upon|you|we|i|it|again|more|the)\b)", re.I), "once", "1"),
    (re.compile(r"\btwice\b(?!\s+as\b)", re.I), "twice", "2"),
    (re.compile(r"\bthrice\b", re.I), "thrice", "3"),
    (re.compile(r"(?:^\W*|\b(?:is|are|was|were|has|have|contains?|answer|=|:)\s*:?\s*)\bnone\b|"
                r"\bnone of (?:the|its|these|them|those)\b", re.I), "none", "0"),
    (re.compile(r"^\W*nothing\b(?=\W*$)", re.I), "nothing", "0"),
    (re.compile(r"^\W*never\b(?=\W*$)|\bnever (?:appears?|occurs?|used|is used|shows? up|comes? up|found|"
                r"there)\b", re.I), "never", "0"),
    (re.compile(r"(?<!\bnot )\ba single\b(?!\s+(?:word|line|reply|answer|token|sentence)\b)", re.I), "a single", "1"),
)  # fmt: skip


def with_digits(text: str, *, adverbs: bool = False) -> str:
    """The text with its number words as digits; words that only look like numbers ("no one", "once you") stay.

    Args:
        text: plain text.
        adverbs: read *once*, *twice*, *none* and their like too, as answers to "how many times".
    """
    text = _ONE.sub(_one, text)
    text = _RUN.sub(_run, text)
    for pattern, word, digit in _ADVERBS if adverbs else ():
        text = pattern.sub(partial(_digit, word, digit), text)
    return text


def _digit(word: str, digit: str, found: re.Match[str]) -> str:
    return re.sub(word, digit, found[0], flags=re.IGNORECASE)


def _one(found: re.Match[str]) -> str:
    text = found.string
    if _PRONOUN.match(text, found.end()) or _NO_ONE.search(text[: found.start() + found[0].lower().index("one")]):
        return found[0]
    return re.sub(r"one(?!\w)", "1", found[0], count=1, flags=re.IGNORECASE)


def _run(found: re.Match[str]) -> str:
    words = [word for word in re.findall(r"[a-z]+", found[0].lower()) if word != "and"]
    if words == ["one"]:
        return found[0]
    total = current = 0
    for word in words:
        if word == "hundred":
            current = max(current, 1) * 100
        elif word in _SCALES:
            total, current = total + max(current, 1) * _SCALES[word], 0
        else:
            current += _VALUES.get(word, 1)  # "a hundred"
    return str(total + current)
