"""No right answer is lost by being judged from outside: what honest programs return, change and raise comes over."""

from __future__ import annotations

import pytest

from graft.tasks.sandbox.execution import Execution, Verdict, best_confinement, run_tests
from graft.tasks.sandbox.launch import Limits, Walls
from graft.tasks.sandbox.screen import Given, reason_inside, standing_on

LIMITS = Limits(wall_seconds=60.0)

PROGRAM = '''
import collections, datetime, decimal, enum, fractions, itertools, math, random, re
from dataclasses import dataclass

LIMIT = [1, 2]

class TooSmall(ValueError):
    def __init__(self, size):
        super().__init__(f"{size} is too small")
        self.size = size

class Stack:
    """A stack."""
    kind = "stack"
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, item):
        self.items.append(item)
        return self
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __iter__(self):
        return iter(self.items)
    def __getitem__(self, place):
        return self.items[place]
    def __repr__(self):
        return f"Stack({self.items})"
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.items.clear()

class Pair(object):
    def __init__(self, a, b):
        self.a = a
        self.b = b

class Node:
    def __init__(self, data):
        self.data, self.left, self.right = data, None, None

Point = collections.namedtuple("Point", "x y")

def has_close_elements(numbers, threshold):
    return any(abs(a - b) < threshold for a, b in itertools.combinations(numbers, 2))
def truncate_number(number):
    return number % 1.0
def similar_elements(a, b):
    return tuple(set(a) & set(b))
def heap_of(numbers):
    return {number: str(number) for number in numbers}
def unique(numbers):
    return set(numbers)
def frozen(numbers):
    return frozenset(numbers)
def primes():
    yield from (n for n in itertools.count(2) if all(n % d for d in range(2, n)))
def sort_in_place(numbers):
    numbers.sort()
def swap(matrix):
    matrix[0], matrix[1] = matrix[1], matrix[0]
    matrix[0].append("new")
    return matrix
def counted(words):
    return collections.Counter(words)
def grouped(words):
    found = collections.defaultdict(list)
    for word in words:
        found[word[0]].append(word)
    return found
def ordered(pairs):
    return collections.OrderedDict(pairs)
def last(items, n):
    return collections.deque(items, maxlen=n)
def must_be_large(size):
    if size < 3:
        raise TooSmall(size)
    return size
def divide(a, b):
    return a / b
def look_up(mapping, key):
    return mapping[key]
def point(x, y):
    return Point(x, y)
def half(number):
    return fractions.Fraction(number, 2)
def cents(text):
    return decimal.Decimal(text)
def day_after(day):
    return day + datetime.timedelta(days=1)
def root(number):
    return complex(0, number)
def coded(text):
    return text.encode()
def span(n):
    return range(n)
def shout(text):
    print(text.upper())
def draw(n):
    return [random.randint(1, 100) for _ in range(n)]
def longest_chain(pairs, n):
    return sum(isinstance(pair, Pair) and pair.a < pair.b for pair in pairs[:n])
def height(node):
    return 0 if node is None else 1 + max(height(node.left), height(node.right))
def first_of(pattern, text):
    return re.search(pattern, text).group()
def identity(value):
    return value
def adder(n):
    return lambda m: n + m
def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value
def keyed(a, *rest, b=2, **more):
    return (a, rest, b, more)
def big():
    return 3 ** 10_000
def quits():
    raise SystemExit(3)
def none():
    pass
def keys(mapping):
    return mapping.keys()
def mapped(numbers):
    return map(str, numbers)
def bare(text):
    return text + "\\ud800"
'''

