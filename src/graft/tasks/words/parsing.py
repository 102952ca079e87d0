"""Find the answer in a reply about a word, whatever stands around it.

Each parser returns the answer in normal form, or None when the reply commits to none or to several. What a reply
commits to is decided by `graft.tasks.answers.reading`, as for every other kind of answer; here stands what a letter, a
spelling, a count and a word look like, and which evidence for them is stronger.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from graft.tasks.answers.number_words import with_digits
from graft.tasks.answers.numbers import BEYOND, linear, mentions, without_sums
from graft.tasks.answers.reading import ANSWERED, CONCLUDED, FINAL, NAMED, Mention, Rank, committed, distinct
from graft.tasks.answers.truths import ABSENT, parse_yes_no

__all__ = ("parse_letter", "parse_letters", "parse_number", "parse_word", "parse_yes_no")

_WRAPPING = " \t\n\"'.,;:!?()[]{}<>$=-*"

_SEPARATORS = (
    r"\s*-+\s*",
    r"\s*,\s*(?:then\s+)?",
    r"\s*;\s*",
    r"\s*\n\s*(?:[-•]\s*)?",
    r"\s*(?:[-=]?>|\.{1,3}|[/|·•→+*:_~]|\bthen\b)\s*",
    r"[ \t]+",
)
_ONE = "[a-zà-öø-ÿ]"
_AND = rf"(?:\s*,?\s*(?:and|&)\s+{_ONE}(?![\w'])(?!\s*[,-]\s*{_ONE}\b))"
_RUNS = tuple(
    re.compile(
        rf"(?<!\w)(?<!\w'){_ONE}(?:(?:{separator}{_ONE}(?!\w|'\w))+{_AND + '?' if ',' in separator else ''}|"
        rf"{_AND})(?!\w)"
    )
    for separator in _SEPARATORS
)
_NUMBERED = re.compile(
    r"(?<![\w.])\(?(?:letter\s+)?#?\d{1,2}(?:st|nd|rd|th)?\s*(?:[.):=]|-(?!\d))\s*(?=['\"]?[a-z](?![\w']))|"
    r"\s*\(\d{1,2}\)(?=\s*(?:[,;.\n-]|$|[a-z]\b))"
)
_SOUNDS = re.compile(r"(?<=\b[a-z]) (?:as in|for|like) ['\"]?[a-z]+['\"]?")
_SPELLED = Rank(
    re.compile(
        r"\b(?:spell(?:ed|s|ing)?|spelt|letters|written)\b[^.\n]{0,40}?(?:\s(?:is|are|as|out)|"
        r":)?\s*['\"(\[]*$"
    )
)

_LETTER = re.compile(r"(?<!\w)(?<!\w')([a-z])(?!\w|'\w|-\w{2,})")
_NO_ARTICLE = r"(?:in|of|at|because|and|or|which|as|since|for|the|when|is|was|not|but|comes|appears)\b"
_ARTICLES = (
    re.compile(r"\b(?:e\.g|i\.e|a\.m|p\.m)\b\.?"),
    re.compile(
        rf"(?<![\w'\"-])(?:a (?=[a-z]{{2,}})(?!{_NO_ARTICLE})|i(?:'[a-z]+\b| (?=[a-z]{{2,}})(?!{_NO_ARTICLE})))"
    ),
    re.compile(
        r"(?<![\w'\"-])an? (?=(?:(?:capital|lowercase|small|letter|single|double) )*['\"]?[a-z]['\"]?(?![\w']))"
    ),
    re.compile(r"\b(?:am|do|should|can|may|could|would|did|have|as) i\b"),
)
_IS = Rank(
    re.compile(
        r"(?:\b(?:is|was|be|are|says?|give|choose)|'s|=|:|-+>|→)\s*(?:(?:the|an?|just|simply|clearly|actually|"
        r"letter|again)\s+)*['\"(\[]*$"
    )
)
_QUOTED = Rank(re.compile(r"['\"]$"), re.compile(r"['\"]"))
_PLACE_NAME = (
    r"(?:\d+(?:st|nd|rd|th)|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|"
    r"eleventh|twelfth|last|next|previous)"
)

_COUNT = r"\d+(?:st|nd|rd|th)?"
_LIST = rf"{_COUNT}(?:\s*(?:,\s*and|,\s*&|,|and|&|or)\s*(?:the\s+)?{_COUNT})*"
_PLACES = re.compile(
    rf"\b(?:positions?|places?|index|indices|indexes|spots?|slots?|letters? numbers?|steps?|nos?\.?)\s*(?::|#|are|"
    rf"is at)?\s*{_LIST}(?!\s*times)"
    rf"|\b(?:at|in the|as the)\s+(?:the\s+)?{_LIST}(?!\s*(?:times|letters?|occurrences?|places?\b|r's|%|\w'?s\b))"
    r"|\(\s*\d+(?:\s*,\s*\d+)+\s*\)|\[\s*\d+(?:\s*,\s*\d+)+\s*\]"
)
_OF_TOTAL = re.compile(
    r"(?<![\w.,-])(\d+)\s*(?:(?:out\s+)?of\s+(?:(?:the|its|all|these|those|a total of)\s+)*)\d+\b(?!\s*=)|"
    r"(?<![\w.,/-])(\d+)\s*/\s*(?:[4-9]|\d\d)(?![\w./])"
)
_WHOLE_LENGTH = re.compile(
    r"(?<!\w)\d+(?:[ -](?:letters?|characters?)\b(?!\s*['\"]?[a-z](?!\w))|\s+long\b)|"
    r"\blength\b(?:\s+of)?(?:\s+the word)?(?:\s+is|:|=)?\s+\d+"
)
_LISTED_LINE = re.compile(r"(?:^|\n)\s*(\d+)[.)]\s+(?=\S)")
_COUNT_BEFORE = Rank(
    re.compile(
        r"(?:\b(?:are|is|was|were|occurs?|appears?|contains?|has|have|total|used?|uses|count|counted|found|see|"
        r"equals|makes?)\b\s*:?|[=:]|->|→)"
        r"(?:\s*\b(?:exactly|only|just|a|total|of|in|used|found|counted|present|there|also|about|around|"
        r"approximately|roughly|the letter '?[a-z]'?|equal to)\b)*\s*['\"(\[]*$"
    )
)
_IN_TOTAL = Rank(after=re.compile(r"['\")\]]*\s+(?:times )?(?:in total|altogether|in all)\b"))
_SO = Rank(re.compile(r"\b(?:so|therefore|thus|hence)[,:]?\s+(?:it's |it is )?$"))
_COUNT_AFTER = Rank(
    after=re.compile(
        r"['\")\]]*\s+(?:times?|letters?|occurrences?|instances?|in total|altogether|'?[a-z]'?(?:'?s)?(?!\w))"
    )
)
_BOUND = re.compile(
    r"\b(?:at least|at most|more than|less than|fewer than|over|under|up to|greater than|no more than|"
    r"about \d+ or)\s+$"
)
_RANGE = re.compile(r"(?<![\w.,-])(\d+)\s*(?:\bto\b|-|\.\.+)\s*(\d+)(?![\w])")

_OPENING = re.compile(
    r"^(?:(?:sure|ok(?:ay)?|yes|certainly|of course|alright|great|absolutely|understood|here (?:you go|it is|"
    r"you are)|no problem|hello|hi|done)\b[\s!,.:-]+)+"
)
_IN_WORD = re.compile(r"(?<![\w-])(?<!\w')([a-z]{2,})(?![\w-])(?!'\w)")
_NO_WORDS = frozenset(
    {
        "nothing", "else", "either", "both", "neither", "maybe", "perhaps", "probably", "or", "and", "not",
        "but", "is", "it", "the", "an", "of", "to", "in", "unknown", "unclear", "correct", "incorrect", "wrong",
        "right", "spelled", "spelt", "misspelled", "unsure", "sorry", "unable", "impossible", "hard", "sure",
        "okay", "ok", "yes", "no", "hello", "hi", "done", "thanks", "great", "understood", "here", "word",
        "letters",
    }
)  # fmt: skip
"""Words that are no answer unless they are the whole reply."""
_STOPS = r"['\")\]]*\s*(?:[.!,;(:\n-]|$|or\b|and\b|not\b|because\b|as\b)"
_SAYS = Rank(
    re.compile(
        r"(?:\b(?:word|it|that|this|they|answer|together|which|letters|result|reply|repeat|repeated|"
        r"copy)\b(?:\s+(?:is|are|again|would be|reads?|gives?|says?|spells?|forms?|makes?)|'s|:)"
        r"|…\s+is|\b(?:but|rather|spells?|spelling|forms?|makes?|reads?|gives?|repeat|into|write|say)\b|[=:]|"
        r"-+>|→|=>)\s*:?\s*(?:(?:the|a|word|out|just|simply|english|again)\s+)*['\"(\[]*$"
    ),
    re.compile(_STOPS),
)
_THE_WORD = Rank(re.compile(r"^[\W]*(?:the )?word\s+['\"]?$"), re.compile(_STOPS))
_LONE = Rank(
    re.compile(r"(?:^|[.!\n]|…)[\s'\"(\[]*$"),
    re.compile(r"['\")\]]*\s*(?:[.!\n(…]|$|(?:is|was) (?:the|your) (?:word|answer)\b|or\b|,? not\b)"),
)


def parse_letters(reply: str) -> str | None:
    """The letters of a spelled word, joined: single letters with the same separator between all of them."""
    return committed(reply, _read_letters)


def parse_letter(reply: str, ordinals: Sequence[str] = ()) -> str | None:
    """One letter.

    Args:
        reply: what the model wrote.
        ordinals: names of the asked place (``3rd``, ``third``, ``position 3``); a sentence that says what the letter at
            that place is outranks sentences about other places.
    """
    ranks = (FINAL, ANSWERED, *_place_ranks(ordinals), CONCLUDED, NAMED, _IS, _QUOTED)
    return committed(reply, lambda statement: _read_letter(statement, ranks))


def parse_number(reply: str, *, ignore_length: bool = False, letter: str = "") -> str | None:
    """One whole number in digits, written in digits or words.

    Args:
        reply: what the model wrote.
        ignore_length: leave "10 letters" out when another number is there, as in a count of one letter.
        letter: the letter that is counted; what a sentence says of it outranks what it says of others.
    """
    found = committed(reply, lambda statement: _read_count(statement, ignore_length, letter))
    return found if found is not None and found.isdecimal() and found != str(BEYOND.value) else None


def parse_word(reply: str) -> str | None:
    """One word of two letters or more; spelled-out letters beside it are left out."""
    return committed(reply, _read_word)


def _read_letters(statement: str) -> list[str]:
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])|(?<=\b[a-z])_|(?<=_[a-z])_", "-", _lowered(statement))
    text = _SOUNDS.sub("", _NUMBERED.sub(" ", text))
    text = re.sub(r"['\"]([a-z])['\"]", r"\1", text)
    if re.fullmatch(r"[a-z]", bare := text.strip(_WRAPPING)):
        return [bare]
    runs = _spelled_runs(text)
    if any(len(run.value) > 2 for run in runs):
        runs = [run for run in runs if len(run.value) > 2 or text[run.start : run.start + 2] not in ("a ", "i ")]
    return distinct(text, runs, (FINAL, ANSWERED, CONCLUDED, _SPELLED))


def _read_letter(statement: str, ranks: Sequence[Rank]) -> list[str]:
    text = _lowered(statement)
    if re.fullmatch(r"[a-z]", bare := text.strip(_WRAPPING)):
        return [bare]
    for article in _ARTICLES:
        text = article.sub(" … ", text)
    text = re.sub(r"['\"]([a-z])['\"]\s*[,-]\s*(?=['\"][a-z]['\"])", r"\1, ", text)
    if len(_NUMBERED.findall(text)) > 1:
        text = re.sub(r"\b[a-z]\s*\(\d{1,2}\)", " … ", text)
        text = re.sub(rf"(?:{_NUMBERED.pattern})['\"]?[a-z]\b['\"]?", " … ", text)
    for run in reversed(_spelled_runs(text)):
        if len(run.value) > 2:
            text = text[: run.start] + "…" + text[run.end :]
    found = [Mention(match.start(), match.end(), match[1]) for match in _LETTER.finditer(text)]
    return distinct(text, found, ranks)


def _read_count(statement: str, ignore_length: bool, letter: str) -> list[str]:
    text = re.sub(r"^\s*-\s+(?=\d)", "", _lowered(statement), flags=re.MULTILINE)
    if len(listed := _LISTED_LINE.findall(text)) > 1 and listed[0] in ("1", "0"):
        text = _LISTED_LINE.sub("\n", text)
    if len(_NUMBERED.findall(text)) > 1:
        text = _NUMBERED.sub(" ", text)
    text = with_digits(without_sums(linear(text)), adverbs=True)
    text = _PLACES.sub(" ", _RANGE.sub(r"\1 or \2", _OF_TOTAL.sub(r"\1\2 ", text)))
    if ignore_length and mentions(shorter := _WHOLE_LENGTH.sub(" ", text)):
        text = shorter
    found = mentions(text)
    counts = [
        Mention(one.start, one.end, "" if "/" in text[one.start : one.end] else str(one.value.value))
        for one in found
        if not _BOUND.search(text[max(0, one.start - 20) : one.start])
    ]
    if not found and ABSENT.search(text):
        return ["0"]
    return distinct(
        text, counts, (FINAL, ANSWERED, _IN_TOTAL, _SO, *_letter_ranks(letter), CONCLUDED, _COUNT_BEFORE, _COUNT_AFTER)
    )


def _read_word(statement: str) -> list[str]:
    text = _lowered(statement)
    for run in reversed(_spelled_runs(text)):
        text = text[: run.start] + "…" + text[run.end :]
    text = _OPENING.sub("", text)
    if re.fullmatch(r"[a-z]{2,}", bare := text.strip(_WRAPPING + "…")):
        return [bare]
    found = [Mention(one.start(1), one.end(1), one[1]) for one in _IN_WORD.finditer(text) if one[1] not in _NO_WORDS]
    return distinct(text, found, (FINAL, ANSWERED, CONCLUDED, _SAYS, _QUOTED, _THE_WORD, _LONE), bare=False)


def _place_ranks(ordinals: Sequence[str]) -> list[Rank]:
    """A sentence about the asked place: "the 3rd letter … is r", "position 3: r", "r is the third", "r (3rd)"."""
    if not ordinals:
        return []
    place = "|".join(re.escape(name) for name in ordinals)
    before = rf"\b(?:{place})\b(?:(?!\b{_PLACE_NAME}\b)[^.,;\n])*?{_IS.before.pattern if _IS.before else ''}"
    next_to = rf"\b(?:{place})(?:\s+(?:letter|one|place))?\s*[,:-]?\s*['\"(\[]*$"
    after = (
        rf"['\")\]]*\s*(?:(?:(?:is|was|comes|appears|stands|sits|=)\s+)?(?:clearly )?(?:at |in |as )?(?:the |"
        rf"its )?(?:{place})\b|\((?:the )?(?:{place})\b)"
    )
    return [Rank(re.compile(before)), Rank(after=re.compile(after)), Rank(re.compile(next_to))]


def _letter_ranks(letter: str) -> list[Rank]:
    """A sentence about the counted letter: "3 r's", "r: 3", "the letter r appears 3"."""
    if not letter:
        return []
    name = rf"['\"]?{re.escape(letter)}['\"]?(?:'?s)?"
    before = (
        rf"(?<!\w){name}\s*(?:(?:appears?|occurs?|shows? up|comes? up|is|are|was|used|found|there|in|the|"
        rf"word|exactly|only|just|a|total|of|:|=|-)\s*|['\"]?[a-z]{{4,}}['\"]?\s*)*$"
    )
    return [Rank(after=re.compile(rf"\s+(?:letters?\s+|times?\s+)?{name}(?!\w)")), Rank(re.compile(before))]


def _lowered(statement: str) -> str:
    return re.sub(r"[#~]", "", statement).lower().strip()


def _spelled_runs(text: str) -> list[Mention[str]]:
    """Stretches of two or more single letters with one kind of separator, the longest where they overlap."""
    found = sorted(
        (match for pattern in _RUNS for match in pattern.finditer(text)), key=lambda match: match.start() - match.end()
    )
    kept: list[re.Match[str]] = []
    for match in found:
        if all(match.end() <= other.start() or match.start() >= other.end() for other in kept):
            kept.append(match)
    return [
        Mention(
            match.start(),
            match.end(),
            re.sub(rf"(?!{_ONE}).", "", re.sub(r"\b(?:and|then)\b", "", match.group()), flags=re.DOTALL),
        )
        for match in sorted(kept, key=lambda match: match.start())
    ]
