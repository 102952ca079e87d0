"""Short texts: exact match and token F1 after SQuAD's normalisation.

Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", section 6.1.
"""

from __future__ import annotations

import re
import string
from collections import Counter

from graft.types import Score

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, with single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(gold: str, reply: str) -> tuple[float, float, float]:
    """F1, precision and recall in [0, 1] of the words that two texts share, counted with multiplicity.

    Where one text has no words left after normalisation all three are 1 if the other has none either, else 0.
    """
    right, said = normalise(gold).split(), normalise(reply).split()
    if not right or not said:
        same = float(right == said)
        return same, same, same
    shared = sum((Counter(right) & Counter(said)).values())
    precision, recall = shared / len(said), shared / len(right)
    return 2 * shared / (len(said) + len(right)), precision, recall


def score_span(gold: str, reply: str) -> Score:
    """Score a reply against a short text.

    Returns:
        Strict when both are equal after normalisation; lenient when the gold words stand in the reply in one piece.
        Details: ``f1``, ``precision``, ``recall``.
    """
    right, said = normalise(gold), normalise(reply)
    f1, precision, recall = token_f1(gold, reply)
    lenient = right == said or (bool(right) and f" {right} " in f" {said} ")
    details = {"f1": f1, "precision": precision, "recall": recall}
    return Score(strict=right == said, lenient=lenient, parsed=bool(said), answer=said or None, details=details)
