"""The words of an experiment: who is trained on, who is held out, and where they came from."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType

from graft import errors
from graft.tasks.words.decency import is_decent
from graft.tasks.words.relations import Relation, Relatives

POOLS = ("base", "train", "eval", "other")
"""``base``: the embedded model was trained on them. ``train``, ``eval``: decent, equally frequent, for experiments.
``other``: related to those, indecent or not drawn; by all four the English words of a tokenizer are recognised."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word.

    Attributes:
        text: lower-case letters a–z only.
        frequency: decimal logarithm of its occurrences in a billion words of running text, rounded, from 1 (rare) to 7;
            0 when unknown.
        pseudo: True for a made-up, pronounceable string.
    """

    text: str
    frequency: int = 0
    pseudo: bool = False


@dataclass(frozen=True, slots=True)
class WordSets:
    """Disjoint words for training and evaluation.

    Attributes:
        train: words whose items may be trained.
        eval: words that are related to no training word.
        source: ``package``, ``tokenizer`` or the path of a word file.
        dropped: how many candidates were left out of training because of each relation to a held-out word.
    """

    train: tuple[Word, ...]
    eval: tuple[Word, ...]
    source: str = "package"
    dropped: Mapping[Relation, int] = field(default_factory=dict)


@cache
def package_words(pool: str) -> tuple[Word, ...]:
    """The words of one pool of the list that ships with Graft, in alphabetical order.

    Args:
        pool: one of `POOLS`.

    Raises:
        ConfigError: there is no such pool.
    """
    if pool not in POOLS:
        raise errors.ConfigError(f"unknown word pool '{pool}'. {errors.choices(pool, POOLS)}")
    text = resources.files(__package__).joinpath("words.tsv").read_text(encoding="ascii")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return tuple(Word(word, int(frequency)) for word, frequency, row_pool in rows if row_pool == pool)


@cache
def listed_words() -> MappingProxyType[str, Word]:
    """Every word of the packaged list, by its text."""
    return MappingProxyType({word.text: word for pool in POOLS for word in package_words(pool)})


def read_word_file(path: Path) -> tuple[Word, ...]:
    """Read a file with one word per line; empty lines and lines after ``#`` are ignored, capitals are lowered.

    Args:
        path: UTF-8 text, with or without a byte order mark, any line ends.

    Returns:
        The words in file order, duplicates dropped, with the frequency that the packaged list gives them.

    Raises:
        DataError: the file is missing, not UTF-8, has no word, or a line is not one word of the letters a–z.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise errors.DataError(
            f"{path}: a word file must be UTF-8 text, but byte {error.start} is not; re-save it as UTF-8"
        ) from None
    except OSError as error:
        raise errors.DataError(f"{path}: the word file cannot be read ({error.strerror}); check the path") from None
    found: dict[str, Word] = {}
    for number, line in enumerate(lines, start=1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        if re.fullmatch(r"[A-Za-z]+", text) is None:
            raise errors.DataError(
                f"{path}, line {number}: expected one word of the letters a-z, but got {text[:60]!r}; "
                "fix or remove the line"
            )
        found.setdefault(text.lower(), listed_words().get(text.lower(), Word(text.lower())))
    if not found:
        raise errors.DataError(f"{path}: expected one word per line, but the file has none")
    return tuple(found.values())


def pseudo_words(n: int, seed: int, avoid: Collection[str] = ()) -> tuple[Word, ...]:
    """Make up pronounceable strings of 4 to 12 letters by a letter-trigram Markov chain learnt from the packaged list.

    Args:
        n: how many, all different.
        seed: the same seed gives the same strings.
        avoid: words to which no result may be related; words of the packaged list are never produced anyway.
    """
    rng = random.Random(f"pseudo-words/{seed}")
    chain = _trigrams()
    relatives = Relatives(avoid)
    found: dict[str, Word] = {}
    while len(found) < n:
        text = _walk(chain, rng)
        if text not in listed_words() and text not in found and is_decent(text) and not relatives.any(text):
            found[text] = Word(text, pseudo=True)
    return tuple(found.values())


@cache
def _trigrams() -> dict[str, tuple[list[str], list[int]]]:
    """Two letters → (possible next letters, cumulative counts); ``^`` starts and ``$`` ends a word."""
    counts: dict[str, Counter[str]] = {}
    for text in sorted(listed_words()):
        marked = f"^^{text}$"
        for start in range(len(marked) - 2):
            counts.setdefault(marked[start : start + 2], Counter())[marked[start + 2]] += 1
    return {pair: (list(nexts), list(accumulate(nexts.values()))) for pair, nexts in counts.items()}


def _walk(chain: dict[str, tuple[list[str], list[int]]], rng: random.Random) -> str:
    """One string of 4 to 12 letters with at least one vowel."""
    while True:
        marked = "^^"
        while not marked.endswith("$") and len(marked) < 15:
            letters, cumulative = chain[marked[-2:]]
            marked += rng.choices(letters, cum_weights=cumulative)[0]
        text = marked[2:-1]
        if marked.endswith("$") and len(text) >= 4 and set(text) & set("aeiouy"):
            return text
