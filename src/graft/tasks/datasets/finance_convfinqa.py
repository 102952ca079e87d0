"""ConvFinQA: conversations about a page of an annual report, whose answers are numbers.

One row of the hub, one turn with all that came before it in its prompt: ``{"id": 0, "input": "stock-based awards under
the plan … what was the weighted average exercise price per share in 2007?", "label": "60.94"}``. One row of the
original release, a whole conversation: ``{"id": "Single_MRO/2007/page_134.pdf-1", "doc": {"pre_text": …, "table":
{"2007": {"expected life in years": 5.0, …}, …}, "post_text": …}, "dialogue": {"conv_questions": […], "conv_answers":
["60.94", "25.14", "35.80", "25.14", "142.4%"], …}}``; each turn becomes one item with the earlier turns as its history.
Licence: MIT. Splits: test alone, a tenth held out. Metric: share of answers within 1%. Turns of one conversation are
one cluster.

Source: Chen et al. 2022, "ConvFinQA: Exploring the Chain of Numerical Reasoning in Conversational Finance Question
Answering", section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graft.tasks.answers.numbers import score_number
from graft.tasks.base import TaskCard
from graft.tasks.dataset import DatasetTask, HubSource, Row, Rows
from graft.tasks.labels import digest
from graft.tasks.question import spread
from graft.types import Example, Message, Score

PAGE = 600
"""Characters by which the turns of one page are told on the hub, whose rows do not name it."""


class FinanceConvFinQaTask(DatasetTask):
    """Turns of conversations about annual reports."""

    card = TaskCard(
        "finance-tasks/convfinqa",
        "Answer a turn of a conversation about an annual report with a number.",
        "lenient",
        "MIT",
        "AdaptLLM/finance-tasks",
        "answer",
        "1,490 test",
    )
    source = HubSource("AdaptLLM/finance-tasks", config="ConvFinQA", train="test", columns=("input", "label"))
    original = ("id", "doc", "dialogue")

    def __init__(self, rows: Rows) -> None:
        super().__init__(spread(_apart(rows), turns))

    def example(self, row: Row, index: int) -> Example:
        """One turn, with the turns before it."""
        name = f"{self.card.name}/{row.get('id', index)}"
        if "input" in row:
            prompt, gold = str(row["input"]).strip(), str(row["label"]).strip()
            return Example(name, self.card.name, prompt, gold, cluster=_page(row))
        turn = int(row["turn"])
        return Example(
            id=f"{name}/{turn + 1}",
            task=self.card.name,
            prompt=_asked(row, turn),
            gold=str(row["answers"][turn]).strip(),
            cluster=str(row["id"]),
            strata={"turn": turn + 1},
            history=tuple(_history(row, turn)),
        )

    def score(self, example: Example, reply: str) -> Score:
        """Compare the numbers, which the release rounds, with a tolerance of 1%; *yes* and *no* by word."""
        return score_number(example.gold, reply, rounded=True)


def _apart(rows: Rows) -> Rows:
    """The same rows, less the training rows whose page is held out: a turn's prompt answers the turns before it."""

    def part(name: str) -> Sequence[Row]:
        if name == "eval":
            return rows(name)
        held_out = {_page(row) for row in rows("eval")}
        return [row for row in rows(name) if _page(row) not in held_out]

    return part


def _page(row: Row) -> str:
    return digest(str(row["input"])[:PAGE]) if "input" in row else str(row["id"])


def turns(row: Row) -> Iterator[Row]:
    """The turns of a conversation; a row of the hub is one turn already."""
    if "input" in row:
        yield row
        return
    page, dialogue = row["doc"], row["dialogue"]
    text = "\n\n".join(part for part in (page["pre_text"], render_table(page["table"]), page["post_text"]) if part)
    for turn in range(len(dialogue["conv_questions"])):
        yield {
            "id": row["id"],
            "turn": turn,
            "page": text,
            "questions": dialogue["conv_questions"],
            "answers": dialogue["conv_answers"],
        }


def render_table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """A table, given by column and row name, as lines with bars between the cells."""
    heads = list(columns)
    names: Sequence[str] = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = [("", *heads), *((name, *(str(columns[head].get(name, "")) for head in heads)) for name in names)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _asked(row: Row, turn: int) -> str:
    """What the user says in a turn: the first one shows the page."""
    question = str(row["questions"][turn]).strip()
    return question if turn else f"{row['page']}\n\nAnswer every question with a number alone.\n\n{question}"


def _history(row: Row, turn: int) -> Iterator[Message]:
    for earlier in range(turn):
        yield Message("user", _asked(row, earlier))
        yield Message("assistant", str(row["answers"][earlier]).strip())
