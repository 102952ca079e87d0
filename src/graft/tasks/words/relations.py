"""When two words are related: same form, lemma-like by suffix rules, or one containing the other.

The rules err on the safe side: they call more pairs related than a dictionary would, because an unrelated training
word that is dropped costs nothing, while a related one that is kept is a leak. Irregular forms (*go*, *went*) are
beyond them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal, TypeAlias

Relation: TypeAlias = Literal["exact", "casefold", "lemma", "containment"]
RELATIONS: tuple[Relation, ...] = ("exact", "casefold", "lemma", "containment")

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


class Relatives:
    """An index of words that answers "which of you is related to this word?" without comparing all pairs.

    Args:
        words: the words to index.
    """

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._forms: dict[str, str] = {}
        self._stems: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._exact: set[str] = set()
        for word in words:
            self.add(word)

    def add(self, word: str) -> None:
        """Index one more word."""
        form = word.casefold()
        self._exact.add(word)
        self._forms.setdefault(form, word)
        for stem in stems(word):
            self._stems.setdefault(stem, word)
        for part in substrings(form):
            self._parts.setdefault(part, word)

    def find(self, word: str, relation: Relation) -> str | None:
        """One indexed word that stands in exactly this relation to `word`, or None."""
        form = word.casefold()
        if relation == "exact":
            return word if word in self._exact else None
        if relation == "casefold":
            return self._forms.get(form)
        if relation == "lemma":
            return next((self._stems[stem] for stem in sorted(stems(word)) if stem in self._stems), None)
        whole = self._parts.get(form)
        if whole is not None:
            return whole
        return next((self._forms[part] for part in sorted(substrings(form)) if part in self._forms), None)

    def any(self, word: str) -> bool:
        """True when some indexed word is related to `word` in any way."""
        return any(self.find(word, relation) is not None for relation in RELATIONS)

    def lemma(self, word: str) -> bool:
        """True when some indexed word has the same form or a common stem."""
        return self.find(word, "lemma") is not None