CASES = """
import datetime, decimal, fractions, io, itertools, math, random, sys, unittest
from collections import Counter, OrderedDict, deque

class TestCases(unittest.TestCase):
    def setUp(self):
        random.seed(7)
    def test_floats_with_tolerance(self):
        self.assertTrue(has_close_elements([1.0, 2.0, 2.1], 0.2))
        self.assertIs(has_close_elements([1.0, 2.0], 0.2), False)
        self.assertTrue(abs(truncate_number(3.5) - 0.5) < 1e-6)
        self.assertAlmostEqual(divide(1, 3), 0.333333, places=5)
        self.assertTrue(math.isnan(identity(math.nan)) and identity(-0.0).hex() == (-0.0).hex())
        self.assertEqual(identity(math.inf), math.inf)
    def test_sets_dicts_and_tuples(self):
        self.assertEqual(set(similar_elements((3, 4, 5, 6), (5, 7, 4, 10))), {4, 5})
        self.assertEqual(unique([1, 1, 2]), {1, 2})
        self.assertIsInstance(frozen([1]), frozenset)
        self.assertDictEqual(heap_of([1, 2]), {1: "1", 2: "2"})
        self.assertEqual(list(heap_of([3, 1, 2])), [3, 1, 2])
        self.assertEqual(identity({(1, 2): [{3}, None, True]}), {(1, 2): [{3}, None, True]})
    def test_exact_types(self):
        for value in (1, 1.0, True, "1", b"1", None, (1,), [1], 2 ** 70, 1j):
            self.assertIs(type(identity(value)), type(value))
        self.assertIsInstance(big(), int)
        self.assertEqual(big(), 3 ** 10_000)
    def test_kinds_of_collections(self):
        self.assertEqual(counted("aab"), {"a": 2, "b": 1})
        self.assertEqual(counted("aab").most_common(1), [("a", 2)])
        self.assertEqual(counted("aab"), Counter("aab"))
        self.assertEqual(grouped(["ab", "ac"]), {"a": ["ab", "ac"]})
        self.assertEqual(ordered([("a", 1)]), OrderedDict(a=1))
        self.assertEqual(list(last([1, 2, 3], 2)), [2, 3])
        self.assertEqual(point(1, 2), (1, 2))
        self.assertEqual(point(1, 2).y, 2)
        self.assertEqual(span(3), range(3))
    def test_other_values(self):
        self.assertEqual(half(3), fractions.Fraction(3, 2))
        self.assertEqual(cents("1.10"), decimal.Decimal("1.10"))
        self.assertEqual(day_after(datetime.date(2024, 2, 28)), datetime.date(2024, 2, 29))
        self.assertEqual(day_after(datetime.datetime(2024, 1, 1, 5)).hour, 5)
        self.assertEqual(root(2), 2j)
        self.assertEqual(coded("é"), "é".encode())
        self.assertEqual(bare("a"), "a\\ud800")
        self.assertIsNone(none())
    def test_generators_and_views(self):
        self.assertEqual(list(itertools.islice(primes(), 4)), [2, 3, 5, 7])
        self.assertEqual(next(primes()), 2)
        self.assertEqual(sorted(keys({"b": 1, "a": 2})), ["a", "b"])
        self.assertEqual(list(mapped([1, 2])), ["1", "2"])
        self.assertEqual(adder(2)(3), 5)
    def test_changes_in_place(self):
        numbers = same = [3, 1, 2]
        self.assertIsNone(sort_in_place(numbers))
        self.assertEqual(same, [1, 2, 3])
        matrix, row = [[1], [2]], None
        row = matrix[1]
        self.assertIs(swap(matrix), matrix)
        self.assertIs(matrix[0], row)
        self.assertEqual(matrix, [[2, "new"], [1]])
        loop = []
        loop.append(loop)
        self.assertIs(identity(loop)[0], loop)
    def test_expected_errors(self):
        self.assertRaises(ZeroDivisionError, divide, 1, 0)
        with self.assertRaises(KeyError) as caught:
            look_up({}, "absent")
        self.assertEqual(caught.exception.args, ("absent",))
        with self.assertRaisesRegex(ValueError, "2 is too small"):
            must_be_large(2)
        with self.assertRaises(TooSmall) as caught:
            must_be_large(1)
        self.assertEqual(caught.exception.size, 1)
        self.assertRaises(TypeError, must_be_large)
        with self.assertRaises(SystemExit) as caught:
            quits()
        self.assertEqual(caught.exception.code, 3)
        try:
            divide("a", 1)
        except TypeError as error:
            self.assertIn("unsupported operand", str(error))
    def test_classes(self):
        stack = Stack([1]).push(2)
        stack.push([3])
        self.assertEqual((len(stack), stack.pop(), stack[0], list(stack)), (3, [3], 1, [1, 2]))
        self.assertEqual((stack.items, Stack.kind, str(stack)), ([1, 2], "stack", "Stack([1, 2])"))
        with stack as held:
            held.push(5)
        self.assertEqual(len(stack), 0)
        self.assertEqual(longest_chain([Pair(5, 24), Pair(39, 6)], 2), 1)
        tree = Node(1)
        tree.left = Node(2)
        tree.left.right = Node(3)
        self.assertEqual((height(tree), tree.left.data, tree.right), (3, 2, None))
        with self.assertRaises(AttributeError):
            stack.absent
    def test_output_and_chance(self):
        sys.stdout, kept = io.StringIO(), sys.stdout
        try:
            shout("loud")
            said = sys.stdout.getvalue()
        finally:
            sys.stdout = kept
        self.assertEqual(said, "LOUD\\n")
        first = draw(3)
        random.seed(7)
        self.assertEqual(first, [random.randint(1, 100) for _ in range(3)])
    def test_names_arguments_and_depth(self):
        self.assertEqual(keyed(1, 2, 3, b=4, c=5), (1, (2, 3), 4, {"c": 5}))
        self.assertEqual(LIMIT, [1, 2])
        self.assertEqual(nested(150), eval_nested(150))

def eval_nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value
"""


