"""Bases of the tasks whose answer is one of a few given texts: a label, a letter or an option.

All classification is the generation of a label. A reply is right as it stands when it is the label and nothing more;
leniently, when exactly one of the labels stands in it and it is the right one.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any, ClassVar

from graft.errors import DataError
from graft.tasks.answers.choices import find_label, find_letter
from graft.tasks.base import constant_answer
from graft.tasks.dataset import DatasetTask, Row, same_text
from graft.types import Example, Score, Stratum

LETTERS = "ABCDEFGHIJ"
"""The names of up to ten options."""

UNLABELLED = (None, "", -1, "-1")
"""What stands in the label column of rows whose label is not published."""

_WHOLE = re.compile(r"-?\d+\.0+")
_WORD = re.compile(r"\w+")
_LISTED = re.compile(r"^([A-J])\. (.*)$", re.MULTILINE)
_WORDS = ((16, "1–16 words"), (64, "17–64 words"), (256, "65–256 words"))


class LabelTask(DatasetTask):
    """A task with a closed set of answers, of which every example carries its own in `Example.options`."""

    def parse(self, reply: str, options: Sequence[str]) -> str | None:
        """The one answer that a reply gives, or ``None`` when it gives none or several."""
        return find_label(reply, options)

    def score(self, example: Example, reply: str) -> Score:
        """Judge a reply: the label alone, or leniently the only label in it."""
        answer = self.parse(reply, example.options)
        strict = same_text(reply, example.gold)
        return Score(strict=strict, lenient=strict or answer == example.gold, parsed=answer is not None, answer=answer)

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """These examples' most frequent answer, and an even guess that is the same whenever it is made."""
        return {
            "majority": constant_answer(examples),
            "even guess": [random.Random(example.id).choice(example.options) for example in examples],
        }

    def surface(self, example: Example) -> Mapping[str, str | float]:
        """The words of the prompt, in no order, and their number."""
        words = _WORD.findall((example.prompt or "").lower())
        return {"words": float(len(words)), **{f"word {word}": "there" for word in words}}

    def make(
        self, row: Row, index: int, *, prompt: str, gold: str, options: Sequence[str], strata: Mapping[str, Stratum]
    ) -> Example:
        """An example whose cluster is the content of the row's first column, so that repeated texts stay together."""
        return Example(
            id=f"{self.card.name}/{index}",
            task=self.card.name,
            prompt=prompt,
            gold=gold,
            cluster=digest(row[self.source.columns[0]]),
            strata=strata,
            options=tuple(options),
        )

    def cell(self, row: Row, index: int, column: str) -> Any:
        """One cell of a row.

        Raises:
            DataError: the row has no such column.
        """
        if column not in row:
            raise DataError(f"{self.where(index)}: column {column!r} is missing; it has {', '.join(row)}")
        return row[column]

    def where(self, index: int) -> str:
        """The row, for the beginning of a message."""
        return f"task {self.card.name}, row {index}"


class ClassificationTask(LabelTask):
    """One closed set of labels for all rows.

    A subclass states `labels` in the order of their numbers and a `template` with the columns in braces.
    """

    template: ClassVar[str]
    label_column: ClassVar[str] = "label"

    def example(self, row: Row, index: int) -> Example | None:
        """Fill the template; a row without a label is left out.

        Raises:
            DataError: the label is not in the set, or a column is missing.
        """
        gold = self.label(row, index)
        if gold is None:
            return None
        cells = {name: self.cell(row, index, name) for name in _fields(self.template)}
        strata = {"length": length_bucket(" ".join(map(str, cells.values())))}
        return self.make(
            row, index, prompt=self.template.format_map(cells), gold=gold, options=self.labels, strata=strata
        )

    def label(self, row: Row, index: int) -> str | None:
        """The label of a row, given as its number or its name; ``None`` for a row whose label is not published.

        Raises:
            DataError: it is neither.
        """
        value = self.cell(row, index, self.label_column)
        if value in UNLABELLED:
            return None
        text = label_key(value)
        if text.isdecimal() and int(text) < len(self.labels):
            return self.labels[int(text)]
        named = next((label for label in self.labels if label.lower() == text.lower()), None)
        if named is None:
            known = ", ".join(f"{number} ({label})" for number, label in enumerate(self.labels))
            raise DataError(f"{self.where(index)}: label {value!r} is unknown; known: {known}")
        return named


