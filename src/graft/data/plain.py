"""What a text says, whatever its case, punctuation, addresses and handles: its words, letters and windows of letters.

Legend: W the windows of one text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WINDOW = 8
"""Letters of a window: about a word and a half."""

DENSE_WINDOW = 3
"""Letters of a window in scripts whose letters are syllables or words and that write no spaces."""

DENSE_WORD = 3
"""Letters of the longest usual word in such a script."""

SHORT = 50
"""Words from which two texts are compared by their windows: three-letter runs tell long texts apart no longer."""

DENSE_SHORT = 100
"""The same in letters of a script without spaces."""

LEAST_CONTAINED = 10
LEAST_CONTAINED_DENSE = 15
"""Words, and letters of a script without spaces, from which a text that stands inside another counts."""

PART = 40
LEAST_PARTS = 2
"""Letters of a part of a text, and least number of parts."""

NUMBERS = 0.25
"""Share of numbers and single letters from which a text is a formula: with other numbers it is another one."""

_ADDRESSES = re.compile(r"(?:https?://|www\.)[!-~]+|(?<![\w.])@[0-9a-z_.]+", re.ASCII)
_GROUPING = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SIGNS = re.compile(r"[^\W_]+|[+*/^=<>%]|(?<=\d)\.(?=\d)|-(?=\s?\d)")
_BETWEEN = re.compile(r"[^\w\s]+|_")
_DENSE = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_DIGIT = re.compile(r"\d")
_TATWEEL = "\u0640"


class _Folding(dict[int, str | None]):
    """What stands for each letter: nothing for accents and Arabic's stretching, a plain digit for any digit."""

    def __missing__(self, code: int) -> str | None:
        letter = chr(code)
        kept = str(unicodedata.decimal(letter)) if letter.isdecimal() else letter
        self[code] = None if unicodedata.combining(letter) or letter == _TATWEEL else kept
        return self[code]


_FOLDING = _Folding()


@dataclass(frozen=True, slots=True)
class Plain:
    """A text as it is compared.

    Attributes:
        key: its words and signs without anything between them: equal for texts that are equal but for case, accents,
            white space, punctuation, addresses, handles and the form of digits.
        units: its words; its letters where most of them belong to a script without spaces.
        dense: whether they do.
        size: how many units there are, marks of punctuation that stand between spaces included.
    """

    key: str
    units: tuple[str, ...]
    dense: bool
    size: int

    @property
    def letters(self) -> str:
        """All units, joined."""
        return "".join(self.units)

    @property
    def numbers(self) -> Counter[str]:
        """How often each word with a digit and each single letter occurs; only digits in a script without spaces."""
        return Counter(unit for unit in self.units if (len(unit) == 1 and not self.dense) or _DIGIT.search(unit))

    @property
    def formula(self) -> bool:
        """Whether numbers make up so much of it that with others it is another text."""
        return self.numbers.total() > NUMBERS * len(self.units)

    def windows(self) -> NDArray[np.uint64]:
        """The different windows of letters as hashes, in ascending order, shape [W]."""
        return runs(self.letters, DENSE_WINDOW if self.dense else WINDOW)


def plain(text: str) -> Plain:
    """Bring a text to the form in which it is compared."""
    folded = text.casefold()
    if not folded.isascii():
        folded = unicodedata.normalize("NFKD", folded).translate(_FOLDING)
    folded = _GROUPING.sub("", _ADDRESSES.sub(" ", folded))
    words = _BETWEEN.sub("", folded).split()
    letters = "".join(words)
    dense = not letters.isascii() and 2 * len(_DENSE.findall(letters)) >= len(letters)
    units = tuple(letters if dense else words)
    return Plain("".join(_SIGNS.findall(folded)), units, dense, len(units) if dense else len(folded.split()))


def runs(letters: str, size: int) -> NDArray[np.uint64]:
    """Hashes of all different runs of `size` letters, in ascending order, shape [W]; empty for a shorter text."""
    codes = np.frombuffer(letters.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    count = len(codes) - size + 1
    if count < 1:
        return np.empty(0, np.uint64)
    hashes_W = np.full(count, size, np.uint64)
    for place in range(size):
        hashes_W = (hashes_W ^ codes[place : place + count]) * np.uint64(0x9E3779B97F4A7C15)
        hashes_W ^= hashes_W >> np.uint64(29)
    return np.unique(hashes_W)


def similarity(one: Plain, other: Plain) -> float:
    """How alike two texts are: Jaccard similarity in [0, 1] of their three-letter runs, of their windows in long texts.

    0 for formulas with different numbers.
    """
    if one.formula and one.numbers != other.numbers:
        return 0.0
    if max(len(one.units), len(other.units)) >= (DENSE_SHORT if one.dense else SHORT):
        mine, theirs = one.windows(), other.windows()
    else:
        mine, theirs = runs(one.letters, 3), runs(other.letters, 3)
    shared = _shared(mine, theirs)
    return shared / max(1, len(mine) + len(theirs) - shared)


def changed_in_one_place(one: Plain, other: Plain) -> bool:
    """Whether one word, replaced, put in or left out, is all the difference between two texts; no number of a formula.

    In scripts without spaces up to three letters in a row, and at most a quarter of the text, pass for a word.
    """
    longer = max(len(one.units), len(other.units))
    start = _common_start(one.units, other.units)
    end = _common_start(one.units[start:][::-1], other.units[start:][::-1])
    least = longer - (min(DENSE_WORD, longer // 4) if one.dense else 1)
    return start + end >= least and not (one.formula and one.numbers != other.numbers)


def containment(one: Plain, other: Plain) -> float:
    """How much of the shorter text stands in the other word for word: share in [0, 1] of its parts.

    0 for formulas, and where that text has less than `LEAST_CONTAINED` words: a phrase stands in many texts.
    """
    shorter = min(one, other, key=lambda text: len(text.letters))
    least = LEAST_CONTAINED_DENSE if shorter.dense else LEAST_CONTAINED
    if len(shorter.units) < least or one.formula or other.formula:
        return 0.0
    return parts_in_common(one, other)


def parts_in_common(one: Plain, other: Plain) -> float:
    """Share in [0, 1] of the parts of the shorter text that stand in the longer one: at least two equal parts.

    Runs of a few letters may all stand in a text by chance where it has few different words; parts do not.
    """
    shorter, longer = sorted((one.letters, other.letters), key=len)
    count = max(LEAST_PARTS, len(shorter) // PART)
    borders = [place * len(shorter) // count for place in range(count + 1)]
    return sum(shorter[start:end] in longer for start, end in pairwise(borders)) / count


def _shared(one_W: NDArray[np.uint64], other_W: NDArray[np.uint64]) -> int:
    return len(np.intersect1d(one_W, other_W, assume_unique=True))


def _common_start(one: Sequence[str], other: Sequence[str]) -> int:
    """How many units both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))
