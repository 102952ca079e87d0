"""Rows to measure training speed on: fixed, seeded, the same for every engine and shape.

All ids lie in the embedded model's vocabulary, which every shape contains; with random weights only lengths matter.
"""

from __future__ import annotations

import random
from typing import Final

from graft.data.tokens import encode
from graft.models.tokenizer import load_tokenizer
from graft.tasks.spelling import SpellingTask
from graft.tasks.words.split import package_sets
from graft.types import TokenRow

WORKLOADS: Final = {
    "spell": "real items of the task spelling, cut by the embedded tokenizer",
    "classify": "prompts of 40 to 160 tokens, a label of one token",
    "qa": "prompts of 30 to 200 tokens, answers of 10 to 80",
}

_LENGTHS: Final = {"classify": ((40, 160), (1, 1)), "qa": ((30, 200), (10, 80))}
_IDS: Final = 4000
_END: Final = 4000
_WORDS: Final = 2000
LONGEST: Final = 512
"""No row of any workload has more tokens."""


def workload_rows(name: str, count: int) -> tuple[TokenRow, ...]:
    """The first rows of a workload.

    Args:
        name: one of `WORKLOADS`.
        count: number of rows.
    """
    if name == "spell":
        words = package_sets(train=_WORDS, eval=1, seed=0)
        examples = list(SpellingTask(words).examples("train", limit=count, seed=0))
        return encode(load_tokenizer("sprout"), examples, max_length=LONGEST).rows
    prompt, completion = _LENGTHS[name]
    rng = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.choices(range(_IDS), k=rng.randint(low, high)))

    return tuple(TokenRow(ids(*prompt), (*ids(*completion), _END)) for _ in range(count))
