"""When two words are related: by form, lemma, containment, Porter stem, irregular form or spelling.

The rules err on the safe side: they call more pairs related than a dictionary would, because an unrelated training
word that is dropped costs nothing, while a related one that is kept is a leak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from typing import Final, Literal, TypeAlias, get_args

import snowballstemmer

from graft.tasks.words.irregular import base_forms
from graft.tasks.words.spellings import common_spelling

Relation: TypeAlias = Literal["exact", "casefold", "lemma", "containment", "irregular", "spelling", "porter"]
RELATIONS: Final[tuple[Relation, ...]] = get_args(Relation)

CONTAINED_LETTERS = 4
"""The shortest contained word that counts as a containment relation."""

STEM_LETTERS = 3
"""The shortest stem that suffix stripping may leave."""

_SUFFIXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("'s", ("",)),
    ("s'", ("s", "")),
    ("ies", ("y", "ie")),
    ("es", ("", "e")),
    ("s", ("",)),
    ("ied", ("y",)),
    ("ed", ("", "e")),
    ("d", ("",)),
    ("ying", ("y", "ie")),
    ("ing", ("", "e")),
    ("ier", ("y",)),
    ("er", ("", "e")),
    ("or", ("", "e")),
    ("r", ("",)),
    ("iest", ("y",)),
    ("est", ("", "e")),
    ("ily", ("y",)),
    ("ly", ("", "le")),
    ("iness", ("y",)),
    ("ness", ("",)),
    ("ment", ("",)),
    ("ation", ("", "e")),
    ("ion", ("", "e")),
    ("able", ("", "e")),
    ("ful", ("",)),
    ("less", ("",)),
    ("y", ("", "e")),
)


@lru_cache(maxsize=200_000)
def stems(word: str) -> frozenset[str]:
    """The word and everything that stripping inflectional suffixes, again and again, can leave of it.

    Args:
        word: any word; compared in its case-folded form.

    Returns:
        At least the case-folded word itself. Two words are lemma-like related when their sets meet.
    """
    found = {word.casefold()}
    todo = list(found)
    while todo:
        for shorter in _stripped(todo.pop()):
            if shorter not in found:
                found.add(shorter)
                todo.append(shorter)
    return frozenset(found)


def _stripped(word: str) -> Iterator[str]:
    for suffix, endings in _SUFFIXES:
        if not word.endswith(suffix):
            continue
        stem = word[: -len(suffix)]
        candidates = [stem + ending for ending in endings]
        if len(stem) > STEM_LETTERS and stem[-1] == stem[-2] and suffix[0] in "aeio":
            candidates.append(stem[:-1])  # running: run
        yield from (candidate for candidate in candidates if len(candidate) >= STEM_LETTERS)


def substrings(word: str) -> set[str]:
    """All contiguous parts of a word of at least `CONTAINED_LETTERS` letters, the word itself included."""
    size = len(word)
    return {
        word[start:end]
        for start in range(size - CONTAINED_LETTERS + 1)
        for end in range(start + CONTAINED_LETTERS, size + 1)
    }


@lru_cache(maxsize=200_000)
def porter_stems(word: str) -> frozenset[str]:
    """The case-folded word's stems by Porter's algorithm and by its revision.

    Source: M. F. Porter, "An algorithm for suffix stripping", 1980, and https://snowballstem.org (``english``).
    """
    form = word.casefold()
    return frozenset(stemmer.stemWord(form) for stemmer in _stemmers())


@lru_cache(maxsize=200_000)
def irregular_bases(word: str) -> frozenset[str]:
    """What the word, or a stem of it, may be an irregular form of; empty for most words."""
    return base_forms(word.casefold(), stems(word))


@lru_cache(maxsize=200_000)
def other_spellings(word: str) -> frozenset[str]:
    """The common spelling of the word and of its stems, where that is another one; often empty."""
    return frozenset(common for stem in stems(word) if (common := common_spelling(stem)) != stem)


@cache
def _stemmers() -> tuple[snowballstemmer.stemmer, ...]:
    return tuple(snowballstemmer.stemmer(name) for name in ("porter", "english"))


_Keys: TypeAlias = Callable[[str], frozenset[str]]
_MEET: Final[tuple[tuple[Relation, _Keys, _Keys], ...]] = (
    ("lemma", stems, stems),
    ("irregular", irregular_bases, irregular_bases),
    ("irregular", irregular_bases, stems),
    ("irregular", stems, irregular_bases),
    ("spelling", other_spellings, other_spellings),
    ("spelling", other_spellings, stems),
    ("spelling", stems, other_spellings),
    ("porter", porter_stems, porter_stems),
)
"""Two words stand in a relation when the first's keys of one kind meet the second's keys of the other kind."""


class Relatives:
    """An index of words that answers "which of you is related to this word?" without comparing all pairs.

    Args:
        words: the words to index.
    """

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._forms: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._keys: dict[_Keys, dict[str, str]] = {keys: {} for _, _, keys in _MEET}
        self._exact: set[str] = set()
        for word in words:
            self.add(word)

    def add(self, word: str) -> None:
        """Index one more word."""
        form = word.casefold()
        self._exact.add(word)
        self._forms.setdefault(form, word)
        for keys, index in self._keys.items():
            for key in keys(word):
                index.setdefault(key, word)
        for part in substrings(form):
            self._parts.setdefault(part, word)

    def find(self, word: str, relation: Relation) -> str | None:
        """One indexed word that stands in exactly this relation to `word`, or None."""
        form = word.casefold()
        if relation == "exact":
            return word if word in self._exact else None
        if relation == "casefold":
            return self._forms.get(form)
        if relation == "containment":
            return self._parts.get(form) or next(
                (self._forms[part] for part in sorted(substrings(form)) if part in self._forms), None
            )
        ways = [(keys, self._keys[indexed]) for name, keys, indexed in _MEET if name == relation]
        return next((index[key] for keys, index in ways for key in sorted(keys(word)) if key in index), None)

    def first(self, word: str) -> tuple[Relation, str] | None:
        """The first of `RELATIONS` in which an indexed word stands to `word`, and that word; None without one."""
        found = ((relation, self.find(word, relation)) for relation in RELATIONS)
        return next(((relation, hit) for relation, hit in found if hit is not None), None)

    def any(self, word: str) -> bool:
        """True when some indexed word is related to `word` in any way."""
        return self.first(word) is not None

    def same_lemma(self, word: str) -> bool:
        """True when some indexed word is related to `word` by anything but containment."""
        return any(self.find(word, relation) is not None for relation in RELATIONS if relation != "containment")
