r"""What a reply commits to: the part of reading that all kinds of answers share.

A reply is brought into plain text (`settle`), cut where it runs on into a next question, and taken apart into
statements: each correction ("Actually, …", "no, wait: …") opens a new one. The last statement that holds an answer
decides; a statement that takes back what came before and puts nothing in its place leaves the reply without an answer.
Inside a statement every place where an answer of the asked kind stands is a `Mention`. Negated ones are left out, the
first rank of evidence that any of the others meets decides, and mentions joined by *or*, *and* or a slash stand
together, so "A or B" says two things and commits to neither.

All readers of answers are built from these pieces, so that a reply is read alike whatever the kind of answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
"""Characters of scripts that put no spaces between words (Thai to Khmer, kana, Han), as ranges of a character class."""

TERMINAL = " \t\r\n.!?,;:。！？、，；：．｡､؟؛،۔।॥։។၊။…'\"“”‘’«»「」『』（）()[]"
"""White space, and the punctuation of any script that may stand around an answer without being part of it."""

_TAGS = r"(?:think|thinking|thought|reasoning)"
_THOUGHTS = re.compile(rf"<({_TAGS})>.*?</\1>|\[THINK\].*?\[/THINK\]", re.DOTALL | re.IGNORECASE)
_THOUGHT_ENDS = re.compile(rf"</{_TAGS}>|\[/THINK\]", re.IGNORECASE)
_THOUGHT_OPENS = re.compile(rf"<{_TAGS}>|\[THINK\]", re.IGNORECASE)

_HYPHENS = re.compile(r"[\u00ad\u2010-\u2015\u2212\u2043\ufe58\ufe63\uff0d]")
_QUOTES = str.maketrans(
    {**dict.fromkeys("‘’‚‛′`´ʼʹ＇ꞌ", "'"), **dict.fromkeys("“”„‟″«»＂「」『』", '"'), "⁄": "/", "∕": "/"}
)
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufe00-\ufe0f]")
_VULGAR = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_RAISED = re.compile(r"[⁰¹²³⁴-⁹]+")
_STRUCK = re.compile(r"~~.*?~~|<(s|del|strike)>.{0,300}?</\1>", re.DOTALL | re.IGNORECASE)
_BULLETS = re.compile(r"^[ \t]*[*•‣◦▪●][ \t]+", re.MULTILINE)
_STARS = re.compile(r"(?<![\w)\s*])\*+|(?:(?<=\s)|^)\*+(?![*\s])|(?<=[^\s*])\*+(?![\w(*])")
_UNDERLINES = re.compile(r"(?<!\w)_+(?=\S)|(?<=\S)_+(?!\w)")
_HTML = re.compile(r"</?(?:[a-z][a-z0-9]{1,9}|[bipqu])(?:\s[^<>\n]{0,80})?/?>", re.IGNORECASE)
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|operatorname|mbox)\s*\{([^{}]*)\}")
_LATEX_FENCE = re.compile(r"\\[()\[\]]")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{|<answer>", re.IGNORECASE)

_TURN = (
    r"q|ques|question|query|problem|exercise|instruction|user|human|input|prompt|text|passage|context|sentence|"
    r"review|"
    r"tweet|headline|premise|statement|document|task"
)
_NEXT_QUESTION = re.compile(
    rf"\n[ \t>*#_-]{{0,6}}(?:(?:next|new|another|follow-up)[ \t]+)?(?:{_TURN})\b[ \t]*(?:no\.?|number|"
    rf"\#)?[ \t]*\d{{0,4}}"
    rf"[ \t*_]*(?::|\.(?=[ \t])|\)(?=[ \t]))"
    rf"|\n?[ \t]*(?:<\|(?:im_start|user|start_header_id|eot_id|im_end|endoftext)\|>|<start_of_turn>|\[INST\])",
    re.IGNORECASE,
)
_ASKED_AGAIN = re.compile(r"\n[^\n?]{8,300}\?[ \t]*(?:\n|$)")
_SHORT = 6
"""Words that a reply may have in front of a bare next question; after more than these a question may be the model's."""

