"""Answers out of a few given ones: labels, and the letters of options."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from graft.tasks.answers.reading import (
    ANNOUNCED,
    TERMINAL,
    UNSPACED,
    Mention,
    Rank,
    committed,
    distinct,
    plain,
)
from graft.tasks.answers.truths import is_determiner

_CHOSEN = Rank(
    re.compile(
        r"\b(?:choos(?:e|ing)|chose|pick(?:ing)?|select(?:ing)?|go(?:ing)? (?:with|for)|went with|opt for|"
        r"vote for|settle on)\s+"
        r"(?:(?:the|option|choice|answer|letter)\s+)*['\"(\[]*$",
        re.IGNORECASE,
    )
)
_KIND = (
    r"(?:sentiment|label|class|category|topic|classification|relation(?:ship)?|tone|stance|type|rating|intent|"
    r"emotion)"
)
_CLASSED = Rank(
    re.compile(
        rf"\b{_KIND}\b[^.:=\n]{{0,60}}?(?:\s+(?:is|was|as|would be|must be|to be)|\s*[:=])\s*(?:(?:a|an|the|"
        rf"clearly|definitely|mostly|overall|very)\s+)*['\"(\[]*$"
        r"|\b(?:classif(?:y|ied)|labell?ed|rated?|categori[sz]ed?)\b[^.:=\n]{0,40}?\sas\s+(?:(?:a|an|"
        r"the)\s+)*['\"(\[]*$",
        re.IGNORECASE,
    )
)
_ALONE_ON_LINE = Rank(re.compile(r"(?:^|\n)[\s'\"(\[>-]*$"), re.compile(r"['\")\].!]*[ \t]*(?:\n|$)"))
_OPENS = Rank(re.compile(r"^[\s'\"(\[>-]*$"), re.compile(r"['\")\]]*[ \t]*(?:[.:,;!\n-]|$)"))

NO_LABEL = "none"
"""What is said where a row has none of several labels."""

_LETTER = re.compile(
    r"(?<![\w'-])([A-J])(?![\w'])(?!-\w)(?! (?!or\b|and\b|is\b|are\b|was\b|were\b|because\b|since\b|as\b|not\b|isn't\b|"
    r"must\b|would\b|seems\b|looks\b|fits\b|over\b|but\b|rather\b|instead\b|\w+ \w*ption)[a-z])"
)
_SMALL_LETTER = re.compile(
    r"(?:^[\s'\"(\[]{0,4}|\b(?:answer|choice|option|letter)(?:\s+(?:is|was))?\s*:?\s*(?:the\s+|option\s+|"
    r"letter\s+)*['\"(\[]{0,3}|\b(?:or|and)\s+['\"(\[]{0,3}|\()([a-j])(?=['\")\]]{0,3}\s*(?:[.):,;!\n\]]|$|"
    r"(?:or|and|not|because|since)\b))"
)
_LISTED = re.compile(r"(?:^|\n)\s*['\"(\[]*([A-Ja-j])[.):\]]\s+\S")


def find_label(reply: str, labels: Sequence[str]) -> str | None:
    """The only label that a reply commits to, whatever its case; ``None`` when it names none or several.

    The longest label that fits counts, so ``mildly positive`` is not ``positive``; ``not equivalent`` is
    ``not_equivalent`` where that is a label, and names nothing where it is not. Capitals count only between labels that
    differ in nothing else. Labels are found inside running text of scripts without spaces.
    """
    names = tuple(plain(label) for label in labels)
    known, pattern = _pattern(names)

    def read(statement: str) -> list[str]:
        if (whole := known.get(_key(statement.strip(TERMINAL), known))) is not None:
            return [whole]
        found = [
            Mention(match.start(), match.end(), known[key])
            for match in pattern.finditer(statement)
            if (key := _key(match[0], known)) in known and not (key == "no" and is_determiner(statement, match.end()))
        ]
        return distinct(statement, found, (*ANNOUNCED, _CLASSED, _ALONE_ON_LINE, _OPENS))

    found = committed(reply, read, words=[*names, *(word for name in names for word in name.split())])
    return None if found is None else labels[names.index(found)]


def find_labels(reply: str, labels: Sequence[str]) -> tuple[str, ...] | None:
    """All labels that a reply commits to, in the order of the labels; ``None`` when it says nothing of the kind.

    Negated labels are left out. `NO_LABEL` alone says that none fits.
    """
    names = tuple(plain(label) for label in (*labels, NO_LABEL))
    known, pattern = _pattern(names)

    def read(statement: str) -> list[tuple[str, ...]]:
        found = [
            Mention(match.start(), match.end(), known[_key(match[0], known)]) for match in pattern.finditer(statement)
        ]
        said = distinct(statement, found, ANNOUNCED)
        return [tuple(label for name, label in zip(names, labels, strict=False) if name in said)] if said else []

    return committed(reply, read, words=[*names, *(word for name in names for word in name.split())])


def find_letter(reply: str, letters: Sequence[str]) -> str | None:
    """The option's letter that a reply commits to; ``None`` when it gives none, several, or one that is no option.

    A letter that is announced (``the answer is b``) counts before one that opens the reply (``B. Rent``), and that
    before single capitals elsewhere; the article in ``A good guess`` is no letter. A reply that lists the options
    commits to none.
    """

    def read(statement: str) -> list[str]:
        whole = re.fullmatch(r"\W*([A-Ja-j])\W*", statement)
        if whole:
            return [whole[1].upper()]
        found = {match.start(1): match for match in (*_LETTER.finditer(statement), *_SMALL_LETTER.finditer(statement))}
        mentions = [Mention(start, start + 1, found[start][1].upper()) for start in sorted(found)]
        listed = {match.start(1) for match in _LISTED.finditer(statement)}
        if len(listed) > 1:
            mentions = [mention for mention in mentions if mention.start not in listed]
        return distinct(statement, mentions, (*ANNOUNCED, _CHOSEN, _OPENS))

    found = committed(reply, read)
    return found if found is not None and found in letters else None


def _key(text: str, known: dict[str, str]) -> str:
    """What a label is looked up by: as it is written where capitals tell labels apart, else without regard to them."""
    spaced = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", text).strip()
    return spaced if spaced in known else spaced.casefold()


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> tuple[dict[str, str], re.Pattern[str]]:
    """The labels by look-up key, and the pattern of any of them, the longest first."""
    spaced = [re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", name).strip() for name in names]
    folded = Counter(text.casefold() for text in spaced)
    keys = {
        (text if folded[text.casefold()] > 1 else text.casefold()): name
        for text, name in zip(spaced, names, strict=True)
    }
    texts = "|".join(_bounded(text) for text in sorted(spaced, key=len, reverse=True) if text)
    return keys, re.compile(texts or r"(?!)", re.IGNORECASE)


def _bounded(text: str) -> str:
    """A label as a pattern that stands between the boundaries of its script."""
    letter = rf"[^\W{UNSPACED}\uac00-\ud7a3]"
    unspaced = re.compile(rf"[{UNSPACED}\uac00-\ud7a3]")
    before = "" if unspaced.match(text[0]) else rf"(?<!{letter})(?<![^\W\d]-)"
    after = "" if unspaced.match(text[-1]) else rf"(?!{letter})(?!-[^\W\d])(?!'\w)"
    if text[0].isdigit():
        before += r"(?<![\d.,-])(?<!\d[./])"
    if text[-1].isdigit():
        after += r"(?![.,]?\d)(?!\s?%)(?!/\d)"
    return before + re.escape(text).replace(r"\ ", r"[\s_-]+") + after
