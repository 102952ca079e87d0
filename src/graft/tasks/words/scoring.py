"""Numbers about answers: error rates and trivial baselines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from graft.types import Example


def edit_distance(left: str, right: str) -> int:
    """Levenshtein distance: insertions, deletions and substitutions of single letters."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def character_error_rate(answer: str, gold: str) -> float:
    """Edit distance over the length of the gold answer, ≥ 0; may exceed 1; NaN when the gold answer is empty."""
    return edit_distance(answer, gold) / len(gold) if gold else math.nan


def first_error(answer: str, gold: str) -> float:
    """0-based index of the first wrong, missing or surplus letter; NaN when the answer is right."""
    if answer == gold:
        return math.nan
    same = (index for index, (a, b) in enumerate(zip(answer, gold, strict=False)) if a != b)
    return float(next(same, min(len(answer), len(gold))))


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; NaN without values."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else math.nan


def absolute_error(answer: str | None, gold: str) -> float:
    """Distance between two numbers in digits; NaN without an answer."""
    return math.nan if answer is None else float(abs(int(answer) - int(gold)))


def commonest_letter(word: str) -> str:
    """The letter that occurs most often in a word, the first of several."""
    return Counter(word).most_common(1)[0][0]


def letter_and_length(example: Example) -> dict[str, str | float]:
    """The letter that is asked for and the length of the word, both as categories."""
    return {"letter": str(example.strata["letter"]), "length": str(len(example.cluster))}