_WEAK = (
    r"actually", r"wait(?: a (?:minute|moment|second|"
                 r"sec))?", r"hold on", r"hang on", r"hm+", r"sorry(?: about that)?",
    r"(?:my )?apologies", r"i apologi[sz]e(?: for [^.,;:\n]{1,40})?", r"on second thoughts?",
    r"now that i (?:look|think)[^.,;:\n]{0,40}",
    r"(?:upon|on|after|with) (?:a )?(?:closer|further|second|"
    r"re)[\w -]{1,30}(?=[,:.])", r"looking (?:again|closer)[^.,;:\n]{0,30}",
    r"(?:but )?let me (?:re\w*|double[- ]?check|check|verify|correct|try|fix)\b[^.,;:\n]{0,40}",
)  # fmt: skip
"""Openings of a statement that overrides the ones before it if it holds an answer."""

_STRONG = (
    r"no(?=\s*(?:[,.!;:-]|$|\n)|\s+(?:wait|sorry|actually|it|it's|that|that's|the|"
    r"this)\b)", r"nope", r"nah", r"oops", r"whoops",
    r"correction", r"edit(?=\s*:)", r"(?:or |no )?i meant?(?: to say)?", r"(?:or|but) rather", r"rather(?=,)",
    r"make (?:that|it)", r"(?:scratch|strike|ignore|disregard|forget) (?:that|this|it)", r"my (?:mistake|bad|error)",
    r"i (?:was|am) (?:wrong|mistaken|incorrect)", r"i'm (?:wrong|mistaken)",
    r"i(?: have|'ve)? (?:made an? (?:mistake|error)|miscounted|misspoke|misread|misspelled)[^.,;:\n]{0,30}",
    r"(?:that|this|it|which)(?:'s| is| was) (?:wrong|incorrect|not (?:right|correct)|a (?:mistake|typo))",
    r"that (?:isn't|wasn't) (?:right|correct)", r"not (?:quite|right|correct)(?=\s*[.,:;!-])", r"never ?mind",
    r"(?:wrong|incorrect)(?=\s*[.!,])", r"instead(?=,| it\b| the answer\b)",
    r"(?:it|that|this|the answer) (?:should|must)(?: actually)? (?:be|have been|say|read)",
)  # fmt: skip
"""Openings of a statement that takes back the ones before it, whether it holds an answer or not."""

_UNSURE = re.compile(
    r"(?:\bnot|n't|\bcannot) (?:really )?(?:sure|certain|know|say|tell)\b|\bno (?:idea|clue)\b", re.IGNORECASE
)

_FILLER = (
    r"(?:(?:be|been|is|as|a|an|the|its|really|very|too|at all|exactly|even|quite|particularly|actually|truly|"
    r"entirely|"
    r"necessarily|in fact|of|letters?|numbers?|option|choice|answer|word|labell?ed|called|considered|classified|say|"
    r"said|it|either|overly|so|that|simply|clearly|position|equal to|spelled|written|appears?|occurs?|"
    r"contains?|have|has|includes?|used|there|being|to|think|thinking|believe|consider|find|see|feel|call|would|this|"
    r"seems?|sounds?|looks?|text|review|sentence)\s+)*['\"(\[]*"
)
_NEGATED = re.compile(
    rf"(?:\b(?:not|never|no longer|nor|neither|rather than|instead of|except|other than|unlike|cannot|isnt|"
    rf"wasnt|without|lacks?|lacking|fails?|failed|doubt(?:ful)?|"
    rf"hardly|scarcely|barely|far from|anything but|nothing|no)|n't)\s+{_FILLER}$"
    r"|\bnon[- ]?$"
    r"|(?:不是|不|非|没有|沒有|没|未|无|無|ไม่ใช่|ไม่|ليس|ليست|غير|не|нет)\s*(?:很|太|那么|是|属于)?\s*['\"(\[]*$",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"['\")\]]*(?:\s*,)?\s*(?:(?:is|was|are|were|would be|seems|looks|does|can|could|must)\s*(?:n't\b|not\b|never\b)"
    r"|(?:is|was|are|were|would be|seems|looks)\s+(?:clearly |definitely |also )?(?:wrong|incorrect|false|"
    r"ruled out|out\b)"
    r"|cannot be\b|(?:では|じゃ|で)(?:ない|ありません|無い)|(?:이|가)?\s?아니|(?:is )?not (?:the|it)\b)",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"['\")\]]*\s*(?:,?\s*(?:or|and|and/or|nor|versus|vs\.?|as well as|plus|but also)\b"
    r"(?:\s+(?:maybe|perhaps|possibly|probably|even|else|also|the|letter|letters|option|choice|a|an|both))*|"
    r"[/&|+*×÷])"
    r"\s*['\"(\[]*|[,:]",
    re.IGNORECASE,
)
_COMMA = re.compile(r"['\")\]]*\s*[,;]\s*['\"(\[]*")
_CLAUSE_END = re.compile(r"['\")\]]*\s*(?:[.!?,;\n]|$|\b(?:or|and)\b)")
_LONGEST = 20_000
"""Characters of a reply that are read; of a longer one a quarter at the beginning and the rest at the end."""

