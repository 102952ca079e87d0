"""The sandbox: real programs that misbehave in the ways generated code does."""

from __future__ import annotations

import math
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from graft.tasks.code import NOT_ALLOWED, extract_code
from graft.tasks.datasets.bigcodebench import BigCodeBenchTask
from graft.tasks.execution import (
    Confinement,
    Execution,
    Limits,
    Network,
    Verdict,
    best_confinement,
    run_tests,
)

TESTS = """
import unittest

class TestCases(unittest.TestCase):
    def test_twice(self):
        self.assertEqual(twice(2), 4)
"""
TWICE = "def twice(x):\n    return 2 * x\n"
SHORT = Limits(wall_seconds=1.5, cpu_seconds=30, memory_bytes=2**30, file_bytes=2**20, processes=16)
HOOK = replace(best_confinement(), prefix=())
CONFINED = list(dict.fromkeys([best_confinement(), HOOK]))


@pytest.fixture(params=CONFINED, ids=lambda held: held.network.name.lower())
def held(request: pytest.FixtureRequest) -> Confinement:
    return request.param


def run(code: str, held: Confinement, limits: Limits = SHORT, tests: str = TESTS) -> Execution:
    return run_tests(code, tests, limits, confinement=held)


def test_a_right_program_passes_and_a_wrong_one_names_its_test(held: Confinement) -> None:
    right = run(TWICE, held)
    assert (right.verdict, right.tests, right.confinement) == (Verdict.PASSED, 1, held)
    wrong = run("def twice(x):\n    return 3 * x", held)
    assert (wrong.verdict, wrong.wrong, wrong.error) == (Verdict.FAILED, ("test_twice",), "AssertionError: 6 != 4")


def test_a_program_without_end_is_killed_at_its_time_and_leaves_nothing(held: Confinement) -> None:
    start = time.monotonic()
    code = "import os\nprint(os.getcwd(), flush=True)\nif os.fork() == 0:\n    os.setsid()\nwhile True:\n    pass"
    done = run(code, held)
    assert done.verdict is Verdict.TIMEOUT
    assert time.monotonic() - start < 10.0
    assert not _processes_of(done.output.split()[0])
    assert not [process for process in psutil.Process().children() if process.status() == psutil.STATUS_ZOMBIE]


def _processes_of(home: str) -> list[psutil.Process]:
    """The processes of one program, wherever they have gone."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GRAFT_RUN") == home and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def test_computing_time_is_limited_beside_waiting_time(held: Confinement) -> None:
    done = run("while True:\n    pass", held, Limits(wall_seconds=20.0, cpu_seconds=1))
    assert done.verdict is Verdict.TIMEOUT
    assert done.seconds < 15.0


def test_a_fork_bomb_is_bounded(held: Confinement) -> None:
    bomb = """
import os, time
count = 0
try:
    while count < 3000:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        count += 1
except OSError:
    raise RuntimeError(f"stopped after {count}")
"""
    done = run(bomb, held, Limits(wall_seconds=10.0, processes=16))
    assert done.verdict is Verdict.FAILED
    assert 1 <= int(done.error.rpartition(" ")[2]) <= 16


def test_memory_is_limited(held: Confinement) -> None:
    done = run("kept = bytearray(3 * 2**30)", held)
    assert (done.verdict, done.error) == (Verdict.FAILED, "MemoryError: ")


def test_files_are_limited_in_size_and_go_with_the_folder(held: Confinement) -> None:
    done = run("open('big', 'wb').write(b'x' * 2**22)", held)
    assert done.verdict is Verdict.FAILED and "File too large" in done.error
    place = run("import os\nopen('small', 'w').write('x')\nprint(os.getcwd())\n" + TWICE, held)
    assert place.verdict is Verdict.PASSED
    assert not Path(place.output.strip()).exists()


def test_files_outside_its_folder_stay_as_they_are(held: Confinement, tmp_path: Path) -> None:
    if not held.landlock:
        pytest.skip("this kernel has no Landlock")
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    for change in (
        "open({!r}, 'w')",
        "open({!r}, 'a')",
        "os.remove({!r})",
        "os.rename({!r}, 'x')",
        "os.truncate({!r}, 0)",
    ):
        done = run(f"import os\n{change.format(str(kept))}\n{TWICE}", held)
        assert done.verdict is Verdict.FAILED, change
        assert "PermissionError" in done.error or "OSError" in done.error
    assert kept.read_text() == "mine"
    inside = ["os.makedirs('a/b')", "open('a/b/c', 'w').write('x')", "os.rename('a/b/c', 'd')", "shutil.rmtree('a')"]
    assert run("\n".join(["import os, shutil", *inside, TWICE]), held).verdict is Verdict.PASSED


def test_home_and_environment_are_those_of_the_sandbox(held: Confinement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "for nobody")
    done = run("import os\nprint('SECRET_TOKEN' in os.environ, os.environ['HOME'] == os.getcwd())\n" + TWICE, held)
    assert done.output.split() == ["False", "True"]


def test_the_network_is_out_of_reach(held: Confinement) -> None:
    reached = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5.0)

        def accept() -> None:
            try:
                server.accept()[0].close()
                reached.set()
            except OSError:
                return

        listening = threading.Thread(target=accept, daemon=True)
        listening.start()
        port = server.getsockname()[1]
        done = run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)\n{TWICE}", held)
        assert done.verdict is Verdict.FAILED
        assert not reached.is_set()
        socket.create_connection(("127.0.0.1", port), 2).close()  # the server itself can be reached
        listening.join(timeout=5.0)
    assert reached.is_set()


def test_without_namespaces_other_programs_are_refused_too() -> None:
    done = run("import subprocess\nsubprocess.run(['true'])\n" + TWICE, HOOK)
    assert done.confinement.network is Network.HOOK
    assert done.verdict is Verdict.FAILED and "no other program" in done.error


@pytest.mark.parametrize(
    "ending",
    ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit", "import os; os.kill(os.getpid(), 9)"],
)
def test_ending_before_the_tests_is_no_pass(ending: str, held: Confinement) -> None:
    assert run(ending, held).verdict is not Verdict.PASSED
    assert run(f"{TWICE}\ndef twice(x):\n    {ending}", held).verdict is not Verdict.PASSED


def test_a_forged_report_is_no_pass(held: Confinement) -> None:
    forged = """
