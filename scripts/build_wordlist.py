"""Draw the pools of ``src/graft/tasks/words/words.tsv`` anew: ``python scripts/build_wordlist.py``.

The words, from SCOWL's sizes 10 to 60, and the pool ``base``, on which the embedded model was trained, are fixed. Every
other choice is a hash of the word and a fixed salt, so the same list gives the same file. Evaluation words are drawn
first, spread over frequencies and lengths and rich in repeated letters; they are decent and related to no base word.
Training words are decent, share no lemma with a base word, are related to no evaluation word, and are as frequent as
these. The pool ``other`` holds the rest.

Frequencies are read from ``--frequencies``, a file of lines "word count", where one is given, else from the list. The
shipped ones are those of SymSpell's ``frequency_dictionary_en_82_765.txt``.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from graft.tasks.words.decency import is_decent
from graft.tasks.words.relations import Relatives, substrings

SALT = "graft words 2"
LIST = Path(__file__).parent.parent / "src" / "graft" / "tasks" / "words" / "words.tsv"

EVAL_BY_LENGTH = {4: 150, 5: 220, 6: 310, 7: 330, 8: 350, 9: 350, 10: 330, 11: 300, 12: 260}
EVAL_THRICE = {6: 20, 7: 50, 8: 100, 9: 150, 10: 170, 11: 190, 12: 180}
"""Of these, so many have a letter that occurs three times or more."""
EVAL_BY_FREQUENCY = {5: 0.08, 4: 0.28, 3: 0.32, 2: 0.21, 1: 0.11}
"""Share of the words of one length in each band, the most frequent first; what one band lacks the next one gives."""
MOST_RELATIVES = 15
"""A word contained in more words than this is no evaluation word: it would cost too much of the training pool."""


def order(word: str) -> bytes:
    return hashlib.sha256(f"{SALT}/{word}".encode()).digest()


def read_list(path: Path) -> tuple[dict[str, int], set[str]]:
    """Every word with its frequency, and the words of the pool ``base``."""
    rows = [line.split("\t") for line in path.read_text(encoding="ascii").splitlines()[1:]]
    return {word: int(frequency) for word, frequency, _ in rows}, {word for word, _, pool in rows if pool == "base"}


def zipf(words: Mapping[str, int], path: Path) -> dict[str, int]:
    """Each word's decimal logarithm of occurrences in a billion words, rounded, at least 1."""
    counts = {word: int(count) for word, count in map(str.split, path.read_text(encoding="utf-8-sig").splitlines())}
    total = sum(counts.values())
    return {word: max(1, round(math.log10(counts.get(word, 1) / total * 1e9))) for word in words}


def band(frequency: int) -> int:
    return min(frequency, max(EVAL_BY_FREQUENCY))


def thrice(word: str) -> bool:
    return max(Counter(word).values()) >= 3


class Draw:
    """Draws evaluation words that are unrelated to one another."""

    def __init__(self, words: Mapping[str, int], candidates: list[str]) -> None:
        contained = Counter(part for word in words for part in substrings(word))
        self.words = words
        self.candidates = [word for word in candidates if contained[word] <= MOST_RELATIVES]
        self.chosen: list[str] = []
        self._index = Relatives()

    def take(self, wanted: Mapping[int, int], fits: Callable[[str], bool]) -> None:
        """Draw `wanted` words of each length among those that fit, spread over the frequencies."""
        missing = dict.fromkeys(wanted, 0.0)
        for frequency, share in EVAL_BY_FREQUENCY.items():
            for length, n in wanted.items():
                missing[length] += share * n
            for word in self.candidates:
                length = len(word)
                if (
                    missing.get(length, 0) >= 0.5
                    and band(self.words[word]) == frequency
                    and fits(word)
                    and not self._index.any(word)
                ):
                    self.chosen.append(word)
                    self._index.add(word)
                    missing[length] -= 1
        if max(missing.values()) >= 0.5:
            raise SystemExit(f"too few evaluation words: still missing {missing}")


def draw_eval(words: Mapping[str, int], candidates: list[str]) -> list[str]:
    draw = Draw(words, candidates)
    draw.take(EVAL_THRICE, thrice)
    draw.take({n: EVAL_BY_LENGTH[n] - EVAL_THRICE.get(n, 0) for n in EVAL_BY_LENGTH}, lambda word: not thrice(word))
    return draw.chosen


def draw_train(words: Mapping[str, int], candidates: list[str], held_out: list[str]) -> list[str]:
    """As many of the candidates as there can be in the frequencies of the held-out words."""
    shares = {key: n / len(held_out) for key, n in Counter(band(words[word]) for word in held_out).items()}
    supply = {key: [word for word in candidates if band(words[word]) == key] for key in shares}
    size = min(len(supply[key]) / share for key, share in shares.items())
    return [word for key, share in shares.items() for word in supply[key][: int(size * share)]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frequencies", type=Path, help="lines of a word and how often it occurs")
    parser.add_argument("--output", type=Path, default=LIST)
    args = parser.parse_args()
    words, base = read_list(LIST)
    if args.frequencies:
        words = zipf(words, args.frequencies)
    sprout = Relatives(base)
    candidates = sorted((word for word in words if word not in base and is_decent(word)), key=order)
    held_out = draw_eval(words, [word for word in candidates if not sprout.any(word)])
    unseen = Relatives(held_out)
    unrelated = [word for word in candidates if not sprout.same_lemma(word) and not unseen.any(word)]
    pools = {"base": base, "eval": held_out, "train": draw_train(words, unrelated, held_out)}
    pool_of = {word: pool for pool, members in pools.items() for word in members}
    rows = [f"{word}\t{words[word]}\t{pool_of.get(word, 'other')}" for word in sorted(words)]
    args.output.write_text("\n".join(["word\tfrequency\tpool", *rows]) + "\n", encoding="ascii")
    print(f"{args.output.name}: {', '.join(f'{len(members)} {pool}' for pool, members in pools.items())}")


if __name__ == "__main__":
    main()