_MOST = 400
"""Mentions that are weighed at the end of a statement, and a quarter of that at its beginning."""

_AROUND = 90
"""Characters before and after a mention that its rank may depend on."""


@dataclass(frozen=True, slots=True)
class Mention(Generic[Answer]):
    """A place in a statement where an answer of the asked kind stands.

    Attributes:
        start: index of its first character.
        end: index after its last one.
        value: the answer in normal form.
    """

    start: int
    end: int
    value: Answer


@dataclass(frozen=True, slots=True)
class Rank:
    """One kind of evidence: what stands right before and right after a mention; an empty pattern asks for nothing."""

    before: re.Pattern[str] | None = None
    after: re.Pattern[str] | None = None

    def holds(self, text: str, mention: Mention[Answer]) -> bool:
        """Whether a mention of this text is of this rank."""
        if self.before and not self.before.search(text[max(0, mention.start - _AROUND) : mention.start]):
            return False
        return not self.after or bool(self.after.match(text[mention.end : mention.end + _AROUND]))


_LINK = r"\s*(?:(?:would|should|must|will|can|to)\s+(?:only\s+)?be|is|was|are|=|:|->|→|being|'s)(?:\s*[:=])?"
_LEAD = (
    r"\s*(?:(?:the|a|an|letter|number|option|choice|word|label|just|simply|clearly|definitely|exactly|only|probably|"
    r"likely|most|either|both|therefore|thus|then|indeed|still|about|approximately|around|"
    r"roughly)\s+)*(?:option\s*)?['\"(\[$]*\s*$"
)
_SAID = r"(?:answers?|solution|result|choice|option|response|reply|conclusion|verdict|prediction|label|output)"
_GAP = r"(?:(?!\b(?:is|are|was|were)\b)[^.,;:=\n]){0,50}?"
FINAL = Rank(
    re.compile(
        rf"\b(?:final|correct|right|corrected|ultimate)\s+(?:{_SAID}|letter|number|word|count|"
        rf"total)\b{_GAP}{_LINK}{_LEAD}",
        re.IGNORECASE,
    )
)
"""Announced as the final answer."""

CONCLUDED = Rank(
    re.compile(
        rf"\b(?:so|therefore|thus|hence|consequently|in conclusion|finally|in summary|altogether|"
        rf"in total)\b,?{_GAP}{_LINK}{_LEAD}"
        rf"|\b(?:therefore|thus|hence|in conclusion|finally)\b[,:]?{_LEAD}",
        re.IGNORECASE,
    )
)
"""Announced as what follows from the rest."""

ANSWERED = Rank(re.compile(rf"\b{_SAID}\b{_GAP}{_LINK}{_LEAD}|\banswer\b{_LEAD}", re.IGNORECASE))
"""Announced as the answer."""

NAMED = Rank(
    after=re.compile(
        r"['\")\]]*\s*(?:is|was|would be|must be|=)\s+(?:clearly |definitely )?(?:the )?(?:correct|right|best|"
        r"answer|final)\b",
        re.IGNORECASE,
    )
)
"""Named as the answer after it was said."""

ANNOUNCED: tuple[Rank, ...] = (FINAL, CONCLUDED, ANSWERED, NAMED)


