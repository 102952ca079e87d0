"""The base of tasks whose answers are programs: code out of a reply, and a score by its unit tests."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from graft.tasks.dataset import DatasetTask
from graft.tasks.execution import Limits, Verdict, run_tests
from graft.types import Example, Score

NOT_ALLOWED = "code is only run with --allow-code-execution"
"""Why a reply was not judged."""

_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)


class CodeTask(DatasetTask):
    """A task whose answers are programs, judged by running their tests; only with permission."""

    limits: Limits | None = None
    """What a program may use; ``None`` until `allow_code_execution`, and no code is run."""

    def allow_code_execution(self, limits: Limits | None = None) -> None:
        """Let the code of replies be run.

        Args:
            limits: what a program may use; the default limits when ``None``.
        """
        self.limits = limits or Limits()

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """None: no program passes the tests of several rows."""
        return {}

    def judge(self, code: str | None, tests: str, libraries: Iterable[str], *, only_code: bool) -> Score:
        """Score a program by its tests.

        Args:
            code: the program of a reply; ``None`` when there is none.
            tests: source of the class ``TestCases``.
            libraries: modules that the task is about. Where one of them, or one that the tests import, is not
                installed, the score is undefined.
            only_code: the reply was code and nothing else, which a strict pass asks for.

        Returns:
            Details: ``passed`` (1 or 0, NaN when undefined), ``timeout`` and ``seconds``.
        """
        if self.limits is None:
            return _undefined(code, NOT_ALLOWED)
        if code is None:
            return Score(False, False, False, None, {"passed": 0.0})
        done = run_tests(code, tests, self.limits)
        if done.missing in {*libraries, *_imported(tests)}:
            return _undefined(code, f"its tests need the module {done.missing}, which is not installed")
        passed = done.verdict is Verdict.PASSED
        details: Mapping[str, float] = {
            "passed": float(passed),
            "timeout": float(done.verdict is Verdict.TIMEOUT),
            "seconds": done.seconds,
        }
        return Score(passed and only_code, passed, True, done.verdict.value, details)


def _undefined(code: str | None, reason: str) -> Score:
    return Score(False, False, code is not None, None, {"passed": math.nan}, reason)


def extract_code(reply: str, name: str) -> tuple[str | None, bool]:
    """The Python code of a reply.

    The fenced block that defines `name`, else the longest one; without fences the whole reply, if it is Python.

    Args:
        reply: what the model wrote.
        name: the function that was asked for.

    Returns:
        The code, ``None`` when there is none, and whether the reply was nothing else.
    """
    blocks = [found[1] for found in _FENCE.finditer(reply)]
    if not blocks:
        return (reply, True) if reply.strip() and _is_python(reply) else (None, False)
    defining = [
        block for block in blocks if re.search(rf"^\s*(?:async )?(?:def|class) {re.escape(name)}\b", block, re.M)
    ]
    return defining[-1] if defining else max(blocks, key=len), not _FENCE.sub("", reply).strip()


def _imported(source: str) -> set[str]:
    """The top-level modules that a source imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
