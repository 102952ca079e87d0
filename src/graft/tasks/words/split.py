"""Which words are trained on and which are held out: decided word by word, by a hash, never by position in a list."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from graft import errors
from graft.tasks.words.pool import Word, WordSets, package_words
from graft.tasks.words.relations import Relatives, stems


def split_words(words: Iterable[Word], *, train: int, eval: int, seed: int, source: str = "words") -> WordSets:
    """Split candidate words into training and held-out words that are unrelated.

    A word's side depends on the seed and its shortest stem alone, so inflections go together and adding words to the
    list never moves a word from one side to the other. The share of stems held out is ``eval / (train + eval)``.
    Training candidates related to a chosen held-out word are dropped and counted.

    Args:
        words: candidates; case variants count as one word.
        train: how many training words are wanted, at least 1.
        eval: how many held-out words are wanted, at least 1.
        seed: seeds the hash.
        source: where the words come from, kept in the result.

    Raises:
        DataError: too few words are left on one side.
    """
    if train < 1 or eval < 1:
        raise errors.DataError(f"a split needs at least 1 word on each side, but got train={train} and eval={eval}")
    unique = {word.text.casefold(): word for word in words}
    ordered = sorted(unique.values(), key=lambda word: _hash(seed, "order", word.text))
    share = eval / (train + eval)
    held_out = [word for word in ordered if _held_out(word, seed, share)][:eval]
    candidates = [word for word in ordered if not _held_out(word, seed, share)]
    relatives = Relatives(word.text for word in held_out)
    related = {word: found[0] for word in candidates if (found := relatives.first(word.text)) is not None}
    kept = [word for word in candidates if word not in related]
    if len(held_out) < eval or len(kept) < train:
        raise errors.DataError(
            f"{source}: {len(unique)} different words give {len(kept)} training words ({len(related)} more are related "
            f"to a held-out word) and {len(held_out)} held-out words, but {train} and {eval} are wanted; "
            "add words or ask for fewer"
        )
    return WordSets(train=tuple(kept[:train]), eval=tuple(held_out), source=source, dropped=Counter(related.values()))


def package_sets(train: int = 9000, eval: int = 2000, *, seed: int) -> WordSets:
    """Sample training and held-out words from the pools of the packaged list, which are unrelated by construction.

    Args:
        train: how many training words.
        eval: how many held-out words.
        seed: seeds the choice; a larger number with the same seed keeps every word of a smaller one.

    Raises:
        DataError: a pool has fewer words.
    """
    return WordSets(train=sample_words("train", train, seed), eval=sample_words("eval", eval, seed))


def sample_words(pool: str, n: int, seed: int) -> tuple[Word, ...]:
    """Sample words of one pool of the packaged list, by hash.

    Args:
        pool: ``base``, ``train`` or ``eval``.
        n: how many.
        seed: seeds the choice; a larger `n` keeps every word of a smaller one.

    Raises:
        DataError: the pool has fewer words.
    """
    words: Sequence[Word] = package_words(pool)
    if not 0 < n <= len(words):
        raise errors.DataError(
            f"the packaged list has {len(words)} {pool} words, but {n} are wanted; "
            f"ask for 1 to {len(words)} or give a word file"
        )
    return tuple(sorted(words, key=lambda word: _hash(seed, pool, word.text))[:n])


def _held_out(word: Word, seed: int, share: float) -> bool:
    root = min(stems(word.text), key=lambda stem: (len(stem), stem))
    return int.from_bytes(_hash(seed, "side", root), "big") < share * 2**64


def _hash(seed: int, purpose: str, text: str) -> bytes:
    return hashlib.blake2b(f"{purpose}/{seed}/{text.casefold()}".encode(), digest_size=8).digest()
