"""The shuffled control of the transfer experiment, made from spelling examples, and the prompted arm.

Only `gold` changes in the control; ids, prompts and clusters stay.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from graft import errors
from graft.tasks.words.task import SEPARATORS
from graft.types import Example


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """Give every word the letters of another word of the same length: the form is right, the knowledge is wrong.

    One word gets the same wrong letters in all its examples. A word whose length no other word has gets its own letters
    in another order; only a word of one repeated letter stays as it is.

    Args:
        examples: spelling examples.
        seed: seeds the assignment.

    Raises:
        DataError: an example is not a spelling example.
    """
    by_length: dict[int, list[str]] = {}
    for word in sorted({example.cluster for example in examples}):
        by_length.setdefault(len(word), []).append(word)
    letters: dict[str, str] = {}
    for size, words in by_length.items():
        rng = random.Random(f"shuffled/{seed}/{size}")
        rng.shuffle(words)
        letters |= {word: words[position - 1] for position, word in enumerate(words)}
        if len(words) == 1:
            letters[words[0]] = _permuted(words[0], rng)
    return [replace(example, gold=_separator(example).join(letters[example.cluster])) for example in examples]


def spell_first(example: Example) -> Example:
    """Tell the model to spell the word before it answers, for the prompted arm."""
    return replace(example, prompt=f"Spell the word {example.cluster} first, then answer. {example.prompt}")


def _separator(example: Example) -> str:
    if "separator" not in example.strata:
        raise errors.DataError(
            f"control arms are made from spelling examples, but got {example.id}; train on spelling or drop these arms"
        )
    return SEPARATORS[str(example.strata["separator"])]


def _permuted(word: str, rng: random.Random) -> str:
    if len(set(word)) < 2:
        return word
    letters = list(word)
    while "".join(letters) == word:
        rng.shuffle(letters)
    return "".join(letters)