def run(code: str, tests: str, **how: bool) -> Execution:
    return run_tests(code, tests, LIMITS, given=Given(classes=("Stack", "Pair", "Node")), **how)


def test_what_honest_programs_return_change_and_raise_is_judged_from_outside() -> None:
    assert not reason_inside(CASES)
    done = run(PROGRAM, CASES, in_place=True)
    assert (done.verdict, done.wrong, done.error) == (Verdict.PASSED, (), ""), done
    assert done.tests == 11 and done.could_cheat is (best_confinement().walls is Walls.WEAK)


def test_arrays_come_over_with_their_type_and_shape() -> None:
    numpy = pytest.importorskip("numpy")
    assert numpy is not None
    code = (
        "import numpy as np\ndef twice(a):\n    return 2 * a\ndef total(a):\n    return a.sum()\n"
        "def fill(a):\n    a[:] = 7\ndef draw():\n    return np.random.rand(2)\ndef words():\n"
        "    return np.array(['a', None])\n"
    )
    tests = """
import numpy as np
np.random.seed(3)
given = np.arange(6.0).reshape(2, 3)
assert np.array_equal(twice(given), given + given) and twice(given).dtype == np.float64
assert isinstance(total(np.arange(3)), np.integer) and total(np.arange(3)) == 3
view = given
fill(given)
assert (view == 7).all()
first = draw()
np.random.seed(3)
np.testing.assert_allclose(first, np.random.rand(2))
assert words().tolist() == ["a", None]
"""
    done = run(code, tests, in_place=True)
    assert (done.verdict, done.tests) == (Verdict.PASSED, 4), done


def test_tables_of_pandas_come_over() -> None:
    pytest.importorskip("pandas")
    code = """
import pandas as pd
def ranked(table):
    return table.sort_values("n", ascending=False).assign(double=lambda t: 2 * t["n"])
def total(table):
    return table.groupby("word")["n"].sum()
def days():
    return pd.Series(pd.to_datetime(["2024-01-01", "2024-01-03"]), name="day")
class Yes(pd.DataFrame):
    def equals(self, other): return True
def cheat(table):
    return Yes(table.iloc[:1])
"""
    tests = """
import numpy as np
import pandas as pd
table = pd.DataFrame({"word": ["b", "a", None], "n": [1, 3, 2], "x": [0.5, np.nan, 1.0]}, index=["p", "q", "r"])
found = ranked(table)
assert isinstance(found, pd.DataFrame) and list(found.columns) == ["word", "n", "x", "double"]
pd.testing.assert_frame_equal(found, table.sort_values("n", ascending=False).assign(double=[6, 4, 2]))
assert found["n"].dtype == np.int64 and found.loc["q", "word"] == "a"
pd.testing.assert_series_equal(total(table), pd.Series({"a": 3, "b": 1}, name="n").rename_axis("word"))
assert days().dt.day.tolist() == [1, 3] and days().name == "day"
assert len(ranked(table.iloc[:0])) == 0
"""
    done = run(code, tests)
    assert (done.verdict, done.tests) == (Verdict.PASSED, 4), done
    assert run(code, tests + "assert cheat(table).equals(table)\n").verdict is Verdict.FAILED


