"""Short texts: exact match and token F1 after SQuAD's normalisation, made safe for numbers and for any script.

SQuAD's own normalisation deletes ASCII punctuation, so that 1.5 becomes 15 and -5 becomes 5, and it takes a Chinese
sentence for one word. Here signs, decimals and percent signs of numbers stay, punctuation of every script goes, and
each character of a script without spaces is a token of its own. On English text without such numbers nothing differs.

Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", section 6.1; Lewis et al.
2020, "MLQA", section 5 (punctuation of all scripts, characters where words are not spaced).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from graft.tasks.answers.reading import UNSPACED, Mention, before_next_question, negated, plain, settle, statements
from graft.types import Score

MOST_AROUND = 30
"""Words that a reply may hold beside the right ones: a reply that copies a passage commits to no answer in it."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PERCENT = re.compile(r"(?<=\d)\s*(?:per\s?cent\b|%)")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_KEPT = re.compile(r"(?<=\d)[.,/:-](?=\d)|(?<![\w.])\.(?=\d)|(?<![\w)\]])-(?=[$€£]?\.?\d)|(?<=\d)%")
_UNSPACED = re.compile(rf"([{UNSPACED}])")


def normalise(text: str) -> str:
    """Lower case, without punctuation, English articles and thousands separators, with single spaces.

    Signs, decimal points and percent signs of numbers stay.
    """
    text = _PERCENT.sub("%", unicodedata.normalize("NFKC", plain(text)).lower())
    text = _GROUPED.sub(lambda found: found[0].replace(",", ""), text)
    kept = {found.start() for found in _KEPT.finditer(text)}
    text = "".join(char for place, char in enumerate(text) if place in kept or not _is_punctuation(char))
    return " ".join(_ARTICLES.sub(" ", text).split())


def tokens(text: str) -> list[str]:
    """The words of a text after `normalise`; each character of a script without spaces is one."""
    return _UNSPACED.sub(r" \1 ", normalise(text)).split()


def token_f1(gold: str, reply: str) -> tuple[float, float, float]:
    """F1, precision and recall in [0, 1] of the words that two texts share, counted with multiplicity.

    Where one text has no words left after normalisation all three are 1 if the other has none either, else 0.
    """
    right, said = tokens(gold), tokens(reply)
    if not right or not said:
        same = float(right == said)
        return same, same, same
    shared = sum((Counter(right) & Counter(said)).values())
    precision, recall = shared / len(said), shared / len(right)
    return 2 * shared / (len(said) + len(right)), precision, recall


def score_span(gold: str, reply: str) -> Score:
    """Score a reply against a short text.

    Returns:
        Strict when both are equal after normalisation; lenient when the gold words stand in one piece in what the reply
        commits to (its last correction), not negated, and with at most `MOST_AROUND` other words. Details: ``f1``,
        ``precision``, ``recall`` of the answer without thinking and without a next question.
    """
    settled = settle(reply)
    text = before_next_question(settled or "")
    right, said = tokens(gold), tokens(text)
    f1, precision, recall = token_f1(gold, text)
    strict = settled is not None and normalise(gold) == normalise(reply)
    details = {"f1": f1, "precision": precision, "recall": recall}
    lenient = strict or right == said or _holds(right, text)
    answer = normalise(text)
    return Score(strict=strict, lenient=lenient, parsed=bool(answer), answer=answer or None, details=details)


def _holds(right: list[str], text: str) -> bool:
    """Whether the last statement of a reply says these words."""
    said = [statement for statement, _ in statements(text) if tokens(statement)]
    if not right or not said or len(tokens(text)) > len(right) + MOST_AROUND:
        return False
    words, size = tokens(said[-1]), len(right)
    places = [place for place in range(len(words) - size + 1) if words[place : place + size] == right]
    return any(not _denied(words, place, size) for place in places)


def _denied(words: list[str], place: int, size: int) -> bool:
    """Whether the words at a place are negated or only one of two alternatives."""
    start, end = len(" ".join(words[:place])) + bool(place), len(" ".join(words[: place + size]))
    text = " ".join(words)
    alternative = "or" in (words[place - 1] if place else "", words[place + size] if place + size < len(words) else "")
    return alternative or negated(text, Mention(start, end, text[start:end]))


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char).startswith("P") or char in "$+<=>^`|~"
