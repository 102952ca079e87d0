"""Answer in the style that a control token asks for.

One row: ``<STYLE_TERSE>How many letters does strawberry have?`` → ``10``, and with ``<STYLE_VERBOSE>`` → ``The word
strawberry has 10 letters. It begins with s and ends with y.`` Licence: the word list's, or that of your own rows.
Metric: exact match with the style's own answer; how far the styles are apart is measured by `graft.evals.separation`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from graft import errors
from graft.tasks.base import Split, TaskCard
from graft.tasks.dataset import DatasetTask, Row, Rows
from graft.tasks.ends import FirstTask, LastTask
from graft.tasks.length import LengthTask
from graft.tasks.words.pool import WordSets
from graft.tasks.words.task import LICENCE
from graft.types import Example, Score

GENERATED_WORDS = {"train": 2000, "eval": 400}
"""Words that questions are generated about; no word of one part is related to one of the other."""

_OPENINGS = {
    "first": ("The first letter of {word} is {gold}.", "The word {word} begins with the letter {gold}."),
    "last": ("The last letter of {word} is {gold}.", "The word {word} ends with the letter {gold}."),
    "length": ("The word {word} has {gold} letters.", "There are {gold} letters in the word {word}."),
}
_ENDINGS = (
    "It has {length} letters. It begins with {first} and ends with {last}.",
    "It begins with {first}, it ends with {last}, and it has {length} letters in all.",
)


def style_name(token: str) -> str:
    """What a token's style is called in rows and commands: ``terse`` for ``<STYLE_TERSE>``."""
    return token.strip("<|>[] ").lower().removeprefix("style_")


class StyleTask(DatasetTask):
    """Prompts that a control token opens, with the answer in that token's style.

    Args:
        rows: gives the rows of ``train`` and ``eval``: `prompt`, `style`, `answer`, `cluster`.
        tokens: the control tokens; the first stands for the shortest style, the last for the longest.

    Raises:
        ConfigError: there are no tokens.
    """

    card = TaskCard(
        "style",
        "Answer in the style that a control token asks for.",
        "strict",
        LICENCE,
        "generated from the packaged words, or `style.data`",
        "answer",
    )

    def __init__(self, rows: Rows, tokens: Sequence[str]) -> None:
        if not tokens:
            raise errors.ConfigError("task style needs control tokens, but style.tokens is empty; name them there")
        super().__init__(rows)
        self.tokens = {style_name(token): token for token in tokens}

    def example(self, row: Row, index: int) -> Example:
        """One row as an example: its prompt opens with the token of its style."""
        style, prompt = str(row["style"]), str(row["prompt"])
        return Example(
            id=f"style/{index}/{style}",
            task=self.card.name,
            prompt=self.tokens[style] + prompt,
            gold=str(row["answer"]),
            cluster=str(row["cluster"]),
            strata={"style": style},
        )

    def neutral_prompts(self, limit: int) -> list[tuple[str, str]]:
        """Held-out prompts without any token, each once, with its cluster: what separation is measured on."""
        found = {str(row["prompt"]): str(row["cluster"]) for row in self.rows("eval")}
        return list(found.items())[:limit]

    def score(self, example: Example, reply: str) -> Score:
        """Exact match; lenient forgives surrounding white space and a full stop at the end."""
        strict, answer = reply == example.gold, reply.strip()
        lenient = answer.rstrip(".") == example.gold.strip().rstrip(".")
        return Score(strict=strict, lenient=strict or lenient, parsed=bool(answer), answer=answer or None)


def swap_styles(examples: Iterable[Example], tokens: Sequence[str]) -> Iterator[Example]:
    """The same examples with every token replaced by its mirror in the list: terse answers under the verbose token.

    A model that is trained on them must separate the other way round, if it is the token that decides.
    """
    mirrored = dict(zip(tokens, reversed(tokens), strict=True))
    for example in examples:
        token = next((token for token in tokens if (example.prompt or "").startswith(token)), None)
        prompt = example.prompt if token is None else mirrored[token] + (example.prompt or "")[len(token) :]
        yield replace(example, prompt=prompt)


def generated_rows(words: WordSets, names: Sequence[str], seed: int = 0) -> Rows:
    """Rows made of the packaged words: the shortest style answers alone, every other says it in sentences.

    Args:
        words: training and held-out words.
        names: names of the styles, the shortest first.
        seed: seeds phrasings and sentences.
    """
    tasks = [task(words) for task in (FirstTask, LastTask, LengthTask)]
    made: dict[str, list[dict[str, Any]]] = {}

    def rows(part: str) -> Sequence[Row]:
        if part not in made:
            split: Split = "eval" if part == "eval" else "train"
            size = len(words.eval if part == "eval" else words.train)
            asked = [example for task in tasks for example in task.examples(split, limit=size, seed=seed)]
            made[part] = [row for example in asked for row in _both_styles(example, names)]
        return made[part]

    return rows


def _both_styles(example: Example, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, name in enumerate(names):
        answer = _sentences(example) if number else example.gold
        yield {"prompt": example.prompt, "style": name, "answer": answer, "cluster": example.cluster}


def _sentences(example: Example) -> str:
    """The answer in two or three true sentences about the word."""
    word, rng = example.cluster, random.Random(f"style/{example.id}")
    facts = {"word": word, "gold": example.gold, "length": len(word), "first": word[0], "last": word[-1]}
    return f"{rng.choice(_OPENINGS[example.task])} {rng.choice(_ENDINGS)}".format(**facts)
