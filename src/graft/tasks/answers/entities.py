"""Named entities: lists of "entity, type", and their F1."""

from __future__ import annotations

import math
import re

from graft.tasks.answers.reading import before_next_question, plain, settle, statements
from graft.types import Score

TYPES = {
    "PER": "PER", "PERS": "PER", "PERSON": "PER", "PERSONS": "PER", "PEOPLE": "PER",
    "ORG": "ORG", "ORGS": "ORG", "ORGANIZATION": "ORG", "ORGANISATION": "ORG",
    "ORGANIZATIONS": "ORG", "ORGANISATIONS": "ORG",
    "LOC": "LOC", "LOCS": "LOC", "LOCATION": "LOC", "LOCATIONS": "LOC",
    "MISC": "MISC", "MISCELLANEOUS": "MISC",
}  # fmt: skip
"""Types as they are written, each with its short name."""

_NAMES = "|".join(sorted(TYPES, key=len, reverse=True))
_TYPE = re.compile(
    rf"(?:[,:(|/=]|-{{1,2}}>?|\bis an?\b|\bas an?\b)\s{{0,3}}[\"'(\[]{{0,3}}({_NAMES})\b[\"')\]]{{0,3}}"
    rf"(\s{{0,2}}(?:/|\bor\b)\s{{0,2}}(?:{_NAMES})\b)?",
    re.IGNORECASE,
)
_TYPE_FIRST = re.compile(rf"^\W{{0,4}}({_NAMES})\b\W{{0,2}}(?::|\s-{{1,2}}>?\s)\s*(.+)$", re.IGNORECASE)
_OBJECT = re.compile(r"\{[^{}]{1,400}\}")
_STRING = re.compile(r"[\"']([^\"'{}]{1,200})[\"']\s*(?=[,}\]]|$)")
_RULER = re.compile(r"^[\s|:=-]*$")
_MARKER = re.compile(r"^\s*(?:\(?\d{1,3}[.)]|[-+])\s+")
_LEAD_IN = re.compile(r"^[^:\n]{0,80}\b(?:entit(?:y|ies)|answer)\b[^:\n]{0,80}:\s*", re.IGNORECASE)
_HEADER = re.compile(r"^\W*(?:entity|name|text)\b.{0,20}\b(?:type|label|class|tag)\W*$", re.IGNORECASE)
_COMPANY = re.compile(
    r"\s*,\s*(?=(?:Inc|Ltd|LLC|L\.L\.C|Corp|Co|N\.A|L\.P|LP|PLC|S\.A|GmbH|AG|NV|N\.V)\b)", re.IGNORECASE
)
_NONE = re.compile(
    r"(?:(?:there (?:are|is|were)|i (?:see|find|found)|it has|contains?|the text (?:has|"
    r"contains))?\s*no (?:named )?entit(?:y|ies)\b.{0,60}|none(?: found| here)?|n/?a|nothing|empty)",
    re.IGNORECASE,
)
_EDGES = " \t\r\n\"'`,;.|[](){}*•-–:"


def parse_entities(text: str) -> frozenset[tuple[str, str]]:
    """The pairs of entity and type in a text.

    Pairs stand on lines of their own or one after the other, separated by semicolons or commas; an entity may hold
    commas (``Deluxe, Inc., ORG``). Entities are compared in lower case with single spaces.

    Returns:
        Pairs ``(entity, type)``, the type one of PER, ORG, LOC and MISC.
    """
    pairs, _ = _parse(plain(text))
    return pairs


def score_entities(gold: str, reply: str) -> Score:
    """Score a list of entities.

    Returns:
        Strict when the sets are equal and nothing else is written; lenient when the sets are equal. Details:
        ``true_positives``, ``predicted`` and ``expected``, whose sums give F1 over a data set, and the item's own
        ``f1``, ``precision`` and ``recall``, NaN where they divide by zero.

    Source: Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task", section 2.3.
    """
    right, _ = _parse(plain(gold))
    text = settle(reply)
    said, rest = _committed(text) if text is not None else (frozenset(), True)
    shared = len(right & said)
    precision = shared / len(said) if said else math.nan
    recall = shared / len(right) if right else math.nan
    f1 = 2 * shared / (len(right) + len(said)) if right or said else math.nan
    return Score(
        strict=right == said and not rest,
        lenient=right == said and (bool(said) or not rest),
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


def _committed(text: str) -> tuple[frozenset[tuple[str, str]], bool]:
    """The pairs of the last statement that has any, and whether anything stands beside them."""
    parts = [_parse(statement) for statement, _ in statements(before_next_question(text))]
    found = next((place for place in reversed(range(len(parts))) if parts[place][0]), len(parts) - 1)
    return parts[found][0], parts[found][1] or len(parts) > 1 or before_next_question(text) != text


def _parse(text: str) -> tuple[frozenset[tuple[str, str]], bool]:
    """The pairs of a text, and whether anything stands beside them."""
    pairs: set[tuple[str, str]] = set()
    rest = False
    for line in _OBJECT.sub(_object, text).replace(";", "\n").split("\n"):
        if _RULER.match(line) or _HEADER.match(line):
            continue
        line = _LEAD_IN.sub("", _MARKER.sub("", line))
        rest = _read_line(line, pairs) or rest
    tail = text.strip(_EDGES)
    none = not pairs and _NONE.fullmatch(tail) is not None
    return frozenset(pairs), rest and not none


def _read_line(line: str, pairs: set[tuple[str, str]]) -> bool:
    """Add the pairs of one line; true when anything else stands there."""
    found = list(_TYPE.finditer(line))
    if not found and (first := _TYPE_FIRST.match(line)):
        names = _COMPANY.sub("\0", first[2]).split(",")
        named = [_name(name.replace("\0", ", ")) for name in names]
        pairs.update((name, TYPES[first[1].upper()]) for name in named if name and not _NONE.fullmatch(name))
        return False
    rest, start = False, 0
    for one in found:
        name = _name(line[start : one.start()])
        rest = rest or not name or bool(one[2])
        if name and not one[2]:  # "PER or ORG" is no type
            pairs.add((name, TYPES[one[1].upper()]))
        start = one.end()
    return rest or bool(line[start:].strip(_EDGES))


def _name(text: str) -> str:
    return re.sub(r"^and ", "", " ".join(text.strip(_EDGES).casefold().split()))


def _object(found: re.Match[str]) -> str:
    """A JSON object of an entity and its type as "entity, type"; anything else as it is."""
    texts = _STRING.findall(found[0].replace("':", "\1").replace('":', "\1"))
    kinds = [text for text in texts if text.upper() in TYPES]
    names = [text for text in texts if text.upper() not in TYPES]
    return f"{names[0]}, {kinds[0]}\n" if len(kinds) == 1 and len(names) == 1 else found[0]