def settle(reply: str) -> str | None:
    """Bring a reply into the plain text that every reader reads.

    Closed thinking is left out. Unicode forms of letters, digits, hyphens, quotes and spaces become plain ones,
    Markdown emphasis, HTML tags and struck-out text go. Case, digits and line breaks stay.

    Returns:
        The text, or ``None`` when the reply ends inside its thinking.
    """
    text = _THOUGHTS.sub(" ", reply)
    text = _THOUGHT_ENDS.split(text)[-1]  # the template may have opened the thinking
    if _THOUGHT_OPENS.search(text):
        return None
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 4]}\n{text[-3 * _LONGEST // 4 :]}"
    return plain(text)


def plain(text: str) -> str:
    """A text in the normal form of `settle`, for a right answer or a label."""
    text = characters(_STRUCK.sub(" ", text.replace("`", "")))
    text = _LATEX_FENCE.sub(" ", _LATEX_TEXT.sub(r"\1", text))
    text = _UNDERLINES.sub("", _STARS.sub("", _BULLETS.sub("", text)))
    return _box_announced(_HTML.sub(lambda found: found[0] if "answer" in found[0].lower() else " ", text)).strip()


def characters(text: str) -> str:
    """A text in plain characters: compatible forms, hyphens, quotes, spaces and digits of every script as ASCII's."""
    text = _RAISED.sub(lambda found: "^" + found[0], _VULGAR.sub(" ", _HYPHENS.sub("-", text.translate(_QUOTES))))
    text = unicodedata.normalize("NFKC", text)
    text = _HYPHENS.sub("-", _INVISIBLE.sub("", text)).translate(_QUOTES)
    return "".join(str(unicodedata.decimal(char)) if char > "9" and char.isdecimal() else char for char in text)


def committed(reply: str, read: Callable[[str], Sequence[Answer]], *, words: Sequence[str] = ()) -> Answer | None:
    """The one answer that a reply commits to.

    Args:
        reply: what the model wrote.
        read: gives the distinct answers that one statement says: none, one, or several between which it leaves the
            choice.
        words: answers that are also words of correction (*no*), which then open no statement.

    Returns:
        The answer in normal form; ``None`` when there is none, or more than one.
    """
    text = settle(reply)
    if text is None:
        return None
    head = before_next_question(text)
    found, decided = _last_word(head, read, words)
    return found if decided or head == text else _last_word(text, read, words)[0]


def before_next_question(text: str) -> str:
    """A reply up to where it runs on into another question or turn, as a base model's does; the whole of it elsewhere.

    Source: the stop strings of lm-evaluation-harness (``until: ["Question:", "</s>", "<|im_end|>"]`` of GSM8K).
    """
    start = len(text) - len(text.lstrip())
    for found in _NEXT_QUESTION.finditer(text, start + 1):
        if text[start : found.start()].strip():
            text = text[: found.start()]
            break
    asked = _ASKED_AGAIN.search(text, start)
    if asked and 0 < len(text[: asked.start()].split()) <= _SHORT and "?" not in text[: asked.start()]:
        return text[: asked.start()]
    return text


def statements(text: str, words: Sequence[str] = ()) -> list[tuple[str, bool]]:
    """The statements of a reply in order, each with whether it takes back the ones before it."""
    found: list[tuple[str, bool]] = []
    start, withdraws = 0, False
    any_cue, strong = _corrections(tuple(words))
    for cue in any_cue.finditer(text):
        if text[start : cue.start()].strip(TERMINAL + "-"):
            found.append((text[start : cue.start()], withdraws))
            withdraws = False
        taken_back = strong.search(text, cue.start())
        withdraws = withdraws or bool(found and taken_back and taken_back.start() < cue.end())
        start = cue.end()
    return [*found, (text[start:], withdraws)]


def distinct(
    text: str, mentions: Iterable[Mention[Answer]], ranks: Sequence[Rank], *, last: bool = False, bare: bool = True
) -> list[Answer]:
    """The distinct answers of the first rank of evidence that any mention meets, with those that are joined to them.

    Args:
        text: the statement.
        mentions: where answers stand in it, in order.
        ranks: kinds of evidence, the strongest first; a bare mention counts last.
        bare: False asks for some evidence beside the mention.
        last: among bare mentions the last one counts, as in worked solutions; without it all of them do.
    """
    live = list(mentions)
    live = _not_negated(text, live[: _MOST // 4] + live[_MOST // 4 :][-_MOST:])
    for rank in (*ranks, Rank()) if bare else ranks:
        picked = [place for place, mention in enumerate(live) if rank.holds(text, mention)]
        if last and rank == Rank():
            picked = picked[-1:]
        if picked:
            joined: set[int] = set()
            for one in picked:
                joined.update(() if one in joined else _joined(text, live, one))
            return list(dict.fromkeys(live[place].value for place in sorted(joined)))
    return []


def _not_negated(text: str, mentions: Sequence[Mention[Answer]]) -> list[Mention[Answer]]:
    """The mentions that are not negated; "not A or B" and "A and B are wrong" negate both."""
    said_not = [negated(text, mention) for mention in mentions]
    tied = [bool(_JOINED.fullmatch(text[left.end : right.start])) for left, right in pairwise(mentions)]
    for place, joined in enumerate(tied):
        said_not[place + 1] |= joined and said_not[place] and _is_denied_before(text, mentions[place])
    for place in range(len(tied) - 1, -1, -1):
        said_not[place] |= tied[place] and _is_denied_after(text, mentions[place + 1])
    return [mention for mention, gone in zip(mentions, said_not, strict=True) if not gone]


def negated(text: str, mention: Mention[Answer]) -> bool:
    """Whether a statement says that the answer is *not* this."""
    return _is_denied_before(text, mention) or _is_denied_after(text, mention)


def _is_denied_before(text: str, mention: Mention[Answer]) -> bool:
    return bool(_NEGATED.search(text[max(0, mention.start - _AROUND) : mention.start]))


def _is_denied_after(text: str, mention: Mention[Answer]) -> bool:
    return bool(_DENIED.match(text[mention.end : mention.end + _AROUND]))


def _box_announced(text: str) -> str:
    """The text with the content of its last box announced in words that readers understand."""
    for found in reversed(list(_BOX.finditer(text))):
        if (inside := _inside(text, found)) is not None:
            end = found.end() + len(inside) + (1 if found[0].endswith("{") else len("</answer>"))
            return f"{text[: found.start()]}\nFinal answer: {inside}\n{text[end:]}"
    return text


def _inside(text: str, opening: re.Match[str]) -> str | None:
    if not opening[0].endswith("{"):
        end = text.lower().find("</answer>", opening.end())
        return None if end < 0 else text[opening.end() : end]
    depth = 1
    for place in range(opening.end(), min(len(text), opening.end() + 400)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[opening.end() : place]
    return None


def _last_word(text: str, read: Callable[[str], Sequence[Answer]], words: Sequence[str]) -> tuple[Answer | None, bool]:
    """What the last statement with an answer says, and whether any statement decided."""
    said = statements(text, words)
    for place, (statement, withdraws) in reversed(list(enumerate(said))):
        if answers := read(statement):
            return (answers[0] if len(answers) == 1 else None), True
        if withdraws or (place and _UNSURE.search(statement)):
            return None, True
    return None, False


@lru_cache(maxsize=64)
def _corrections(words: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of any correction at the start of a clause, and of one that takes back; answers are no corrections."""
    taken = {word.casefold() for word in words}
    strong = "|".join(cue for cue in _STRONG if not any(re.fullmatch(cue.split("(?=")[0], word) for word in taken))
    weak = "|".join(_WEAK)
    start = (
        r"(?:^|(?<=[.!?;:,()\n-])|(?<=\bbut)|(?<=[.!?;:,()\n'\"-]\s)"
        r"|(?<=\s)(?=(?:no,?\s+wait|wait,?\s+no|actually,?\s+no|(?:or|but)\s+rather|i\s+meant?|scratch\s+that|"
        r"make\s+that)\b))"
    )
    anything = (
        rf"{start}[\s'\"(-]{{0,6}}(?:\b(?:but|oh|ah|well|uh|um|er)\b[\s,]{{0,3}}){{0,3}}(?:\b(?:{weak}|"
        rf"{strong})\b(?:[\s,:;!?)]|[.-](?!\d)){{0,6}})+"
    )
    return re.compile(anything, re.IGNORECASE), re.compile(rf"\b(?:{strong})(?:\b|(?=\W)|$)", re.IGNORECASE)


def _joined(text: str, mentions: Sequence[Mention[Answer]], place: int) -> Iterable[int]:
    """The mention at a place and those that *or*, *and* or a slash joins to it, one after the other."""
    first = last = place
    while first and _JOINED.fullmatch(text[mentions[first - 1].end : mentions[first].start]):
        first -= 1
    while last + 1 < len(mentions) and (
        _JOINED.fullmatch(text[mentions[last].end : mentions[last + 1].start]) or _listed(text, mentions, last)
    ):
        last += 1
    return range(first, last + 1)


def _listed(text: str, mentions: Sequence[Mention[Answer]], place: int) -> bool:
    """Whether the mention after a place is the next entry of a list: a comma before, the end of a clause behind."""
    between = text[mentions[place].end : mentions[place + 1].start]
    return bool(_COMMA.fullmatch(between) and _CLAUSE_END.match(text, mentions[place + 1].end))
