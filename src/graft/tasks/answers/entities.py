"""Named entities: lists of "entity, type", and their F1."""

from __future__ import annotations

import math
import re

from graft.types import Score

TYPES = {
    "PER": "PER",
    "PERSON": "PER",
    "ORG": "ORG",
    "ORGANIZATION": "ORG",
    "ORGANISATION": "ORG",
    "LOC": "LOC",
    "LOCATION": "LOC",
    "MISC": "MISC",
    "MISCELLANEOUS": "MISC",
}
"""Types as they are written, each with its short name."""

_TYPE = re.compile(
    rf"[,:(|–-]\s{{0,3}}[\"'(]{{0,3}}({'|'.join(sorted(TYPES, key=len, reverse=True))})\b[\"')\]]{{0,3}}", re.IGNORECASE
)
_NONE = ("none", "no entities")
_EDGES = " \t\r\n\"'`,;.|[](){}*•-–"


def parse_entities(text: str) -> frozenset[tuple[str, str]]:
    """The pairs of entity and type in a text.

    Pairs stand on lines of their own or one after the other, separated by semicolons or commas; an entity may hold
    commas (``Deluxe, Inc., ORG``). Entities are compared in lower case with single spaces.

    Returns:
        Pairs ``(entity, type)``, the type one of PER, ORG, LOC and MISC.
    """
    pairs, _ = _parse(text)
    return pairs


def score_entities(gold: str, reply: str) -> Score:
    """Score a list of entities.

    Returns:
        Strict when the sets are equal and nothing else is written; lenient when the sets are equal. Details:
        ``true_positives``, ``predicted`` and ``expected``, whose sums give F1 over a data set, and the item's own
        ``f1``, ``precision`` and ``recall``, NaN where they divide by zero.

    Source: Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task", section 2.3.
    """
    right, _ = _parse(gold)
    said, rest = _parse(reply)
    shared = len(right & said)
    precision = shared / len(said) if said else math.nan
    recall = shared / len(right) if right else math.nan
    f1 = 2 * shared / (len(right) + len(said)) if right or said else math.nan
    return Score(
        strict=right == said and not rest,
        lenient=right == said,
        parsed=bool(said) or not rest,
        answer="; ".join(f"{entity}, {kind}" for entity, kind in sorted(said)) or None,
        details={
            "f1": f1,
            "precision": precision,
            "recall": recall,
            "true_positives": float(shared),
            "predicted": float(len(said)),
            "expected": float(len(right)),
        },
    )


def _parse(text: str) -> tuple[frozenset[tuple[str, str]], bool]:
    """The pairs of a text, and whether anything stands beside them."""
    pairs: set[tuple[str, str]] = set()
    rest, start = False, 0
    for found in _TYPE.finditer(text):
        before, _, entity = text[start : found.start()].replace(";", "\n").rpartition("\n")
        name = " ".join(entity.strip(_EDGES).casefold().split())
        rest = rest or bool(before.strip(_EDGES)) or not name
        if name:
            pairs.add((name, TYPES[found[1].upper()]))
        start = found.end()
    tail = text[start:].strip(_EDGES)
    return frozenset(pairs), rest or (bool(tail) and (bool(pairs) or tail.casefold() not in _NONE))
