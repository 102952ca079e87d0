"""Scores of programs: what is asked for first, what counts, and what is told of how a pass came about."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from graft.data.user_tasks import load_user_task
from graft.errors import ConfigError
from graft.pipeline.prepare.rewards import check_reward
from graft.tasks.code import NOT_ALLOWED, CodeTask, Way, extract_code
from graft.tasks.custom import TaskSpec
from graft.tasks.datasets.bigcodebench import BigCodeBenchTask
from graft.tasks.sandbox import execution
from graft.tasks.sandbox.execution import best_confinement
from graft.tasks.sandbox.launch import Limits, Walls

TESTS = """
import unittest

class TestCases(unittest.TestCase):
    def test_twice(self):
        self.assertEqual(twice(2), 4)
"""
TWICE = "def twice(x):\n    return 2 * x\n"

ROW = {
    "task_id": "BigCodeBench/7",
    "instruct_prompt": "Double a number. Start with:\n```\ndef twice(x):\n```",
    "code_prompt": "def twice(x):",
    "canonical_solution": "    return 2 * x",
    "test": TESTS,
    "entry_point": "twice",
    "libs": "['numpy', 'no_such_module_of_graft']",
}


def code_task(**changes: object) -> BigCodeBenchTask:
    row = {**ROW, **changes}
    return BigCodeBenchTask(lambda part: [row])


def permit(task: CodeTask) -> None:
    task.allow_code_execution(Limits(wall_seconds=20.0), weak_sandbox=True)


walled = pytest.mark.skipif(best_confinement().walls is not Walls.KERNEL, reason=best_confinement().why_weak or "walls")


def test_without_permission_nothing_runs_and_the_score_is_undefined(tmp_path: Path) -> None:
    task, trace = code_task(), tmp_path / "trace"
    example = next(task.examples("eval", limit=1, seed=0))
    score = task.score(example, f"```python\nopen({str(trace)!r}, 'w')\n{TWICE}```")
    assert score.undefined == NOT_ALLOWED and math.isnan(score.details["passed"])
    assert not score.strict and not score.lenient and not trace.exists()


def test_with_permission_the_gold_answer_passes_its_tests() -> None:
    task = code_task()
    permit(task)
    example = next(task.examples("eval", limit=1, seed=0))
    right = task.score(example, example.gold)
    assert (right.strict, right.lenient, right.parsed, right.details["passed"]) == (True, True, True, 1.0)
    wordy = task.score(example, f"Here it is:\n{example.gold}\nIt doubles.")
    assert (wordy.strict, wordy.lenient) == (False, True)
    wrong = task.score(example, "```python\ndef twice(x):\n    return x\n```")
    assert (wrong.lenient, wrong.details["passed"], wrong.undefined) == (False, 0.0, "")
    silent = task.score(example, "I would rather not.")
    assert (silent.parsed, silent.details["passed"], silent.undefined) == (False, 0.0, "")


@walled
def test_tests_that_need_a_module_that_is_not_installed_are_undefined() -> None:
    task = code_task(test="import no_such_module_of_graft\n" + TESTS, libs="[]")
    permit(task)
    example = next(task.examples("eval", limit=1, seed=0))
    score = task.score(example, example.gold)
    assert "no_such_module_of_graft" in score.undefined and math.isnan(score.details["passed"])
    invented = code_task(libs="[]")
    permit(invented)
    own = invented.score(example, "```python\nimport no_such_module_of_graft\n" + TWICE + "```")
    assert (own.undefined, own.details["passed"]) == ("", 0.0)  # the reply's own mistake
    pretended = code_task(libs="['math']", test=TESTS + "        import os; os.listdir('.')\n")
    permit(pretended)
    for code in ("raise ModuleNotFoundError('no', name='math')", "import os\nos._exit(78)"):
        feigned = pretended.score(example, f"```python\n{code}\n{TWICE}```")
        assert (feigned.undefined, feigned.details["passed"]) == ("", 0.0)


@walled
def test_a_pass_that_the_program_could_have_made_itself_says_so() -> None:
    seen = "from unittest.mock import patch\n" + TESTS.replace(
        "self.assert", "with patch('math.pi', 3):\n            self.assert"
    )
    for tests, could in ((TESTS, 0.0), (seen, 1.0)):
        task = code_task(test=tests)
        permit(task)
        (example,) = task.examples("eval", limit=1, seed=0)
        assert (task.way(task.tests(example))[0] is Way.INSIDE) is bool(could)
        assert task.score(example, example.gold).details["could_have_cheated"] == could
        wrong = task.score(example, example.gold.replace("2 * x", "x"))
        assert (wrong.lenient, wrong.details["could_have_cheated"]) == (False, 0.0)


def test_tests_that_the_right_program_fails_from_outside_run_inside() -> None:
    task = code_task(
        code_prompt="class Box:\n    def __eq__(self, other):\n        return isinstance(other, Box)\n\ndef twice(x):",
        canonical_solution="    return Box()",
        test=TESTS.replace("twice(2), 4", "twice(2), Box()"),
    )
    permit(task)
    (example,) = task.examples("eval", limit=1, seed=0)
    score = task.score(example, example.gold)
    assert (score.lenient, score.details["could_have_cheated"]) == (True, 1.0)
    assert "decided by the program itself" in task.way(task.tests(example))[1]


def test_where_the_kernel_has_no_walls_code_is_refused_until_weak_ones_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "kernel_refusal", lambda: "unshare: Operation not permitted")
    execution.best_confinement.cache_clear()
    try:
        task = code_task()
        with pytest.raises(ConfigError, match=r"unshare: Operation not permitted.*--weak-sandbox"):
            task.allow_code_execution()
        assert task.limits is None
        task.allow_code_execution(Limits(wall_seconds=20.0), weak_sandbox=True)
        (example,) = task.examples("eval", limit=1, seed=0)
        details = task.score(example, example.gold).details
        assert (details["passed"], details["weak_sandbox"], details["could_have_cheated"]) == (1.0, 1.0, 1.0)
        with pytest.raises(ConfigError, match="behind weak walls"):
            check_reward(task)
    finally:
        execution.best_confinement.cache_clear()


def test_rows_about_changes_in_place_are_judged_with_them() -> None:
    task = code_task(
        canonical_solution="    x.extend(list(x))",
        test=TESTS.replace("self.assertEqual(twice(2), 4)", "kept = [1]; twice(kept); self.assertEqual(kept, [1, 1])"),
    )
    permit(task)
    (example,) = task.examples("eval", limit=1, seed=0)
    assert task.score(example, example.gold).lenient
    assert task.way(task.tests(example)) == (Way.IN_PLACE, "")
    assert not task.score(example, "```python\ndef twice(x):\n    return x + x\n```").lenient


@walled
def test_programs_that_could_forge_their_reward_are_refused() -> None:
    task = code_task()
    with pytest.raises(ConfigError, match="--allow-code-execution"):
        check_reward(task)
    permit(task)
    check_reward(task)
    looking = code_task(test="import os\n" + TESTS + "        os.remove('x')\n")
    permit(looking)
    with pytest.raises(ConfigError, match=r"BigCodeBench/7 cannot be judged from outside.*its tests use os"):
        check_reward(looking)


def test_rows_of_ones_own_are_judged_like_those_of_the_benchmark(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({**ROW, "libs": []}) + "\n")
    spec = TaskSpec("mine", like="bigcodebench", train=tmp_path / "rows.jsonl", eval=tmp_path / "rows.jsonl")
    task = load_user_task(spec)
    assert isinstance(task, CodeTask)
    permit(task)
    (example,) = task.examples("eval", limit=1, seed=0)
    assert (example.id, task.score(example, example.gold).details["passed"]) == ("mine/BigCodeBench/7", 1.0)


@pytest.mark.parametrize(
    ("reply", "code", "alone"),
    [
        ("x = 1", "x = 1", True),
        ("```\nx = 1\n```", "x = 1\n", True),
        (
            "Use:\n```python\ndef twice(x): pass\n```\nthen\n```\nprint(twice(3) + 10)\n```",
            "def twice(x): pass\n",
            False,
        ),
        ("```py\na\n```\n```py\nlonger\n```", "longer\n", True),
        ("That is hard.", None, False),
        ("```python\nunfinished", None, False),
        ("", None, False),
    ],
)
def test_code_is_taken_out_of_a_reply(reply: str, code: str | None, alone: bool) -> None:
    assert extract_code(reply, "twice") == (code, alone)


@pytest.mark.parametrize("command", ["run", "train", "eval"])
def test_every_command_that_scores_has_the_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from graft.cli.main import main

    assert main([command, "--help"]) == 0
    told = capsys.readouterr().out
    assert "--allow-code-execution" in told and "--weak-sandbox" in told


def test_the_flags_set_the_recipe_and_are_off_without_them() -> None:
    from graft.cli.recipes import given_flags
    from graft.config.loading import load_recipe

    given = given_flags({"flag_allow_code_execution": "true", "flag_weak_sandbox": "true"})
    found = load_recipe(None, (), given).recipe.eval
    assert found.allow_code_execution and found.weak_sandbox
    plain = load_recipe(None, ()).recipe.eval
    assert not plain.allow_code_execution and not plain.weak_sandbox
    with pytest.raises(ConfigError, match="weak_sandbox is true, but allow_code_execution is false"):
        load_recipe(None, (), given_flags({"flag_weak_sandbox": "true"}))
