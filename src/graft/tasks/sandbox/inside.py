"""Tests that must run inside, in one process with the program: it could cheat there, and every pass says so.

What is done against it: the tests never stand in a file; the machinery of the tests is compared with what it was before
the program ran, before and after they do; the verdict goes out with a word that the program was not told.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import types
import unittest
import unittest.mock
from pathlib import Path
from typing import Any

from .judge import begin, run_cases

_WATCHED = (
    unittest.case, unittest.loader, unittest.result, unittest.suite, unittest.mock, unittest, json, types, builtins,
)  # fmt: skip


def run(code: str, tests: str) -> dict[str, Any]:
    """Run a program and the tests about it in one module.

    Returns:
        ``ran``, ``wrong``, ``error`` and ``missing``, as from the judge outside.
    """
    before = _machinery()
    file = Path("program.py")
    file.write_text(code, encoding="utf-8", errors="replace")
    module = types.ModuleType("__test__")
    module.__dict__.update({"__file__": str(file.resolve()), "sys": sys, "os": os})
    sys.modules[module.__name__] = module
    try:
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), module.__dict__)
        own = dict(module.__dict__)
        changed = _changed(before, _machinery())
        asserted = begin(tests, module.__dict__)
        cases = _functions(module.__dict__.get("TestCases"))
        result = run_cases(module.__dict__, asserted)
    except ModuleNotFoundError as error:
        return {"ran": 0, "wrong": [], "error": str(error), "missing": (error.name or "").partition(".")[0]}
    except Exception as error:
        return {"ran": 0, "wrong": [], "error": f"{type(error).__name__}: {error}", "missing": ""}
    changed = changed or _changed(before, _machinery()) or _changed(cases, _functions(module.__dict__.get("TestCases")))
    if changed or "TestCases" in own:
        told = changed or "TestCases"
        return {"ran": result["ran"], "wrong": ["tampering"], "error": f"the program changed {told}", "missing": ""}
    return {**result, "missing": ""}


def _machinery() -> dict[str, Any]:
    """The objects that tests are run and judged with, by name; functions with their code."""
    found: dict[str, Any] = {}
    for module in _WATCHED:
        found[f"module {module.__name__}"] = sys.modules.get(module.__name__)
        for name, value in vars(module).items():
            if not callable(value) or name in ("_", "__loader__"):
                continue  # what is kept for later changes by itself
            found[f"{module.__name__}.{name}"] = _identity(value)
            if isinstance(value, type) and value.__module__.partition(".")[0] == "unittest":
                found |= {f"{name}.{key}": entry for key, entry in _functions(value).items()}
    return found


def _functions(kind: Any) -> dict[str, Any]:
    own = {} if not isinstance(kind, type) else {key: _identity(value) for key, value in vars(kind).items()}
    return {key: value for key, value in own.items() if not key.startswith(("__dict", "__weak", "_class", "_abc_"))}


def _identity(value: Any) -> tuple[Any, ...]:
    """The object and, of a function, what it does: its code can be exchanged in place."""
    plain = getattr(value, "__func__", value)
    if isinstance(plain, types.FunctionType):
        return (plain, plain.__code__, plain.__defaults__)
    return (value,)


def _changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The first name that stands for something else now; empty when none does."""
    for name, value in before.items():
        now = after.get(name)
        same = now is value if not isinstance(value, tuple) else _all_same(value, now)
        if not same:
            return name
    return ""


def _all_same(before: tuple[Any, ...], after: Any) -> bool:
    return len(after or ()) == len(before) and all(old is new for old, new in zip(before, after, strict=True))
