"""Yes and no: answers that are words of their own, or stated plainly ("It does not contain the letter z")."""

from __future__ import annotations

import re

from graft.tasks.answers.reading import committed

_YES = ("yes", "yeah", "yep", "yup", "true", "affirmative")
_NO = ("no", "nope", "nah", "false")
_ECHO = re.compile(r"\b(?:yes\s*(?:or|/)\s*no|true\s*(?:or|/)\s*false)\b\s*[:?]\s*(?=\w)|[^.!?\n]{0,300}\?(?=\s*\S)")
_WORD = re.compile(rf"\b({'|'.join((*_YES, *_NO))})\b")
_NO_DETERMINER = re.compile(
    r"\s+(?!it\b|it's\b|there\b|the word\b|the letter\b|the\b|this\b|that\b|they\b|he\b|she\b|we\b|because\b|"
    r"since\b|as\b|sir\b|no\b|yes\b|"
    r"'?\w+'? (?:does|do|is|isn't|doesn't|has|contains|lacks|cannot|can't|was|did|didn't)\b)['\"]?\w"
)
_CLAUSE_START = re.compile(
    r"(?:^|[.!?;:,/\n(]|--|\s-|\b(?:is|say|so|answer|=|be|definitely|clearly|absolutely|think|probably|"
    r"therefore|but|and|or|nor|not|it's|would be|maybe|perhaps|both))\W{0,6}$"
)
_NEGATED = re.compile(
    r"(?:\bnot|n't|\bnever|\bneither|\bnor)\s+(?:(?:a|the|exactly|simply|really|say|"
    r"be)\s+)*['\"]*$"
)
_HYPOTHETICAL = re.compile(r"\b(?:if|whether|suppose|assuming|see if|check that|unless)\b[^.,;!?\n]*")
_FINAL = re.compile(
    rf"\b(?:answer|conclusion|verdict)\b(?:[^.:=\n]{{0,50}}?)\s*(?:is|was|:|"
    rf"=)\W*({'|'.join((*_YES, *_NO))})\b(?!\s*(?:or|and|/)\s*(?:yes|no|true|false)\b)"
)
ABSENT = re.compile(
    r"\bnot (?:a|one) single\b|"
    r"\bno\s+(?:letters?\b|occurrences?\b|instances?\b|such\b|trace\b|sign\b|['\"]?[a-z]['\"]?(?:'?s)?(?!\w))"
    r"|(?:\bnot|n't|\bcannot|\bnever|\b(?:does|is|do|has)nt)\s+(?:(?:actually|even|really|ever|anywhere|at all|"
    r"an?|the|to|be|letter|['\"]?[a-z]['\"]?)\s+)*"
    r"(?:appears?|occurs?|contain(?:s|ed)?|(?:have|has)(?!\s+(?:(?:an?|the|any|enough)\s+)?(?:answer|idea|clue|"
    r"access|information|way|ability|knowledge))|includes?|in\b|used|"
    r"present|found|there|part|one of|any|show|exist|(?:see|find) (?:any|the letter|['\"]?[a-z]['\"]?(?!\w)))"
    r"|\b(?:lacks?|lacking|absent|missing|without|free of|fails? to (?:contain|include))\b|\b(?:isn't|"
    r"is not) (?:any|there)\b"
)
_PRESENT = re.compile(
    r"\b(?:contains?|appears?|occurs?|includes?|has (?:the letter|an?|one|two|three)\b|is in|is (?:one|"
    r"part) of|is (?:present|found|there)|there (?:is|are) (?:the|an?|one|two|three|\d+)\b|can be found|"
    r"is the \w+ letter)\b"
)
_WHOLE = re.compile(
    r"\W*(?:(?P<yes>(?:(?:yes|indeed|correct|absolutely|certainly|definitely|of course)\W+)?(?:it|"
    r"there) (?:does|is|indeed does|does indeed)|"
    r"indeed|correct|absolutely|certainly|definitely|of course)"
    r"|(?:no\W+)?(?:it|there) (?:does not|doesn't|doesnt|is not|isn't|isnt)|(?:absolutely|certainly|definitely|"
    r"of course|surely) not|"
    r"not at all|incorrect)\W*"
)
_UNCLEAR = re.compile(
    r"\b(?:unclear|unknown|uncertain|depends|ambiguous|hard to (?:say|tell))\b|(?:not|n't|cannot) (?:sure|"
    r"certain|know|tell|say)\b"
)


def parse_yes_no(reply: str) -> str | None:
    """``yes`` or ``no``: the answer that is announced, else the word that opens a sentence, else a plain statement."""
    return committed(reply, _read, words=_NO)


def _read(statement: str) -> list[str]:
    text = _ECHO.sub(" ", re.sub(r"[*_#~]", "", statement.lower())).strip()
    if whole := _WHOLE.fullmatch(text):
        return ["yes" if whole["yes"] else "no"]
    if announced := [_side(found[1]) for found in _FINAL.finditer(text)]:
        return list(dict.fromkeys(announced))
    if said := [(found, _side(found[1])) for found in _WORD.finditer(text) if _answers(text, found)]:
        return _spoken(text, said)
    text = _HYPOTHETICAL.sub(" ", re.sub(r"[^.!?\n]{0,300}\?", " ", text))
    if ABSENT.search(text):
        return ["no"]
    if re.search(r"\bnot\b|n't\b|\bnever\b|\bno\b|\bneither\b", text) or _UNCLEAR.search(text):
        return []
    return ["yes"] if _PRESENT.search(text) else []


def _side(word: str) -> str:
    return "yes" if word in _YES else "no"


def _answers(text: str, found: re.Match[str]) -> bool:
    """Whether such a word is an answer: neither negated nor a determiner ("no idea", "no one")."""
    before, after = text[max(0, found.start() - 40) : found.start()], text[found.end() : found.end() + 60]
    if _NEGATED.search(before) or re.match(r"-\w", after):
        return False
    if found[1] == "no" and (is_determiner(text, found.end()) or not _CLAUSE_START.search(before)):
        return False
    return not (
        found[1] in ("true", "false") and re.match(r"\s+(?:letter|story|friend|start|alarm|positive|negative)", after)
    )


def is_determiner(text: str, end: int) -> bool:
    """Whether the *no* that ends at a place belongs to what follows it: "no idea", "no one knows"."""
    return _NO_DETERMINER.match(text[end : end + 60].lower()) is not None


def _spoken(text: str, said: list[tuple[re.Match[str], str]]) -> list[str]:
    """What the words of yes and no in a statement say together."""
    sides = list(dict.fromkeys(side for _, side in said))
    if len(sides) == 1:
        return sides
    (first, side), (second, other) = said[0], said[1]
    between = text[first.end() : second.start()]
    if re.fullmatch(r"\W*(?:(?:and|or|but|maybe|also|nor)\b\W*)*", between):  # "yes and no", "yes/no", "yes. no."
        follows = re.match(r",\s+\w", text[second.end() :]) and re.fullmatch(r"\s*[.!;\n-]\s*", between)
        return [other] if follows else sides
    last, final = said[-1]
    if final != side and re.search(r"[.!;\n]\s*$", text[: last.start()]) and re.match(r",\s+\w", text[last.end() :]):
        return [final]  # "Yes. … No, it does not."
    opens = not text[: first.start()].strip(" '\"([")
    return [side] if opens else sides