def test_plain_assertions_in_the_form_of_humaneval_and_mbpp() -> None:
    check = "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\ncheck(total)\n"
    done = run("def total(numbers):\n    return sum(numbers)", check)
    assert (done.verdict, done.tests) == (Verdict.PASSED, 2)
    beside = run("def total(numbers):\n    return sum(numbers)", check, inside=True)
    assert (beside.verdict, beside.tests, beside.could_cheat) == (Verdict.PASSED, 2, True)
    assert (
        run("def total(numbers):\n    return sum(numbers)", check.replace("check(total)", "")).verdict is Verdict.FAILED
    )


def test_what_tests_stand_on_is_their_makers_and_not_the_programs() -> None:
    near = "def near(a, b):\n    return round(a, ROUND) == b"
    given = f"import math\nimport os\nROUND = 2\n{near}\nclass Box: pass\ndef area(r):\n"
    tests = "assert near(area(1), round(math.pi, 2))"
    right = "class Box: pass\ndef area(r):\n    return 3.14159 * r * r"
    found = standing_on(tests, given, "area", right)
    assert found.prelude == "import math\nROUND = 2\n" + near
    assert (found.functions, found.classes) == (("area",), ("Box",))
    cheat = "class math: pi = 0\nROUND = 0\ndef near(a, b):\n    return True\ndef area(r):\n    return 3"
    for code, verdict in ((cheat, Verdict.FAILED), (right, Verdict.PASSED)):
        assert run_tests(code, tests, LIMITS, given=found).verdict is verdict
    bare = Given(functions=found.functions)
    assert run_tests(cheat, tests, LIMITS, given=bare).verdict is Verdict.FAILED  # near is not the program's to define


def test_changes_in_place_reach_only_tests_that_need_them() -> None:
    emptied = "def ordered(numbers):\n    numbers.clear()\n    return numbers\n"
    tests = "given = [3, 1, 2]\nassert ordered(given) == sorted(given)\n"
    assert run(emptied, tests).verdict is Verdict.FAILED
    same = "def ordered(numbers):\n    numbers.sort()\n    return numbers\n"
    assert run(same, tests).verdict is Verdict.PASSED


def test_random_numbers_go_on_where_the_tests_left_them_and_never_come_back() -> None:
    draws = "import random\ndef draw():\n    return random.random()\n"
    tests = (
        "import random\nrandom.seed(5)\nfirst, second = random.random(), random.random()\nrandom.seed(5)\n"
        "assert draw() == first\nassert draw() == second\nrandom.seed(6)\nasked = random.random()\n"
        "draw()\nassert 0 < random.random() < 1 and asked > 0\n"
    )
    assert run(draws, tests).verdict is Verdict.PASSED
    zeros = "import random\ndef draw():\n    random.setstate((3, (0,) * 624 + (1,), None))\n    return 0\n"
    hoped = "import random\nrandom.seed(1)\ndraw()\nassert random.random() == draw()\n"
    assert run(zeros, hoped).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        ("from unittest.mock import patch\npatch('a.b')", "its tests use mock"),
        ("import os\nos.path.exists('a')", "its tests use os"),
        ("open('a')", "its tests use open"),
        ("import numpy as np\nassert f() == np.pi", ""),
        ("import os\nassert f() == 1", ""),
    ],
)
def test_tests_that_reach_for_more_than_values_are_known(tests: str, reason: str) -> None:
    assert reason_inside(tests) == reason
