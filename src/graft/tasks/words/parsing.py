"""Find the answer in a reply, whatever stands around it.

Each parser returns the answer in normal form, or None when there is none or when there are two that differ: an
ambiguous reply is not given the benefit of the doubt. The evidence is ranked, and the first rank that has any decides:
the whole reply, then a phrase that announces the answer (``the answer is``, ``is``, ``:``), then what merely occurs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}")
_HYPHENS = re.compile(r"[\u00ad\u2010-\u2015\u2212\u2043\ufe58\ufe63\uff0d]")
_QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛′`´", "'"), **dict.fromkeys("“”„‟″«»", '"')})
_INVISIBLE = re.compile(r"[\u200b-\u200f\u2060\ufeff]")
_WRAPPING = " \t\n\"'.,;:!()[]{}<>"

_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        (
            *(
                "zero",
                "one",
                "two",
                "three",
                "four",
                "five",
                "six",
                "seven",
                "eight",
                "nine",
                "ten",
                "eleven",
                "twelve",
            ),
            *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
        )
    )
} | {"none": "0", "never": "0", "nothing": "0", "once": "1", "twice": "2", "thrice": "3"}

_SEPARATORS = (
    r"\s*-+\s*",
    r"(?:\s*,\s*(?:and\s+)?|\s+and\s+)",
    r"\s*\n\s*(?:[-•]\s*)?",
    r"\s*(?:[./|·•>→+]|->)\s*",
    r"[ \t]+",
)
_RUNS = tuple(re.compile(rf"(?<!\w)(?<!\w')[a-z](?:{separator}[a-z](?!\w))+(?!\w)") for separator in _SEPARATORS)

_LETTER = r"(?<!\w)(?<!\w')['\"(\[]*([a-z])(?!\w|'\w)"
_ANNOUNCED = r"(?:is|'s|was|be|are|=|:|->|→)\s*(?:the\s+)?(?:letter\s+)?"
_NO_ARTICLE = r"(?:in|of|at|because|and|or|which|as|since|for|the|when|is)\b"
_ARTICLE = re.compile(rf"(?<![\w'\"])(?:a (?=[a-z]{{2,}})(?!{_NO_ARTICLE})|i(?:'[a-z]+\b| (?=[a-z]{{2,}})))")
_EITHER_LETTER = re.compile(r"(?<!\w)['\"]?([a-z])['\"]?\s*(?:\bor\b|\band\b|/|&)\s*['\"]?([a-z])(?!\w)")

_N = rf"(?<![\w.,])(\d+|{'|'.join(sorted(_NUMBER_WORDS, key=len, reverse=True))})(?![\w]|[.,]\d)"
_ABSENT = re.compile(
    r"\b(?:no|not any|any) (?:letters?\b|occurrences?\b|instances?\b|times?\b|such\b|'?[a-z]'?(?:'?s)?(?!\w))"
    r"|(?:\bnot|n't) (?:appear|occur|contain|have|include|in\b|used|present|found|there)"
)
_EITHER_NUMBER = re.compile(rf"{_N}\s*(?:\bor\b|\bto\b|-)\s*{_N}")
_PLACES = re.compile(r"\b(?:positions?|places?|index|indices|numbers?)\s+\d+(?:\s*(?:,|and|&|, and)\s*\d+)*")
_OF_TOTAL = re.compile(rf"{_N}\s*(?:(?:out\s+)?of\s+(?:the\s+|its\s+|all\s+)*|/\s*)\d+")
_WHOLE_LENGTH = re.compile(r"(?<!\w)\d+[ -]letters?\b(?!\s*['\"]?[a-z](?!\w))")


def clean(reply: str) -> str | None:
    r"""Bring a reply into the normal form that the parsers read.

    Closed thinking is left out, an answer in ``\boxed{}`` stands for the whole reply, Unicode forms of letters,
    digits, hyphens and quotes become plain ones, Markdown emphasis goes, letters are lowered.

    Returns:
        The text, or None when the reply ends inside its thinking.
    """
    text = _THOUGHTS.sub(" ", reply)
    text = text.rsplit("</think>", 1)[-1]  # the template may have opened the thinking
    if "<think>" in text:
        return None
    if boxed := _BOXED.findall(text):
        text = boxed[-1]
    text = unicodedata.normalize("NFKC", _HYPHENS.sub("-", text.replace("`", "")))
    text = _HYPHENS.sub("-", _INVISIBLE.sub("", text)).translate(_QUOTES)
    return re.sub(r"[*_#~]", "", text).lower().strip()


def parse_letters(reply: str) -> str | None:
    """The letters of a spelled word, joined: single letters with the same separator between all of them."""
    text = clean(reply)
    if text is None:
        return None
    text = re.sub(r"^\s*\d+\s*[.):]\s*", "", text, flags=re.MULTILINE)
    text = re.sub(r"['\"]([a-z])['\"]", r"\1", text)
    if re.fullmatch(r"[a-z]", text.strip(_WRAPPING)):
        return text.strip(_WRAPPING)
    return _only(re.sub(r"[^a-z]", "", re.sub(r"\band\b", "", run)) for run in _spelled_runs(text))


def parse_letter(reply: str, ordinals: Sequence[str] = ()) -> str | None:
    """One letter.

    Args:
        reply: what the model wrote.
        ordinals: names of the asked place (``3rd``, ``third``); a sentence that says what the letter at that place is
            outranks sentences about other places.
    """
    text = clean(reply)
    if text is None:
        return None
    if re.fullmatch(r"[a-z]", text.strip(_WRAPPING + "-")):
        return text.strip(_WRAPPING + "-")
    text = re.sub(r"['\"]([a-z])['\"]\s*[,-]\s*(?=['\"][a-z]['\"])", r"\1, ", text)
    for run in sorted(_spelled_runs(text), key=len, reverse=True):
        text = text.replace(run, " … ")
    text = _ARTICLE.sub(" … ", text)
    if any(first != second for first, second in _EITHER_LETTER.findall(text)):
        return None
    place = "|".join(re.escape(name) for name in ordinals)
    ranks = [rf"\banswer\b\s*(?:is|:|=)\s*(?:the\s+)?(?:letter\s+)?{_LETTER}"]
    if ordinals:
        ranks.append(rf"\b(?:{place})\b(?:(?!\b\d*(?:st|nd|rd|th)\b)[^.,;\n])*?{_ANNOUNCED}{_LETTER}")
    return _first_rank([*ranks, rf"(?:\b|(?=[=:→-])){_ANNOUNCED}{_LETTER}", r"['\"]([a-z])['\"]", _LETTER], text)


def parse_number(reply: str, *, ignore_length: bool = False) -> str | None:
    """One whole number in digits, written in digits or words.

    Args:
        reply: what the model wrote.
        ignore_length: leave "10 letters" out when another number is there, as in a count of one letter.
    """
    text = clean(reply)
    if text is None:
        return None
    bare = text.strip(_WRAPPING)
    if re.fullmatch(r"\d+", bare) or bare in _NUMBER_WORDS:
        return _number(bare)
    text = _OF_TOTAL.sub(r"\1 ", _PLACES.sub(" ", text))
    if ignore_length and re.search(_N, shorter := _WHOLE_LENGTH.sub(" ", text)):
        text = shorter
    if any(_number(first) != _number(second) for first, second in _EITHER_NUMBER.findall(text)):
        return None
    filler = r"(?:\s*(?:exactly|only|just|a|total|of|in|used|found|counted|present))*\s*"
    before = rf"(?:\b(?:are|is|occurs?|appears?|contains?|has|have|total|used|count)\b\s*:?|[=:]){filler}{_N}"
    after = rf"{_N}\s+(?:times?|letters?|occurrences?|instances?|'?[a-z]'?(?:'?s)?(?!\w))"
    found = _first_rank(
        [rf"\banswer\b\s*(?:is|:|=)\s*{_N}", rf"{before}|{after}", r"(?<![\w.,])(\d+)(?![\w]|[.,]\d)", _N], text
    )
    if found is None and not re.search(_N, text) and _ABSENT.search(text):
        return "0"
    return found


def parse_yes_no(reply: str) -> str | None:
    """``yes`` or ``no``; a leading one decides, else the only one, else a plain statement."""
    text = clean(reply)
    if text is None:
        return None
    text = re.sub(r"\byes or no\b\W*", "", text)
    words = re.findall(r"\b(yes|yeah|yep|true|no|nope|false)\b", text)
    answers = ["yes" if word in ("yes", "yeah", "yep", "true") else "no" for word in words]
    if (
        answers
        and re.match(rf"\W*{words[0]}\b(?!\s+(?:or|and|letter))", text)
        and not re.search(r"\b(?:yes|no)\s+(?:and|or)\s+(?:yes|no)\b", text)
    ):
        return answers[0]
    if answers:
        return _only(answers)
    if re.search(r"\bnot\b|n't\b", text):
        return "no" if _ABSENT.search(text) else None
    return (
        "yes" if re.search(r"\b(?:contains?|appears?|occurs?|includes?|has the letter|is in|present)\b", text) else None
    )


def parse_word(reply: str) -> str | None:
    """One word of two letters or more; spelled-out letters beside it are left out."""
    text = clean(reply)
    if text is None:
        return None
    for run in sorted(_spelled_runs(text), key=len, reverse=True):
        text = text.replace(run, " ")
    bare = text.strip(_WRAPPING + "=->")
    if re.fullmatch(r"[a-z]+", bare):
        return bare
    word = r"['\"]?\s*([a-z]{2,})\b['\"]?\s*(?:[.!,;(\n]|$)"
    return _first_rank(
        [
            rf"(?:\b(?:answer|word|it|that|this|is|spells?)\b(?:\s+is)?\s*:?|[=:]|->)\s*(?:the word\s*)?{word}",
            r"['\"]([a-z]{2,})['\"]",
        ],
        text,
    )


def _spelled_runs(text: str) -> list[str]:
    """Stretches of two or more single letters with one kind of separator, the longest where they overlap."""
    found = sorted(
        (match for pattern in _RUNS for match in pattern.finditer(text)), key=lambda match: match.start() - match.end()
    )
    kept: list[re.Match[str]] = []
    for match in found:
        if all(match.end() <= other.start() or match.start() >= other.end() for other in kept):
            kept.append(match)
    return [match.group() for match in sorted(kept, key=lambda match: match.start())]


def _first_rank(patterns: Iterable[str], text: str) -> str | None:
    """The one answer of the first pattern that matches anything; None when its matches differ."""
    for pattern in patterns:
        answers = [_number(next(filter(None, match.groups()))) for match in re.finditer(pattern, text)]
        if answers:
            return _only(answers)
    return None


def _only(answers: Iterable[str]) -> str | None:
    distinct = set(answers)
    return distinct.pop() if len(distinct) == 1 else None


def _number(text: str) -> str:
    """A number in digits without leading zeros; anything else unchanged."""
    text = _NUMBER_WORDS.get(text, text)
    return str(int(text)) if text.isdecimal() else text
