r"""BigCodeBench: Python functions that use libraries, asked for in words and judged by unit tests.

One row: ``{"task_id": "BigCodeBench/0", "instruct_prompt": "Calculates the average of the sums of absolute differences
… You should write self-contained code starting with:\n```\nimport itertools\n…", "complete_prompt": …,
"canonical_solution": "    permutations = list(itertools.permutations(numbers))\n…", "code_prompt": "import itertools\n
from random import shuffle\ndef task_func(numbers=list(range(1, 3))):\n", "test": "import unittest\n…", "entry_point":
"task_func", "libs": "['random', 'itertools']", …}``; the first release calls the prompts ``instruction`` and
``prompt_wo_doc``. Licence: Apache-2.0. Splits: one per release (v0.1.4 here), a tenth held out. Metric: share of
replies that pass all tests; undefined without ``--allow-code-execution``, and for tasks whose libraries are not
installed.

Source: Zhuo et al. 2024, "BigCodeBench: Benchmarking Code Generation with Diverse Function Calls", section 2.
"""

from __future__ import annotations

import ast
from functools import cached_property

from graft.errors import DataError
from graft.tasks.base import TaskCard
from graft.tasks.code import CodeTask, Tests, extract_code
from graft.tasks.dataset import HubSource, Row
from graft.tasks.sandbox.screen import standing_on
from graft.types import Example, Score


class BigCodeBenchTask(CodeTask):
    """Functions in Python, judged by unit tests."""

    card = TaskCard(
        "bigcodebench",
        "Write a Python function that passes its unit tests.",
        "passed",
        "Apache-2.0",
        "bigcode/bigcodebench",
        "code",
        "1,140 (v0.1.4)",
    )
    source = HubSource(
        "bigcode/bigcodebench",
        train="v0.1.4",
        columns=("task_id", "instruct_prompt", "code_prompt", "canonical_solution", "test", "entry_point", "libs"),
    )
    original = ("task_id", "instruction", "prompt_wo_doc", "canonical_solution", "test", "entry_point", "libs")

    def example(self, row: Row, index: int) -> Example:
        """The instruction, and the whole function in a code block as gold."""
        asked = row["instruct_prompt"] if "instruct_prompt" in row else row["instruction"]
        name = str(row["task_id"])
        return Example(name, self.card.name, str(asked).strip(), f"```python\n{_program(row)}\n```", cluster=name)

    def score(self, example: Example, reply: str) -> Score:
        """Run the reply's code with the tests of its row.

        Raises:
            DataError: the example is of no row of this task.
        """
        code, alone = extract_code(reply, str(self._row(example)["entry_point"]))
        return self.judge(code, self.tests(example), only_code=alone)

    def tests(self, example: Example) -> Tests:
        """The tests of an example's row.

        Raises:
            DataError: the example is of no row of this task.
        """
        row = self._row(example)
        source = str(row["test"])
        given = standing_on(source, _head(row), str(row["entry_point"]), _program(row))
        return Tests(source, given, _program(row), tuple(_libraries(row["libs"])))

    def _row(self, example: Example) -> Row:
        if example.id not in self._by_id:
            raise DataError(f"task {self.card.name}: there is no row {example.id}; score it with the rows it came from")
        return self._by_id[example.id]

    @cached_property
    def _by_id(self) -> dict[str, Row]:
        return {
            self.example(row, place).id: row for part in ("train", "eval") for place, row in enumerate(self.rows(part))
        }


def _head(row: Row) -> str:
    """The beginning of the program that is asked for: imports, constants, the head of the function."""
    return str(row["code_prompt"] if "code_prompt" in row else row["prompt_wo_doc"]).rstrip()


def _program(row: Row) -> str:
    return f"{_head(row)}\n{str(row['canonical_solution']).rstrip()}"


def _libraries(value: object) -> list[str]:
    """The modules of a row, given as a list or as Python writes one."""
    found = ast.literal_eval(value) if isinstance(value, str) else value
    return [str(name) for name in found] if isinstance(found, list | tuple) else []
