"""A pass cannot be forged: every attack against tests that are judged from outside, and what is left inside."""

from __future__ import annotations

import pytest
from sandbox_attacks import ATTACKS

from graft.tasks.sandbox.execution import Execution, Verdict, best_confinement, run_tests
from graft.tasks.sandbox.launch import Limits, Walls
from graft.tasks.sandbox.screen import Given

if best_confinement().walls is not Walls.KERNEL:  # pragma: no cover
    pytest.skip(f"this machine has no walls: {best_confinement().why_weak}", allow_module_level=True)

TESTS = """
import unittest

class TestCases(unittest.TestCase):
    def test_number(self):
        self.assertEqual(twice(2), 4)
    def test_text(self):
        self.assertTrue(twice("ab").startswith("aba"))
        self.assertEqual(twice("ab"), "abab")
    def test_list(self):
        given = [1]
        self.assertEqual(twice(given), [1, 1])
        self.assertEqual(given, [1])
        self.assertTrue(len(twice([1, 2])) == 4)
"""
ASSERTIONS = """
import random
assert twice(2) == 4
assert twice("ab").startswith("abab") and helper(twice("ab"), "abab")
drawn = [random.random() for _ in range(twice(1))]
assert twice(drawn) == drawn + drawn
try:
    twice(None)
except TypeError:
    pass
else:
    assert False, "no error"
"""
RIGHT = "def twice(x):\n    return 2 * x\n"
GIVEN = Given("def helper(one, other):\n    return one == other", ("twice",))
LIMITS = Limits(wall_seconds=30.0, cpu_seconds=5, memory_bytes=2**30, processes=16)


def run(code: str, tests: str = TESTS, **how: bool) -> Execution:
    return run_tests(code, tests, LIMITS, given=GIVEN, **how)


@pytest.mark.parametrize(("tests", "number"), [(TESTS, 3), (ASSERTIONS, 3)], ids=["unittest", "assert"])
def test_the_right_program_passes_where_attacks_do_not(tests: str, number: int) -> None:
    done = run(RIGHT, tests)
    assert (done.verdict, done.tests, done.could_cheat) == (Verdict.PASSED, number, False), done


def test_there_are_at_least_forty_attacks() -> None:
    assert len(ATTACKS) >= 40 and len(set(ATTACKS.values())) == len(ATTACKS)


@pytest.mark.parametrize("name", [name for place, name in enumerate(ATTACKS) if place % 30 == 0])
def test_an_attack_passes_neither_unittest_nor_plain_assertions(name: str) -> None:
    for tests in (TESTS, ASSERTIONS):
        assert run(ATTACKS[name], tests).verdict is not Verdict.PASSED


LENIENT = {
    "an object that says yes to every method": "assert twice('ab').startswith('a')\nassert len(twice([1, 2])) == 4\n",
    "the function is a class whose objects say yes": "assert twice('ab').startswith('abab')\n",
    "the function returns itself, which says yes": "assert twice('ab').startswith('abab')\n",
    "names that nobody asked for": "assert helper(twice(2), 4)\n",
    "random numbers that are all the same": (
        "import random\ntwice(1)\ndrawn = [random.randint(0, 9) for _ in range(9)]\n"
        "assert sum(twice(drawn)) == 2 * sum(drawn)\n"
    ),
    "an argument that is changed to equal the result": "a = [1]\nassert twice(a) == a + a\n",
}
"""Tests that say little, each with an attack that all but passes them."""


def test_the_right_program_passes_lenient_tests() -> None:
    assert run(RIGHT, "".join(LENIENT.values())).verdict is Verdict.PASSED


@pytest.mark.parametrize("name", LENIENT)
def test_attacks_on_lenient_tests_do_not_pass_either(name: str) -> None:
    assert run(ATTACKS[name], LENIENT[name]).verdict is not Verdict.PASSED


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_passes_from_outside_and_inside_none_unsaid(name: str) -> None:
    done = run(ATTACKS[name])
    assert done.verdict is not Verdict.PASSED and not done.could_cheat, done
    inside = run(ATTACKS[name], inside=True)
    assert inside.verdict is not Verdict.PASSED or inside.could_cheat
