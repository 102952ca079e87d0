"""Constrained scoring: which answer of a closed set the model finds likeliest, whatever form its replies have.

A model that answers in sentences never writes the bare answer, so its replies say more about style than about skill.
Here it is only asked which of the possible answers it would rather begin with, right after the prompt:

- one letter of 26, a number from 0 to the length of the word, yes or no: the answers are compared by the probability
  that the reply begins with them. An answer that begins a longer one (1 and 10) does not count what goes on to that.
- a spelled word: at every letter's place, given the right letters before it, the 26 letters are compared, and the score
  is the share of places at which the right one is the likeliest.

The end of the turn plays no part. Labels have a scorer of their own, `graft.evals.labels`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from graft.data.tokens import encode
from graft.evals.exact import Probe, Reading
from graft.evals.items import Items
from graft.evals.labels import TAIL, option_ids, score_labels, token_budget
from graft.models.backends.transformers import TransformersBackend
from graft.tasks.words.task import ALPHABET
from graft.types import Example, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = tuple[int, ...]

DIGITS = 6
"""Decimals that are stored of a probability."""

_ANY_LENGTH = 2**31


@dataclass(frozen=True, slots=True)
class Question:
    """How one item is asked.

    Attributes:
        answers: what is compared at every place.
        gold: for each place which of them is right.
        probes: for each place the token of every answer; empty where answers are longer than a token.
        options: the token ids of every answer, where they are longer.
    """

    answers: tuple[str, ...]
    gold: tuple[int, ...]
    probes: tuple[Probe, ...] = ()
    options: tuple[Tokens, ...] = ()


def questions(tokenizer: PreTrainedTokenizerBase, items: Items) -> tuple[Question | None, ...]:
    """How every item is asked; ``None`` for one whose answers are open, are labels, or look alike to the tokenizer."""
    if not items.rows or not items.examples:
        return (None,) * len(items.examples)
    if any(items.task.letter_places(example) for example in items.examples):
        return _spelled(tokenizer, items)
    answers = [() if example.options else items.task.answers(example) for example in items.examples]
    asked = [example.gold in of_item for example, of_item in zip(items.examples, answers, strict=True)]
    known = option_ids(tokenizer, items, [of if good else () for of, good in zip(answers, asked, strict=True)])
    return tuple(
        _closed(of_item, example.gold, ids) if good else None
        for example, of_item, ids, good in zip(items.examples, answers, known, asked, strict=True)
    )


def _closed(answers: tuple[str, ...], gold: str, ids: tuple[Tokens, ...]) -> Question | None:
    if len(answers) < 2 or len(set(ids)) < len(ids):
        return None
    right = (answers.index(gold),)
    if all(len(tokens) == 1 for tokens in ids):
        return Question(answers, right, probes=(Probe(0, tuple(token for (token,) in ids)),))
    return Question(answers, right, options=ids)


def _spelled(tokenizer: PreTrainedTokenizerBase, items: Items) -> tuple[Question | None, ...]:
    """Letter by letter, where the tokens of every letter can be told from those around it."""
    places = [items.task.letter_places(example) for example in items.examples]
    kinds: dict[tuple[Tokens, str], Example] = {}
    keys = []
    for example, of_item, row in zip(items.examples, places, items.rows, strict=True):
        between = example.gold[of_item[0] + 1 : of_item[1]] if len(of_item) > 1 else ""
        keys.append((row.prompt[-TAIL:], between))
        kinds.setdefault(keys[-1], example)
    tables = {key: _letter_tokens(tokenizer, items, example, key[1]) for key, example in kinds.items()}
    return tuple(
        _row_of_letters(example, of_item, row, *tables[key])
        for example, of_item, row, key in zip(items.examples, places, items.rows, keys, strict=True)
    )


def _letter_tokens(
    tokenizer: PreTrainedTokenizerBase, items: Items, example: Example, between: str
) -> tuple[tuple[Tokens, ...], tuple[Tokens, ...]]:
    """The tokens of every letter as the first of an answer, and of what is between with the letter that follows it."""
    texts = [*ALPHABET, *(f"{ALPHABET[0]}{between}{letter}" for letter in ALPHABET)]
    asked = [replace(example, gold=text) for text in texts]
    rows = encode(tokenizer, asked, max_length=_ANY_LENGTH, policy=items.policy, think=items.think).rows
    ids = [row.completion[:-1] for row in rows]
    first, two = tuple(ids[: len(ALPHABET)]), ids[len(ALPHABET) :]
    return first, tuple(tokens[len(first[0]) :] for tokens in two)


def _row_of_letters(
    example: Example, places: Sequence[int], row: TokenRow, first: Sequence[Tokens], further: Sequence[Tokens]
) -> Question | None:
    """The probes of one spelled word; ``None`` when its letters do not each have a token of their own."""
    letters = [example.gold[place] for place in places]
    if not letters or not set(letters) <= set(ALPHABET) or not _apart(first) or not _apart(further):
        return None
    gold = tuple(ALPHABET.index(letter) for letter in letters)
    parts = [(first if number == 0 else further)[letter] for number, letter in enumerate(gold)]
    if sum(parts, ()) != row.completion[:-1]:
        return None
    probes = []
    before = 0
    for number, part in enumerate(parts):
        before += len(part)
        probes.append(Probe(before - 1, tuple(tokens[-1] for tokens in (first if number == 0 else further))))
    return Question(tuple(ALPHABET), gold, probes=tuple(probes))


def _apart(of_letters: Sequence[Tokens]) -> bool:
    """Whether letters differ in their last token and in nothing else."""
    starts = {tokens[:-1] for tokens in of_letters}
    return len(starts) == 1 and len(set(of_letters)) == len(of_letters) and all(of_letters)


def constrained_fields(
    backend: TransformersBackend, items: Items, asked: Sequence[Question | None], readings: Sequence[Reading]
) -> list[dict[str, Any]]:
    """The fields of every item's record.

    Args:
        backend: the model, for answers of several tokens.
        items: the items.
        asked: their `questions`.
        readings: what one pass over the gold answers told, with the probes of those questions.

    Returns:
        Per item ``constrained`` (whether the likeliest answer is right, or the share of letters), the likeliest
        answer as ``constrained_answer`` and the probability of the right one among all as ``constrained_gold`` (over
        letters the mean); nothing for an item without a question.
    """
    longer = [index for index, question in enumerate(asked) if question is not None and question.options]
    scores: dict[int, list[tuple[float, ...]]] = {
        index: list(readings[index].logits) for index, question in enumerate(asked) if question is not None
    }
    scores |= dict(zip(longer, _score_longer(backend, items, longer, asked), strict=True))
    return [{} if question is None else _fields(question, scores[index]) for index, question in enumerate(asked)]


def _score_longer(
    backend: TransformersBackend, items: Items, chosen: Sequence[int], asked: Sequence[Question | None]
) -> list[list[tuple[float, ...]]]:
    """Log-probabilities that a reply begins with each answer and with none that goes on from it."""
    options = [question.options for index in chosen if (question := asked[index]) is not None]
    read = [(*of_item, *going_on(of_item)) for of_item in options]
    found = score_labels(
        backend.model,
        [items.rows[index].prompt for index in chosen],
        read,
        pad_id=int(backend.tokenizer.pad_token_id or 0),
        token_budget=token_budget(backend.model),
        allowed=backend.allowed,
    )
    known = [dict(zip(tokens, values, strict=True)) for tokens, values in zip(read, found, strict=True)]
    return [
        [tuple(_ended(tokens, going_on(of_item), of_known) for tokens in of_item)]
        for of_item, of_known in zip(options, known, strict=True)
    ]


@lru_cache(maxsize=1024)
def going_on(options: tuple[Tokens, ...]) -> tuple[Tokens, ...]:
    """What goes on from an answer towards a longer one, one token further than the shorter."""
    pairs = ((short, long) for short in options for long in options if len(long) > len(short))
    return tuple(dict.fromkeys(long[: len(short) + 1] for short, long in pairs if long[: len(short)] == short))


def _ended(tokens: Tokens, further: Sequence[Tokens], known: Mapping[Tokens, float]) -> float:
    """The log-probability of an answer less that of going on to a longer one."""
    goes_on = sum(math.exp(known[longer] - known[tokens]) for longer in further if longer[:-1] == tokens)
    return known[tokens] + (math.log1p(-goes_on) if goes_on < 1 else -math.inf)


def _fields(question: Question, scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    best = [max(range(len(of_place)), key=of_place.__getitem__) for of_place in scores]
    right = [place == gold for place, gold in zip(best, question.gold, strict=True)]
    sure = [_share(of_place, gold) for of_place, gold in zip(scores, question.gold, strict=True)]
    spelled = len(question.gold) > 1
    return {
        "constrained": sum(right) / len(right) if spelled else right[0],
        "constrained_answer": "".join(question.answers[place] for place in best),
        "constrained_gold": round(sum(sure) / len(sure), DIGITS),
    }


def _share(scores: Sequence[float], chosen: int) -> float:
    """The softmax of one of them."""
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    return weights[chosen] / sum(weights)
