"""Build ``src/graft/tasks/words/words.tsv`` from SCOWL: ``python scripts/build_wordlist.py /usr/share/dict/scowl``.

Every choice is a hash of the word and a fixed salt, so the same SCOWL release gives the same file. The evaluation words
are drawn first, spread over lengths and rich in repeated letters; whatever is related to one of them is left out of the
base and training pools, which in turn share no word and no lemma with each other. The pool ``other`` holds the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections import Counter
from pathlib import Path

from graft.tasks.words.relations import Relatives, stems, substrings

SIZES = (10, 20, 35, 40, 50, 55, 60)
SALT = "graft words 1"
OUTPUT = Path(__file__).parent.parent / "src" / "graft" / "tasks" / "words" / "words.tsv"

EVAL_BY_LENGTH = {4: 150, 5: 220, 6: 310, 7: 330, 8: 350, 9: 350, 10: 330, 11: 300, 12: 260}
EVAL_THRICE = {6: 20, 7: 50, 8: 100, 9: 150, 10: 170, 11: 190, 12: 180}
"""Of these, so many have a letter that occurs three times or more."""
MOST_RELATIVES = 40
"""A word contained in more words than this is no evaluation word: it would cost too much of the training pool."""
TRAIN_WORDS = 12_500
BASE_WORDS = 12_500

_EVERYWHERE = frozenset(re.findall(r"\w+", "bitch bugger cunt fuck nigger orgasm porn shit slut wank whore"))
"""Left out wherever they occur in a word."""
_ALONE = frozenset(
    re.findall(
        r"\w+",
        """
        anal anus arse bastard bollock boob cock coon crap dago dick dildo dyke fag gook homo jizz kike knob nazi negro
        nigga orgies orgy paki penis piss poof prick pube pussy queer rape raping rapist retard scrot semen sex spastic
        sperm spic spunk tits titties tosser turd twat vagina wog wop
        """,
    )
)
"""Left out with their inflections."""


def order(word: str, purpose: str) -> bytes:
    return hashlib.sha256(f"{SALT}/{purpose}/{word}".encode()).digest()


def offensive(word: str) -> bool:
    return any(part in word for part in _EVERYWHERE) or bool(stems(word) & _ALONE)


def read_scowl(folder: Path) -> dict[str, int]:
    ranks: dict[str, int] = {}
    for size in SIZES:
        text = (folder / f"english-words.{size}").read_text(encoding="latin-1")
        for word in re.findall(r"^[a-z]{4,12}$", text, flags=re.MULTILINE):
            if not offensive(word):
                ranks.setdefault(word, size)
    return ranks


def thrice(word: str) -> bool:
    return max(Counter(word).values()) >= 3


def choose_eval(ranks: dict[str, int]) -> list[str]:
    contained = Counter(part for word in ranks for part in substrings(word))
    chosen: list[str] = []
    index = Relatives()
    for wants_thrice in (True, False):
        left = (
            dict(EVAL_THRICE)
            if wants_thrice
            else {n: EVAL_BY_LENGTH[n] - EVAL_THRICE.get(n, 0) for n in EVAL_BY_LENGTH}
        )
        for word in sorted(ranks, key=lambda word: order(word, "eval")):
            if (
                left.get(len(word), 0)
                and thrice(word) == wants_thrice
                and contained[word] <= MOST_RELATIVES
                and not index.any(word)
            ):
                chosen.append(word)
                index.add(word)
                left[len(word)] -= 1
        if any(left.values()):
            raise SystemExit(f"too few evaluation words: still missing {left}")
    return chosen


def choose_training(ranks: dict[str, int], held_out: Relatives) -> tuple[list[str], list[str]]:
    pools: tuple[list[str], list[str]] = ([], [])
    indexes = (Relatives(), Relatives())
    for word in sorted(ranks, key=lambda word: order(word, "pool")):
        if held_out.any(word):
            continue
        root = min(stems(word), key=lambda stem: (len(stem), stem))
        first = order(root, "side")[0] % 2
        for side in (first, 1 - first):
            if len(pools[side]) < (BASE_WORDS, TRAIN_WORDS)[side] and not indexes[1 - side].lemma(word):
                pools[side].append(word)
                indexes[side].add(word)
                break
    return pools


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scowl", type=Path, help="folder with english-words.10 … english-words.60")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    ranks = read_scowl(args.scowl)
    held_out = choose_eval(ranks)
    base, train = choose_training(ranks, Relatives(held_out))
    taken = {*base, *train, *held_out}
    pools = {"base": base, "train": train, "eval": held_out, "other": [word for word in ranks if word not in taken]}
    rows = [(word, pool) for pool, words in pools.items() for word in words]
    lines = ["word\trank\tpool", *(f"{word}\t{ranks[word]}\t{pool}" for word, pool in sorted(rows))]
    args.output.write_text("\n".join(lines) + "\n", encoding="ascii")
    size = args.output.stat().st_size
    print(f"{args.output.name}: {', '.join(f'{len(words)} {pool}' for pool, words in pools.items())}, {size} bytes")


if __name__ == "__main__":
    main()
