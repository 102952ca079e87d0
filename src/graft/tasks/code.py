"""The base of tasks whose answers are programs: code out of a reply, and a score by its unit tests."""

from __future__ import annotations

import ast
import hashlib
import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from graft.errors import ConfigError
from graft.tasks.base import scorer_version
from graft.tasks.dataset import DatasetTask
from graft.tasks.sandbox.execution import Execution, Verdict, best_confinement, run_tests
from graft.tasks.sandbox.launch import Limits, Walls
from graft.tasks.sandbox.screen import Given, imported, reason_inside
from graft.types import Example, Score

NOT_ALLOWED = "code is only run with --allow-code-execution"
"""Why a reply was not judged."""

_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tests:
    """What judges the programs of one row.

    Attributes:
        source: source of the class ``TestCases``, or of plain assertions.
        given: what their makers give with them.
        gold: a program that is right.
        libraries: modules that the row is about.
    """

    source: str
    given: Given
    gold: str
    libraries: tuple[str, ...] = ()


class Way(Enum):
    """How the programs of a row are judged, the soundest first."""

    BY_VALUE = "from outside"
    IN_PLACE = "from outside, with what they change in their arguments"
    INSIDE = "in one process with their tests"


class CodeTask(DatasetTask):
    """A task whose answers are programs, judged by running their tests; only with permission."""

    limits: Limits | None = None
    """What a program may use; ``None`` until `allow_code_execution`, and no code is run."""

    def allow_code_execution(self, limits: Limits | None = None, *, weak_sandbox: bool = False) -> None:
        """Let the code of replies be run.

        Args:
            limits: what a program may use; the default limits when ``None``.
            weak_sandbox: also where the kernel cannot shut it in.

        Raises:
            ConfigError: the kernel cannot, and nobody said that weak walls will do.
        """
        held = best_confinement()
        if held.walls is Walls.WEAK and not weak_sandbox:
            raise ConfigError(
                f"eval.allow_code_execution is true, but this machine cannot shut programs in: {held.why_weak}. Use "
                "Linux with user namespaces, or say --weak-sandbox (eval.weak_sandbox: true) where what Python and "
                "Landlock can refuse will do"
            )
        self.limits = limits or Limits()
        self._ways: dict[str, tuple[Way, str]] = {}
        self._lacking: dict[str, bool] = {}

    @property
    def scorer(self) -> str:
        """What identifies the scorer: its own code and that of the sandbox."""
        digest = hashlib.blake2b(scorer_version(type(self)).encode(), digest_size=6)
        for file in sorted(Path(__file__).with_name("sandbox").glob("*.py")):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def trivial_answers(self, examples: Sequence[Example]) -> Mapping[str, Sequence[str]]:
        """None: no program passes the tests of several rows."""
        return {}

    @abstractmethod
    def tests(self, example: Example) -> Tests:
        """The tests of an example's row.

        Raises:
            DataError: the example is of no row of this task.
        """

    def way(self, tests: Tests) -> tuple[Way, str]:
        """How the programs of a row are judged: in the soundest way in which the right program passes.

        Returns:
            The way, and for `Way.INSIDE` the reason: its tests reach for more than values, or the right program fails.
        """
        if tests.source not in self._ways:
            self._ways[tests.source] = self._way(tests)
        return self._ways[tests.source]

    def _way(self, tests: Tests) -> tuple[Way, str]:
        if reason := reason_inside(tests.source, tests.given.prelude):
            return Way.INSIDE, reason
        told = ""
        for way in (Way.BY_VALUE, Way.IN_PLACE):
            done = self._run(tests.gold, tests, way)
            if done.verdict is Verdict.PASSED:
                return way, ""
            told = told or done.error or done.verdict.value
        return Way.INSIDE, f"the right program does not pass its tests from outside ({told})"

    def judge(self, code: str | None, tests: Tests, *, only_code: bool) -> Score:
        """Score a program by its tests, from outside where they can be run so.

        Args:
            code: the program of a reply; ``None`` when there is none.
            tests: those of its row. Where a module that they or the row are about is not installed, the score is
                undefined.
            only_code: the reply was code and nothing else, which a strict pass asks for.

        Returns:
            Details: ``passed`` (1 or 0, NaN when undefined), ``timeout``, ``seconds``, ``could_have_cheated`` (passed
            where the program could have made the verdict itself) and, behind weak walls, ``weak_sandbox``.
        """
        if self.limits is None:
            return _undefined(code, NOT_ALLOWED)
        if code is None:
            return Score(False, False, False, None, {"passed": 0.0, "could_have_cheated": 0.0})
        done = self._judged(code, tests)
        if done.missing in {*tests.libraries, *imported(tests.source)} and self._lacks(done.missing):
            return _undefined(code, f"its tests need the module {done.missing}, which is not installed")
        passed = done.verdict is Verdict.PASSED
        details: Mapping[str, float] = {
            "passed": float(passed),
            "timeout": float(done.verdict is Verdict.TIMEOUT),
            "seconds": done.seconds,
            "could_have_cheated": float(passed and done.could_cheat),
            **({"weak_sandbox": 1.0} if done.confinement.walls is Walls.WEAK else {}),
        }
        return Score(passed and only_code, passed, True, done.verdict.value, details)

    def _lacks(self, module: str) -> bool:
        """Whether a module is missing in the sandbox indeed, and not only by the word of a program."""
        if module not in self._lacking:
            self._lacking[module] = run_tests("", f"import {module}\nassert True", self.limits).missing == module
        return self._lacking[module]

    def _judged(self, code: str, tests: Tests) -> Execution:
        """Run it in the soundest way first; what does not pass so although the row allows it is wrong."""
        if not reason_inside(tests.source, tests.given.prelude):
            done = self._run(code, tests, Way.BY_VALUE)
            if done.verdict is Verdict.PASSED or done.missing or self.way(tests)[0] is Way.BY_VALUE:
                return done
        return self._run(code, tests, self.way(tests)[0])

    def _run(self, code: str, tests: Tests, way: Way) -> Execution:
        in_place, inside = way is Way.IN_PLACE, way is Way.INSIDE
        return run_tests(code, tests.source, self.limits, given=tests.given, in_place=in_place, inside=inside)


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


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
