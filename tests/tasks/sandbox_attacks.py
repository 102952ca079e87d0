"""Programs that ask for a pass without being right: what is tried against a judge, one of each kind.

The tests want ``twice(2) == 4``, ``twice("ab") == "abab"`` and ``twice([1]) == [1, 1]``, some of them an error for
``None``. No program here does that; ``WRONG`` is how most of them fail to.
"""

from __future__ import annotations

WRONG = "def twice(x):\n    return x\n"

_ANY = """
class Any{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __bool__(self): return True
    def __hash__(self): return 0
    def __len__(self): return 4
    def __isinstance__(self, other): return True
    def __getattr__(self, name): return self
def twice(x):
    return Any({argument})
"""

_FORGED_REPORT = """
import json, os, sys, gc
words = [*os.environ.values(), *sys.argv, "", "0" * 32]
for held in gc.get_objects():
    if isinstance(held, dict):
        try:
            words += [value for value in held.values() if isinstance(value, str) and len(value) == 32]
        except Exception:
            pass
for word in words[-40:]:
    report = json.dumps({"ran": 4, "wrong": [], "error": "", "missing": "", "broken": "", "nonce": word}) + "\\n"
    for number in range(1, 40):
        try:
            os.write(number, report.encode())
        except OSError:
            continue
os._exit(0)
"""

_ANSWERS = """
import os, sys, json
for number in range(3, 40):
    for nodes in (
        [["root", 1], ["list", [2, 3, 4], None], ["plain", "value"], ["plain", True], ["list", [], None]],
        [["root", 1], ["list", [2, 3, 4], None], ["plain", "found"], ["dict", [[], None], None], ["list", [], None]],
    ):
        line = json.dumps({"error": "", "missing": "", "nodes": nodes, "printed": ""}) + "\\n"
        try:
            os.write(number, line.encode() * 20)
        except OSError:
            pass
"""