import json, os, sys
words = [*os.environ.values(), *sys.argv, sys.stdin.read()]
for number in range(3, 30):
    try:
        os.ftruncate(number, 0)
        report = {"ran": 1, "wrong": [], "error": "", "missing": "", "nonce": words[WORD]}
        os.pwrite(number, json.dumps(report).encode(), 0)
    except OSError:
        continue
os._exit(0)
"""
    for word in range(12):
        assert run(forged.replace("WORD", str(word)), held).verdict is not Verdict.PASSED


def test_tests_that_are_not_there_are_no_pass(held: Confinement) -> None:
    empty = "import unittest\nclass TestCases(unittest.TestCase):\n    pass"
    assert run(TWICE, held, tests=empty).verdict is Verdict.FAILED
    assert run(TWICE, held, tests="").verdict is Verdict.FAILED


def test_a_flood_of_output_is_cut(held: Confinement) -> None:
    done = run("for _ in range(20_000):\n    print('x' * 100)\n" + TWICE, held)
    assert done.verdict is Verdict.FAILED  # its output is a file, and files are limited
    assert len(done.output) == SHORT.output_characters
    some = run("print('y' * 50_000)\n" + TWICE, held)
    assert (some.verdict, len(some.output)) == (Verdict.PASSED, SHORT.output_characters)


@pytest.mark.parametrize("code", ["", "def", "\x00", "\ud800", "'" * 5000, "(" * 500, "é = 1"])
def test_text_that_is_no_program_fails_without_harm(code: str) -> None:
    assert run(code, best_confinement()).verdict is Verdict.FAILED


def test_this_machine_says_how_it_keeps_the_network_away() -> None:
    held = best_confinement()
    assert held.network is (Network.NAMESPACE if held.prefix else Network.HOOK)
    if sys.platform != "linux":
        assert held.network is Network.HOOK


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
    return BigCodeBenchTask(lambda part: [row] if part == "eval" else [])


def test_without_permission_nothing_runs_and_the_score_is_undefined(tmp_path: Path) -> None:
    task, trace = code_task(), tmp_path / "trace"
    example = next(task.examples("eval", limit=1, seed=0))
    score = task.score(example, f"```python\nopen({str(trace)!r}, 'w')\n{TWICE}```")
    assert score.undefined == NOT_ALLOWED and math.isnan(score.details["passed"])
    assert not score.strict and not score.lenient and not trace.exists()


def test_with_permission_the_gold_answer_passes_its_tests() -> None:
    task = code_task()
    task.allow_code_execution(Limits(wall_seconds=20.0))
    example = next(task.examples("eval", limit=1, seed=0))
    right = task.score(example, example.gold)
    assert (right.strict, right.lenient, right.parsed, right.details["passed"]) == (True, True, True, 1.0)
    wordy = task.score(example, f"Here it is:\n{example.gold}\nIt doubles.")
    assert (wordy.strict, wordy.lenient) == (False, True)
    wrong = task.score(example, "```python\ndef twice(x):\n    return x\n```")
    assert (wrong.lenient, wrong.details["passed"], wrong.undefined) == (False, 0.0, "")
    silent = task.score(example, "I would rather not.")
    assert (silent.parsed, silent.details["passed"], silent.undefined) == (False, 0.0, "")


def test_tests_that_need_a_module_that_is_not_installed_are_undefined() -> None:
    task = code_task(test="import no_such_module_of_graft\n" + TESTS, libs="[]")
    task.allow_code_execution(Limits(wall_seconds=20.0))
    example = next(task.examples("eval", limit=1, seed=0))
    score = task.score(example, example.gold)
    assert "no_such_module_of_graft" in score.undefined and math.isnan(score.details["passed"])
    invented = code_task(libs="[]")
    invented.allow_code_execution(Limits(wall_seconds=20.0))
    own = invented.score(example, "```python\nimport no_such_module_of_graft\n" + TWICE + "```")
    assert (own.undefined, own.details["passed"]) == ("", 0.0)  # the reply's own mistake


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
def test_every_command_that_scores_has_the_flag(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from graft.cli.main import main

    assert main([command, "--help"]) == 0
    assert "--allow-code-execution" in capsys.readouterr().out


def test_the_flag_sets_the_recipe_and_is_off_without_it() -> None:
    from graft.cli.recipes import given_flags
    from graft.config.loading import load_recipe

    given = given_flags({"flag_allow_code_execution": "true"})
    assert load_recipe(None, (), given).recipe.eval.allow_code_execution
    assert not load_recipe(None, ()).recipe.eval.allow_code_execution