class OptionsTask(LabelTask):
    """Prompt, answers and the right one's place all stand in the row: ``input``, ``options``, ``gold_index``."""

    def example(self, row: Row, index: int) -> Example | None:
        """Take the row as it is.

        Raises:
            DataError: a column is missing, or `gold_index` is not the place of an option.
        """
        options = [str(option).strip() for option in self.cell(row, index, "options")]
        gold = right_option(self.where(index), options, self.cell(row, index, "gold_index"))
        prompt = str(self.cell(row, index, "input"))
        return self.make(row, index, prompt=prompt, gold=gold, options=options, strata=self.strata(row))

    def strata(self, row: Row) -> Mapping[str, Stratum]:
        """Properties of the row by which results are broken down."""
        return {"length": length_bucket(str(row["input"]))}


class ChoiceTask(LabelTask):
    """Multiple choice: every row has a question and two to ten options of its own, and a letter is the answer."""

    subject_column: ClassVar[str]
    options_column: ClassVar[str]
    answer_column: ClassVar[str]

    def example(self, row: Row, index: int) -> Example | None:
        """Put the options under the question, a letter before each; a row with one option only is left out.

        Raises:
            DataError: a column is missing, there are no options or more than ten, or the answer is not the place of
                one.
        """
        options = [str(option).strip() for option in self.cell(row, index, self.options_column)]
        if len(options) == 1:
            return None  # nothing to choose; MMLU-Pro has such rows
        if not 2 <= len(options) <= len(LETTERS):
            raise DataError(f"{self.where(index)}: expected 2 to {len(LETTERS)} options, but got {len(options)}")
        letters = tuple(LETTERS[: len(options)])
        gold = right_option(self.where(index), letters, self.cell(row, index, self.answer_column))
        subject = str(self.cell(row, index, self.subject_column)).replace("_", " ").strip()
        question = str(self.cell(row, index, "question")).strip()
        about = f" about {subject}" if subject else ""
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))
        prompt = f"Answer this multiple choice question{about} with the letter of the right option.\n\n"
        prompt += f"Question: {question}\n{listed}\nAnswer:"
        strata: dict[str, Stratum] = {"subject": subject, "options": len(options)}
        return self.make(row, index, prompt=prompt, gold=gold, options=letters, strata=strata)

    def parse(self, reply: str, options: Sequence[str]) -> str | None:
        """The letter that a reply gives."""
        return find_letter(reply, options)

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """Also the longest option, which makers of questions are known to spend most care on."""
        return {**super().trivial_answers(examples), "longest option": [_longest(example) for example in examples]}


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, or the NaN that table tools write for it."""
    return value is None or (isinstance(value, float) and isnan(value))


def label_key(value: Any) -> str:
    """A label as the recipe writes it: 1, 1.0, "1" and "1.0" are one label, and so are true and "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    return text.partition(".")[0] if _WHOLE.fullmatch(text) else text


def right_option(where: str, options: Sequence[str], place: Any) -> str:
    """The option at a place that a row names.

    Raises:
        DataError: it is not the place of an option.
    """
    number = int(place) if str(place).strip().isdecimal() else -1
    if not 0 <= number < len(options):
        raise DataError(f"{where}: answer {place!r} is not the place of an option; known: 0 to {len(options) - 1}")
    return options[number]


def length_bucket(text: str) -> str:
    """Length of a text in words, as one of four ranges."""
    words = len(text.split())
    return next((name for limit, name in _WORDS if words <= limit), "over 256 words")


def digest(value: Any) -> str:
    """16 hexadecimal digits that stand for a cell: equal cells have equal ones."""
    return hashlib.blake2b(str(value).encode(), digest_size=8).hexdigest()


def _longest(example: Example) -> str:
    """The letter of the longest option in a prompt of `ChoiceTask`."""
    texts = dict(_LISTED.findall(example.prompt or ""))
    return max(example.options, key=lambda letter: len(texts.get(letter, "")))


def _fields(template: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", template)
