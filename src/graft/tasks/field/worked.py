r"""Benchmarks whose answer is read out of a written solution: GSM8K and MMLU-Pro, after worked solutions.

One request of GSM8K, after eight worked problems: ``…Q: A robe takes 2 bolts of blue fiber and half that much white
fiber.  How many bolts in total does it take?\nA:``. Replies are greedy and end before the next question.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from graft.errors import DataError
from graft.tasks.answers.numbers import MARKER
from graft.tasks.base import TaskCard, constant_answer
from graft.tasks.dataset import Row
from graft.tasks.field.base import FieldTask, first_of
from graft.tasks.field.exemplars import WORKED_PROBLEMS
from graft.tasks.labels import LETTERS, digest, right_option
from graft.types import Example, Score

WORKED = 5
"""Worked examples before a question of MMLU-Pro."""

NOTHING = "[invalid]"
"""What stands for an answer that was not found; it is never right."""

_STATED = re.compile(r"The answer is (\-?[0-9\.\,]+).")
_NUMBERS = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_LETTER = re.compile(r"answer is \(?([ABCDEFGHIJ])\)?")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_STEPS = "Let's think step by step."


class FieldSolution(FieldTask):
    """A benchmark whose replies hold a solution and an answer."""

    said = "The answer is {}."
    """How a solution ends."""

    @classmethod
    def field_card(cls, name: str, card: TaskCard) -> TaskCard:
        """The card of a task whose answers are looked for in replies."""
        return replace(card, metric="lenient", kind="answer")

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """The most frequent answer, said as a solution says it."""
        return {"most frequent answer": [self.said.format(answer) for answer in constant_answer(examples)]}


class FieldGsm8k(FieldSolution):
    """GSM8K after eight worked problems.

    ``strict`` is the harness' *strict-match* (the number after "The answer is"), ``lenient`` its *flexible-extract*
    (the last number of the reply). Source: Wei et al. 2022, "Chain-of-Thought Prompting Elicits Reasoning in Large
    Language Models", appendix G.
    """

    written = 256
    until = ("Q:", "</s>", "<|im_end|>")

    def example(self, row: Row, index: int) -> Example | None:
        """The problem after the worked ones, and its final number."""
        known = self.task.example(row, index)
        if known is None:
            return None
        gold = known.gold.rpartition(MARKER)[2].strip()
        return replace(known, prompt=f"{_PROBLEMS}Q: {row['question']}\nA:", gold=gold)

    def score(self, example: Example, reply: str) -> Score:
        """Compare both numbers, less commas, dollars and the last full stop."""
        stated, numbers = _STATED.findall(reply), _NUMBERS.findall(reply)
        first = stated[0].strip() if stated else NOTHING
        last = next(part for part in numbers[-1] if part).strip() if numbers else NOTHING
        gold = _number(example.gold)
        answer = last if numbers else None
        return Score(_number(first) == gold, _number(last) == gold, parsed=bool(numbers), answer=answer)


class FieldMmluPro(FieldSolution):
    """MMLU-Pro after five worked questions of its category; the letter after "answer is" counts."""

    written = 2048
    until = ("Question:",)
    said = "The answer is ({})."

    def example(self, row: Row, index: int) -> Example:
        """The question after the worked ones of its category, and its letter."""
        category = str(row["category"])
        gold = right_option(f"task {self.card.name}, row {index}", LETTERS[: len(row["options"])], row["answer_index"])
        return Example(
            id=f"{self.card.name}/{index}",
            task=self.card.name,
            prompt=self._opening(category) + _listed(row),
            gold=gold,
            cluster=digest(row["question"]),
            strata={"subject": category, "options": len(row["options"])},
        )

    def score(self, example: Example, reply: str) -> Score:
        """The first letter that the reply states."""
        found = _LETTER.findall(reply)
        answer = found[0] if found else NOTHING
        right = _bare(answer) == _bare(example.gold)
        return Score(right, right, parsed=bool(found), answer=answer if found else None)

    def _opening(self, category: str) -> str:
        """What all questions of a category begin with.

        Raises:
            DataError: there are too few worked examples, or they hold no solutions.
        """
        if category not in self._openings:
            rows = first_of(self._by_category[category], WORKED, f"task {self.card.name}, category {category}")
            head = (
                f"The following are multiple choice questions (with answers) about {category}. Think step by step and "
                'then finish your answer with "the answer is (X)" where X is the correct letter choice.\n'
            )
            self._openings[category] = head + "".join(f"{_listed(row)} {self._solution(row)}\n\n" for row in rows)
        return self._openings[category]

    def _solution(self, row: Row) -> str:
        if not row.get("cot_content"):
            raise DataError(
                f"task {self.card.name}: a worked example has no cot_content, the solution that the field shows; train "
                "on the validation rows of the benchmark, or set data.prompt_style: instruct"
            )
        return str(row["cot_content"]).replace(f"A: {_STEPS} ", "")

    @cached_property
    def _openings(self) -> dict[str, str]:
        return {}

    @cached_property
    def _by_category(self) -> Mapping[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.worked():
            found[str(row["category"])].append(row)
        return found


_PROBLEMS = "".join(f"Q: {asked}\nA: {solution}\n\n" for asked, solution in WORKED_PROBLEMS)


def _listed(row: Row) -> str:
    """A question over its options, up to the place where a solution begins."""
    options = "".join(f"{LETTERS[place]}. {str(option).strip()}\n" for place, option in enumerate(row["options"]))
    return f"Question:\n{row['question']}\nOptions:\n{options}Answer: {_STEPS}"


def _number(text: str) -> str:
    return text.replace(",", "").replace("$", "").removesuffix(".")


def _bare(text: str) -> str:
    return text.lower().translate(_NO_PUNCTUATION)
