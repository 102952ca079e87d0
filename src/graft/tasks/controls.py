"""The controls of a study that are made from training examples, and the prompted arm.

Only answers change in a control; ids, prompts and clusters stay.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from graft import errors
from graft.tasks.spelling import SpellingTask
from graft.tasks.words.task import SEPARATORS
from graft.types import Example

LetterPlaces = Callable[[Example], Sequence[int]]
"""Where in an example's answer letters stand; see `graft.tasks.base.Task.letter_places`."""


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """Answer every example with another one's answer: the form is right, the knowledge is wrong.

    A word is spelled as another word of the same length. Of options of each row's own the one at the place of the other
    row's right one is taken, so that labels keep their frequencies. One word or row gets the same wrong answer in all
    its examples.

    Args:
        examples: training examples, of one task or several.
        seed: seeds the assignment.

    Raises:
        DataError: an example is plain text, which has no answer.
    """
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.prompt is None:
            raise errors.DataError(
                f"the arm shuffled exchanges answers, but {example.id} is plain text; drop the arm or the corpus"
            )
        by_task[example.task].append(example)
    wrong = {
        task: _spelled_wrongly(own, seed) if task == SpellingTask.card.name else _answered_wrongly(own, seed)
        for task, own in by_task.items()
    }
    calls = {example.id: example.calls for example in examples}
    return [replace(example, gold=gold, calls=calls.get(other, "")) for example in examples
            for other, gold in [wrong[example.task][example.id]]]  # fmt: skip


def _spelled_wrongly(examples: Sequence[Example], seed: int) -> dict[str, tuple[str, str]]:
    """Nobody's id and each example's answer by id: the letters of another word of equal length.

    A word whose length no other word has gets its own letters in another order; only a word of one repeated letter
    stays as it is.
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
    return {
        example.id: ("", SEPARATORS[str(example.strata["separator"])].join(letters[example.cluster]))
        for example in examples
    }


def _answered_wrongly(examples: Sequence[Example], seed: int) -> dict[str, tuple[str, str]]:
    """Whose answer each example takes over, and that answer, by id: the next one's in a shuffled circle of all."""
    rows = {example.id: example for example in examples}
    order = sorted(rows)
    random.Random(f"shuffled/{seed}/{examples[0].task}").shuffle(order)
    others = {name: order[place - 1] for place, name in enumerate(order)}
    return {name: (other, _taken_over(rows[name], rows[other])) for name, other in others.items()}


def _taken_over(example: Example, other: Example) -> str:
    """The other example's answer, or the option of this one at its place."""
    if not example.options or other.gold in example.options:
        return other.gold
    return example.options[other.options.index(other.gold) % len(example.options)]


def formed(examples: Sequence[Example], seed: int, letter_places: Mapping[str, LetterPlaces]) -> list[Example]:
    """Answer every example at random in exactly the trained form: the right kind of answer, and no skill in it.

    Where an answer is a row of letters, each letter is drawn from those of all such answers, so that length, separators
    and frequencies stay. Every other answer is drawn from those of its task, so that labels and numbers keep their
    frequencies. Each example is drawn for itself, so nothing about a word can be learned either. Plain text stays.

    Args:
        examples: training examples, of one task or several.
        seed: seeds the draws.
        letter_places: the tasks' `letter_places`, by name.
    """
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_task[example.task].append(example)
    rng = random.Random(f"formed/{seed}")
    letters = {
        task: "".join(example.gold[place] for example in own for place in letter_places[task](example))
        for task, own in by_task.items()
    }
    return [_formed(example, by_task[example.task], letters[example.task], letter_places, rng) for example in examples]


def _formed(
    example: Example, own: Sequence[Example], letters: str, places: Mapping[str, LetterPlaces], rng: random.Random
) -> Example:
    if example.prompt is None:
        return example
    if letters:
        gold = list(example.gold)
        for place in places[example.task](example):
            gold[place] = rng.choice(letters)
        return replace(example, gold="".join(gold))
    other = rng.choice(own)
    return replace(example, gold=_taken_over(example, other), reasoning=other.reasoning, calls=other.calls)


def spell_first(example: Example) -> Example:
    """Tell the model to spell the word before it answers, for the prompted arm."""
    return replace(example, prompt=f"Spell the word {example.cluster} first, then answer. {example.prompt}")


def _permuted(word: str, rng: random.Random) -> str:
    if len(set(word)) < 2:
        return word
    letters = list(word)
    while "".join(letters) == word:
        rng.shuffle(letters)
    return "".join(letters)
