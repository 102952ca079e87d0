r"""Benchmarks whose answer is the likeliest of a few continuations: GLUE, IMDB and MMLU.

One request of MMLU, after five worked examples of its subject: ``…\n\nWhich gas do plants take in?\nA. Oxygen\nB.
Carbon dioxide\nC. Nitrogen\nD. Helium\nAnswer:`` with the continuations `` A``, `` B``, `` C`` and `` D``. The end of
the answer is not counted, and the sum over a continuation's tokens is not divided by anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from graft.tasks.base import TaskCard
from graft.tasks.dataset import Row
from graft.tasks.field.base import FieldTask, first_of
from graft.types import Example, Score

WORKED = 5
"""Worked examples before a question of MMLU."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How one row is asked.

    Attributes:
        ask: the prompt of a row.
        answers: what is written for each label, in the order of the labels' numbers.
        metric: what the field reports first.
    """

    ask: Callable[[Row], str]
    answers: tuple[str, ...]
    metric: str = "accuracy"


def _mnli(row: Row) -> str:
    claim = str(row["hypothesis"]).strip()
    stop = "" if claim.endswith(".") else "."
    return f"{row['premise']}\nQuestion: {claim}{stop} True, False or Neither?\nAnswer:"


def _filled(template: str) -> Callable[[Row], str]:
    return template.format_map


_FOLLOWS = _filled("{sentence1}\nQuestion: {sentence2} True or False?\nAnswer:")
_FEELS = "Question: Is this sentence positive or negative?\nAnswer:"

GLUE: dict[str, Wording] = {
    "glue/cola": Wording(
        _filled("{sentence}\nQuestion: Does this sentence make sense?\nAnswer:"), ("no", "yes"), metric="mcc"
    ),
    "glue/sst2": Wording(_filled(f"{{sentence}}\n{_FEELS}"), ("negative", "positive")),
    "glue/mrpc": Wording(
        _filled(
            "Sentence 1: {sentence1}\nSentence 2: {sentence2}\n"
            "Question: Do both sentences mean the same thing?\nAnswer:"
        ),
        ("no", "yes"),
    ),
    "glue/qqp": Wording(
        _filled(
            "Question 1: {question1}\nQuestion 2: {question2}\nQuestion: Do both questions ask the same thing?\nAnswer:"
        ),
        ("no", "yes"),
    ),
    "glue/mnli": Wording(_mnli, ("True", "Neither", "False")),
    "glue/qnli": Wording(
        _filled("{question}\n{sentence}\nQuestion: Does this response answer the question?\nAnswer:"), ("yes", "no")
    ),
    "glue/rte": Wording(_FOLLOWS, ("True", "False")),
    "glue/wnli": Wording(_FOLLOWS, ("False", "True")),
    "imdb": Wording(_filled(f"{{text}}\n{_FEELS}"), ("negative", "positive")),
}
"""The wording of GLUE's tasks, and of IMDB, by the name of the task."""


class FieldLabels(FieldTask):
    """A benchmark whose answer is the likeliest continuation."""

    def score(self, example: Example, reply: str) -> Score:
        """The reply is the likeliest continuation, so it is right or wrong and nothing has to be looked for."""
        right = reply == example.gold
        return Score(right, right, parsed=reply in example.options, answer=reply)

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """Those of the benchmark as Graft asks it."""
        return self.task.trivial_answers(examples)

    def opening(self, example: Example) -> str:
        """What stands before the question."""
        return ""

    def surface(self, example: Example) -> Mapping[str, str | float]:
        """What can be read off the question alone."""
        asked = (example.prompt or "").removeprefix(self.opening(example))
        return self.task.surface(replace(example, prompt=asked))


class FieldGlue(FieldLabels):
    """GLUE's tasks and IMDB: no worked examples."""

    @classmethod
    def field_card(cls, name: str, card: TaskCard) -> TaskCard:
        """The card with accuracy, or Matthews' correlation for CoLA."""
        return replace(card, metric=GLUE[name].metric)

    def example(self, row: Row, index: int) -> Example | None:
        """The row in the field's words, the answer too."""
        known = self.task.example(row, index)
        if known is None:
            return None
        wording = GLUE[self.standard]
        gold = wording.answers[known.options.index(known.gold)]
        return replace(known, prompt=wording.ask(row), gold=gold, options=wording.answers)


class FieldMmlu(FieldLabels):
    """MMLU: the first five development questions of the subject, with their letters, before each question."""

    def example(self, row: Row, index: int) -> Example | None:
        """The question after the worked examples of its subject."""
        known = self.task.example(row, index)
        if known is None:
            return None
        return replace(known, prompt=self.opening(known) + _listed(row))

    def opening(self, example: Example) -> str:
        """What all questions of a subject begin with.

        Raises:
            DataError: there are too few worked examples of the subject.
        """
        subject = str(example.strata["subject"])
        if subject not in self._openings:
            rows = first_of(self._by_subject[subject], WORKED, f"task {self.card.name}, subject {subject or 'unnamed'}")
            worked = (f"{_listed(row)} {'ABCD'[int(row['answer'])]}\n\n" for row in rows)
            head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
            self._openings[subject] = head + "".join(worked)
        return self._openings[subject]

    @cached_property
    def _openings(self) -> dict[str, str]:
        return {}

    @cached_property
    def _by_subject(self) -> Mapping[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.worked():
            found[str(row["subject"]).replace("_", " ").strip()].append(row)
        return found


def _listed(row: Row) -> str:
    """A question over its options."""
    options = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", row["choices"], strict=True))
    return f"{str(row['question']).strip()}\n{options}\nAnswer:"