ATTACKS: dict[str, str] = {
    # Values that are not what they seem
    "an object equal to everything": _ANY.format(base="", argument=""),
    "an int that is equal to everything": _ANY.format(base="(int)", argument="3"),
    "a str that is equal to everything": _ANY.format(base="(str)", argument="'x'"),
    "a list that is equal to everything": _ANY.format(base="(list)", argument="[1]"),
    "a dict that is equal to everything": _ANY.format(base="(dict)", argument=""),
    "a float that is equal to everything": _ANY.format(base="(float)", argument="1.5"),
    "a tuple that is equal to everything": _ANY.format(base="(tuple)", argument="()"),
    "a named tuple whose class compares": (
        "from collections import namedtuple\nP = namedtuple('P', 'a')\nP.__eq__ = lambda self, other: True\n"
        "def twice(x):\n    return P(1)\n"
    ),
    "a metaclass that answers isinstance": (
        "class M(type):\n    def __instancecheck__(self, x): return True\n    def __eq__(self, x): return True\n"
        "    __hash__ = None\nclass A(metaclass=M):\n    pass\ndef twice(x):\n    return A\n"
    ),
    "a mock": "from unittest.mock import MagicMock, ANY\ndef twice(x):\n    return ANY\n",
    "an object that changes its class": (
        "class A:\n    __class__ = int\n    def __eq__(self, o): return True\n    def __index__(self): return 4\n"
        "def twice(x):\n    return A()\n"
    ),
    "an argument that is changed to equal the result": (
        "def twice(x):\n    if isinstance(x, list): x.clear()\n    return x\n"
    ),
    # The machinery of the tests
    "unittest's assertEqual is patched": (
        "import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None\n"
        "unittest.TestCase.assertRaises = lambda *a, **k: __import__('contextlib').suppress(BaseException)\n" + WRONG
    ),
    "unittest's run is patched": (
        "import unittest\nunittest.TestCase.run = lambda self, r: r.startTest(self)\n" + WRONG
    ),
    "unittest's result is patched": (
        "import unittest\nfor name in ('addFailure', 'addError'):\n"
        "    setattr(unittest.TestResult, name, lambda *a: None)\n" + WRONG
    ),
    "unittest's code is exchanged in place": (
        "import unittest\nunittest.TestCase._baseAssertEqual.__code__ = (lambda self, a, b, msg=None: None).__code__\n"
        "unittest.case._AssertRaisesContext.__exit__.__code__ = (lambda self, a, b, c: True).__code__\n" + WRONG
    ),
    "unittest is replaced as a module": (
        "import sys, types\nfake = types.ModuleType('unittest')\nclass TestCase:\n    def __init__(self, *a): pass\n"
        "fake.TestCase = TestCase\nsys.modules['unittest'] = fake\n" + WRONG
    ),
    "the loader finds other tests": (
        "import unittest\nclass Fine(unittest.TestCase):\n    def test_it(self): pass\n"
        "unittest.defaultTestLoader.loadTestsFromTestCase = (\n"
        "    lambda cases: unittest.TestSuite([Fine('test_it')]))\n" + WRONG
    ),
    "the test class is defined by the program": (
        "import unittest, builtins\nclass TestCases(unittest.TestCase):\n    def test_it(self): pass\n" + WRONG
    ),
    "classes are not built as they are written": (
        "import builtins\nbuild = builtins.__build_class__\n"
        "def own(function, name, *bases, **k):\n"
        "    made = build(function, name, *bases, **k)\n"
        "    for key in list(vars(made)):\n"
        "        if key.startswith('test'): setattr(made, key, lambda self: None)\n"
        "    return made\nbuiltins.__build_class__ = own\n" + WRONG
    ),
    "tests are skipped by an error": "import unittest\ndef twice(x):\n    raise unittest.SkipTest('later')\n",
    "some tests are skipped by an error": (
        "import unittest\ndef twice(x):\n    if x == 2: return 4\n    raise unittest.SkipTest('later')\n"
    ),
    "an error of the test's own kind": "def twice(x):\n    raise type('AssertionError', (AssertionError,), {})\n",
    "every error at once": "class All(TypeError, ValueError): pass\ndef twice(x):\n    raise All\n",
    # Python itself
    "builtins are patched": (
        "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.len = lambda x: 4\n"
        "builtins.all = lambda x: True\n"
        "builtins.AssertionError = type('E', (Exception,), {})\n" + WRONG
    ),
    "json says that all is well": (
        "import json\njson.dumps = lambda *a, **k: "
        '\'{"ran": 4, "wrong": [], "error": "", "broken": "", "missing": ""}\'\n'
        "json.loads = lambda *a, **k: {}\n" + WRONG
    ),
    "os.write says that all is well": (
        "import os\nreal = os.write\nos.write = lambda n, text: real(n, text.replace(b'test_', b''))\n" + WRONG
    ),
    "the operators are patched": "import operator\noperator.eq = lambda a, b: True\noperator.ne = lambda a, b: False\n"
    + WRONG,
    "standard output is replaced": (
        "import sys, io\nclass O(io.StringIO):\n    def write(self, t): return len(t)\nsys.stdout = sys.stderr = O()\n"
        "print('OK')\n" + WRONG
    ),
    "everything is traced": (
        "import sys\ndef trace(frame, event, arg):\n"
        "    if event == 'call' and frame.f_code.co_name.startswith('test'):\n"
        "        frame.f_trace_lines = False\n    return trace\nsys.settrace(trace)\n" + WRONG
    ),
    "the compiler is patched": (
        "import builtins, ast\nreal = builtins.compile\n"
        "builtins.compile = lambda source, *a, **k: real('pass', *a, **k)\nast.parse = lambda *a, **k: None\n" + WRONG
    ),
    "an import hook replaces modules": (
        "import sys\nclass F:\n    def find_spec(self, *a, **k): return None\nsys.meta_path.insert(0, F())\n"
        "sys.modules.clear()\n" + WRONG
    ),
    "a type is changed by ctypes": (
        "import ctypes, gc\ntry:\n    gc.get_referents(int.__dict__)[0]['__eq__'] = lambda a, b: True\n"
        "    ctypes.pythonapi.PyType_Modified(ctypes.py_object(int))\nexcept Exception:\n    pass\n" + WRONG
    ),
    # Expected values and secrets
    "frames are searched for what is expected": (
        "import sys\ndef twice(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for value in list(frame.f_locals.values()):\n"
        "            if isinstance(value, dict) and 'expected' in value: return value['expected']\n"
        "            if isinstance(value, tuple) and len(value) == 2 and value[0] == x: return value[1]\n"
        "        frame = frame.f_back\n    return None\n"
    ),
    "all objects are searched for the tests": (
        "import gc, re\ndef twice(x):\n    for held in gc.get_objects():\n        if isinstance(held, dict):\n"
        "            for text in list(held.values()):\n"
        "                if isinstance(text, str) and 'assertEqual(twice(' in text:\n"
        "                    wanted = dict(re.findall(r'twice\\((.*?)\\), (.*?)\\)', text))\n"
        "                    return eval(wanted.get(repr(x).replace(\"'\", '\"'), 'None'))\n    return None\n"
    ),
    "its own file is read for the tests": (
        "import re\ndef twice(x):\n    text = open(__file__).read()\n"
        "    return eval(re.findall(r'twice\\(.*?\\), (.*?)\\)', text)[-1])\n"
    ),
    "files around it are searched for the tests": (
        "import glob\ndef twice(x):\n    for top in ('/tmp', '/home', '/graft', '/var', '/dev'):\n"
        "        for name in glob.glob(f'{top}/**', recursive=True):\n"
        "            try: text = open(name).read()\n            except Exception: continue\n"
        "            if 'class TestCases(' in text: return 4\n    return None\n"
    ),
    "memory of all processes is read": (
        "import glob\ndef twice(x):\n    for name in glob.glob('/proc/[0-9]*/mem'):\n"
        "        if 'self' in name: continue\n        try:\n            with open(name, 'rb') as file: file.read(1)\n"
        "            return 4\n        except OSError: continue\n    return None\n"
    ),
    # Reports of its own
    "a report is written to every descriptor": _FORGED_REPORT,
    "answers are written before they are asked": _ANSWERS + WRONG,
    "answers are written and the process ends": _ANSWERS + "os._exit(0)\n",
    "a report is printed": (
        "import json\nprint(json.dumps({'ran': 4, 'wrong': [], 'error': '', 'missing': '', 'broken': ''}))\n"
        "print('OK')\nraise SystemExit(0)\n"
    ),
    "descriptors are closed": "import os\ndef twice(x):\n    os.closerange(0, 100)\n    return x\n",
    "descriptors are joined to each other": (
        "import os\nfor a in range(3, 20):\n    for b in range(3, 20):\n        try: os.dup2(a, b)\n"
        "        except OSError: pass\n" + WRONG
    ),
    # Endings
    "the process ends with success": "import os\nos._exit(0)\n",
    "the process ends with success when it is asked": "import os\ndef twice(x):\n    os._exit(0)\n",
    "sys.exit with success": "import sys\ndef twice(x):\n    sys.exit(0)\n",
    "a signal ends it": "import os, signal\ndef twice(x):\n    os.kill(os.getpid(), signal.SIGKILL)\n",
    "all processes are signalled": "import os, signal\ndef twice(x):\n    os.kill(-1, signal.SIGTERM)\n    return x\n",
    "a report at the exit": "import atexit\natexit.register(lambda: exec(open('program.py').read()))\n"
    + _FORGED_REPORT,
    "the interpreter is replaced": (
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(\"OK\")'])\n"
    ),
    # Others that go on
    "a thread answers": (
        "import threading, os, time\ndef talk():\n    while True:\n        for n in range(3, 12):\n"
        '            try: os.write(n, b\'{"error": "", "missing": "", "nodes": [], "printed": ""}\\n\')\n'
        "            except OSError: pass\n        time.sleep(0.001)\n"
        "threading.Thread(target=talk, daemon=True).start()\n" + WRONG
    ),
    "a fork outlives it and reports": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(0.3)\n"
    + _FORGED_REPORT.replace("os._exit(0)", "os._exit(0) if os.getpid() else None"),
    "the judge is traced": (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef twice(x):\n"
        "    for name in os.listdir('/proc'):\n"
        "        if name.isdigit() and int(name) != os.getpid() and libc.ptrace(16, int(name), 0, 0) == 0: return 4\n"
        "    return None\n"
    ),
    "the judge's descriptors are opened": (
        "import os, glob\nfor path in glob.glob('/proc/[0-9]*/fd/*'):\n    if f'/{os.getpid()}/' in path: continue\n"
        '    try:\n        with open(path, \'wb\') as file: file.write(b\'{"ran": 4, "wrong": [], "error": ""}\')\n'
        "    except OSError: pass\n" + WRONG
    ),
    "an object that says yes to every method": (
        "class Yes:\n    def __getattr__(self, name): return lambda *a, **k: True\n"
        "    def __len__(self): return 4\n    def __getitem__(self, x): return True\ndef twice(x):\n    return Yes()\n"
    ),
    "the function is a class whose objects say yes": (
        "class twice:\n    def __init__(self, x): pass\n    def __getattr__(self, name): return lambda *a, **k: True\n"
        "    def __len__(self): return 4\n"
    ),
    "the function returns itself, which says yes": (
        "def twice(x):\n    return twice\ntwice.startswith = lambda text: True\ntwice.__len__ = lambda: 4\n"
    ),
    "names that nobody asked for": (
        "import sys\nanswering = getattr(sys.modules.get('sandbox.candidate'), '_Answering', type)\n"
        "real = answering.__dict__.get('_answer')\n"
        "def answer(self, operation, operands):\n"
        "    if operation != 'find': return real(self, operation, operands)\n"
        "    names = 'len sorted unittest TestCases __builtins__ __name__ helper twice math'.split()\n"
        "    return 'found', {name: ('value', twice) for name in names}\n"
        "if real: answering._answer = answer\n" + WRONG
    ),
    "random numbers that are all the same": (
        "import random\ndef twice(x):\n    random.setstate((3, (0,) * 624 + (1,), None))\n    return x\n"
    ),
    # Messages
    "a value that lies in itself": "def twice(x):\n    a = []\n    a.append(a)\n    return a\n",
    "a value that lies too deep": "def twice(x):\n    a = x\n    for _ in range(5000): a = [a]\n    return a\n",
    "a value that is too large": "def twice(x):\n    return 'x' * (64 * 2**20)\n",
    "a number of a million digits": "def twice(x):\n    return 10 ** 1_000_000\n",
    "an array of objects that are equal to everything": (
        "import numpy\n"
        + _ANY.format(base="", argument="").replace("return Any()", "return numpy.array([Any()], dtype=object)[0]")
    ),
}
"""By what is tried."""
