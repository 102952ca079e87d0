"""Which entries of a vocabulary are English, by what their bytes decode to.

Every entry gets one class. Its bytes are decoded as UTF-8 and normalised to NFC; one leading space is set aside; the
first rule that holds decides:

special          an added token, such as ``<|im_end|>`` or ``<think>``
partial_utf8     the bytes are not whole UTF-8 characters
whitespace       nothing but white space
digits           nothing but 0–9
english_word     letters a–z in one casing (``word``, ``Word``, ``WORD``) that `is_english_word` knows; a contraction
                 (``'s``, ``’ll``); either after a quote (``“They``) or dash (``-box``)
english_subword  other letters a–z in one casing whose letter trigrams all occur in English words, bare or after a space
                 or dash; capitalised letters (names) and capitals of up to five letters (abbreviations) whatever
                 their trigrams; ``McCarthy``, ``eBook``; a dot and a letter (``.S`` as in U.S.); the parts of web
                 addresses (``http``, ``://``, ``www``, ``.org``)
accented_letter  one accented Latin letter, U+00C0 to U+024F
punctuation      one mark, ASCII or typographic, or a run of prose marks that does not look like code (``.”``, ``...``),
                 either with line breaks behind it
other_script     holds a letter of another script than Latin, or a mark of one (full-width, CJK)
other_latin      other letters of the Latin script: words of other languages
code_like        other ASCII: ``getElementById``, ``();``, ``_name``, ``npm``
symbol           what is left: emoji, arrows, box drawing, control and format characters

Letters alone do not say which language they are from: a German piece such as ``ung`` reads like English and is an
English subword here. What the English subset guarantees is the other direction: English text stays inside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

from graft.tasks.words.english import is_english_spelling, is_english_word
from graft.vocab.entries import Vocabulary, token_bytes, token_text


class EntryClass(StrEnum):
    """What an entry is; the rules stand at the top of this module."""

    ENGLISH_WORD = "english_word"
    ENGLISH_SUBWORD = "english_subword"
    DIGITS = "digits"
    PUNCTUATION = "punctuation"
    WHITESPACE = "whitespace"
    ACCENTED_LETTER = "accented_letter"
    CODE_LIKE = "code_like"
    OTHER_LATIN = "other_latin"
    OTHER_SCRIPT = "other_script"
    SYMBOL = "symbol"
    PARTIAL_UTF8 = "partial_utf8"
    SPECIAL = "special"


KEPT_CLASSES: Final = frozenset(
    {
        EntryClass.ENGLISH_WORD,
        EntryClass.ENGLISH_SUBWORD,
        EntryClass.DIGITS,
        EntryClass.PUNCTUATION,
        EntryClass.WHITESPACE,
        EntryClass.ACCENTED_LETTER,
        EntryClass.SPECIAL,
    }
)
"""The classes of the English subset."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One classified entry.

    Attributes:
        id: token id.
        surface: its text in NFC; for a part of a character its bytes, as ``<E2 80>``.
        kind: its class.
    """

    id: int
    surface: str
    kind: EntryClass


_ASCII_MARKS = r"!-/:-@\[-`{-~"
_TYPOGRAPHIC = "\u00a1-\u00bf\u00d7\u00f7\u2010-\u2027\u2030-\u205e\u20a0-\u20cf\u2212"
_PROSE_MARKS = r".,;:!?'\"()\[\]\-*_@\u2010-\u201f\u2026"
_LINE_ENDS = r"[\r\n]*"

_LETTERS = re.compile(r"[A-Za-z]+")
_NAME = re.compile(r"(?:Mac|Mc|O|e|i)([A-Z][a-z]+)")
_CONTRACTION = re.compile(r"['’](?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
_MARKED = re.compile(r"([-–—“‘’\"'])([A-Za-z]+)")
_INITIAL = re.compile(r"\.[A-Za-z]")
_WEB = re.compile(r"https?|://|www|\.(?:com|org|net|edu|gov)")
_MARK = re.compile(f"[{_ASCII_MARKS}{_TYPOGRAPHIC}]{_LINE_ENDS}")
_PROSE_RUN = re.compile(f"[{_PROSE_MARKS}]+{_LINE_ENDS}")
_CODE_RUN = re.compile(r"\(\)|\[\]|['\"][)\]];|\)\[|\]\(|_\(|\(_")
_TYPOGRAPHIC_MARK = re.compile(f"[{_TYPOGRAPHIC}]")

MAX_ABBREVIATION = 5
"""Capitals up to this many letters pass as an abbreviation (``FBI``, ``ISBN``, ``NASA``)."""


def classify(vocabulary: Vocabulary) -> tuple[Entry, ...]:
    """Classify every entry, in order of id."""
    entries = [Entry(id, text, EntryClass.SPECIAL) for id, text in vocabulary.added.items()]
    for id, token in vocabulary.plain.items():
        text = token_text(token)
        if text is None:
            entries.append(Entry(id, f"<{token_bytes(token).hex(' ').upper()}>", EntryClass.PARTIAL_UTF8))
        else:
            entries.append(Entry(id, text, classify_text(text)))
    return tuple(sorted(entries, key=lambda entry: entry.id))


def classify_text(text: str) -> EntryClass:
    """The class of one entry's text, which is not empty and in NFC."""
    if text.isspace():
        return EntryClass.WHITESPACE
    core = text.removeprefix(" ")
    if core.isascii() and core.isdecimal():
        return EntryClass.DIGITS
    if _WEB.fullmatch(core) or _INITIAL.fullmatch(core):
        return EntryClass.ENGLISH_SUBWORD
    if _LETTERS.fullmatch(core):
        return _letters(core)
    if _CONTRACTION.fullmatch(core):
        return EntryClass.ENGLISH_WORD
    if marked := _MARKED.fullmatch(core):
        return _after_mark(*marked.groups())
    if _MARK.fullmatch(core) or (_PROSE_RUN.fullmatch(core) and not _CODE_RUN.search(core)):
        return EntryClass.PUNCTUATION
    if core.isascii():
        return EntryClass.CODE_LIKE if core.isprintable() or len(core) > 1 else EntryClass.SYMBOL
    return _beyond_ascii(core)


def _letters(core: str) -> EntryClass:
    """The class of letters a–z."""
    lower = core.lower()
    if not (core.islower() or core.isupper() or core.istitle()):
        name = _NAME.fullmatch(core)
        return EntryClass.ENGLISH_SUBWORD if name and _is_name(core, name[1]) else EntryClass.CODE_LIKE
    if is_english_word(lower):
        return EntryClass.ENGLISH_WORD
    named = core.istitle() or (core.isupper() and len(core) <= MAX_ABBREVIATION)
    if named or is_english_spelling(lower):
        return EntryClass.ENGLISH_SUBWORD
    return EntryClass.CODE_LIKE


def _is_name(core: str, rest: str) -> bool:
    """``McCarthy`` whatever follows; ``eBook`` only before a word, since ``iMax`` is a variable."""
    return core[0].isupper() or is_english_word(rest.lower())


def _after_mark(mark: str, letters: str) -> EntryClass:
    """After a dash any English piece passes, after a quote only a word: ``"config`` is not how prose begins."""
    kind = _letters(letters)
    if kind is EntryClass.ENGLISH_WORD or (kind is EntryClass.ENGLISH_SUBWORD and mark not in "\"'"):
        return kind
    return EntryClass.CODE_LIKE if mark.isascii() else EntryClass.OTHER_LATIN


def _beyond_ascii(core: str) -> EntryClass:
    scripts = {_script(letter) for letter in core if not letter.isascii()}
    if "other" in scripts:
        return EntryClass.OTHER_SCRIPT
    if len(core) == 1 and "\u00c0" <= core <= "\u024f" and core.isalpha():
        return EntryClass.ACCENTED_LETTER
    if "latin" in scripts:
        return EntryClass.OTHER_LATIN
    if "symbol" in scripts:
        return EntryClass.SYMBOL
    return EntryClass.OTHER_LATIN if any(letter.isalpha() for letter in core) else EntryClass.PUNCTUATION


@cache
def _script(letter: str) -> str:
    """``latin``, ``mark`` (typographic), ``symbol`` or ``other`` for one character beyond ASCII."""
    if _TYPOGRAPHIC_MARK.fullmatch(letter):
        return "mark"
    name = unicodedata.name(letter, "")
    if unicodedata.category(letter)[0] in "LM":
        return "latin" if name.startswith("LATIN ") else "other"
    foreign = "\u3000" <= letter <= "\u33ff" or "\uff00" <= letter <= "\uffef" or unicodedata.category(letter)[0] == "N"
    return "other" if foreign or unicodedata.category(letter)[0] == "P" else "symbol"


def counts(entries: Iterable[Entry]) -> dict[EntryClass, int]:
    """Entries per class, every class named, in the order of the enumeration."""
    found = dict.fromkeys(EntryClass, 0)
    for entry in entries:
        found[entry.kind] += 1
    return found
