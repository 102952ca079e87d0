"""The judge: runs the tests in a pristine process, while the program that they are about runs in another.

What the program defined stands here as proxies: a call carries its arguments over by value and brings the result back
by value, in exact types made here. A test decides only on those; where it would have to ask the program for the
decision (whether an object of the program's own equals something, or is true), the run is broken and no pass.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import types
import unittest
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from .chance import chance
from .wire import SPECIAL, Channel, Gone, Node, NotData, Packer, Unpacker

_UNDECIDED = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__bool__", "__contains__")
_OF_ANY = ("call", "iter", "next", "len", "str", "repr")
"""What may be asked of any object: it says no more than a list, a text or a function could."""

_NO_ERRORS = ("unittest", "sandbox", "__main__")
"""Modules whose errors mean something to the judge, such as that a test is skipped."""


class Judge:
    """Runs tests about a program that is elsewhere.

    Args:
        channel: to the program.
        in_place: what the program changes in its arguments reaches the tests.
        random: the tests use random numbers; where they have seeded or drawn them, their state goes over.
    """

    def __init__(self, channel: Channel, *, in_place: bool, random: bool) -> None:
        self.broken = ""
        """Why nothing that the tests say counts; empty while it does."""
        self.gone = False
        """The program ended before its tests did."""
        self._channel = channel
        self._in_place = in_place
        self._random = random
        self._chance: list[Any] = []
        self._errors: dict[str, type[BaseException]] = {}
        self._kinds: dict[tuple[str, ...], type[Proxy]] = {}
        self._proxies: dict[tuple[int, bool], Proxy] = {}

    def refuse(self, reason: str) -> NoReturn:
        """Break the run: a test that catches this error changes nothing.

        Raises:
            NotData: always.
        """
        self.broken = self.broken or reason
        raise NotData(reason)

    def ask(self, operation: str, *operands: Any) -> Any:
        """Have something done over there.

        Returns:
            The value that came back.

        Raises:
            NotData: the run is broken.
            BaseException: what the program raised, made anew here.
        """
        if self.broken:
            self.refuse(self.broken)
        own = self._may(operation, operands)
        try:
            packer = Packer(self._opaque)
            question: dict[str, Any] = {"do": operation, "nodes": packer.pack(list(operands))}
            if self._random and (now := chance()) != self._chance:
                self._chance = question["random"] = now  # the program draws on from its own else
            self._channel.send(question)
            answer = self._channel.receive()
            sent = {place: value for place, value in enumerate(packer.kept) if type(value).__hash__ is None}
            make = partial(self._proxy, own=own, theirs=self._theirs(operands[:1], packer.kept))
            status, result, _ = Unpacker(answer["nodes"], make, sent if self._in_place else {}).unpack()
            sys.stdout.write(answer["printed"])
        except Exception as error:
            self.gone = self.gone or isinstance(error, Gone)
            self.refuse(str(error) if isinstance(error, NotData) else f"no answer: {type(error).__name__}: {error}")
        if status == "raised":
            raise self._error(*result)
        if status == "lost":
            self.refuse(f"a result is no data: {result}")
        return result

    def _may(self, operation: str, operands: Sequence[Any]) -> bool:
        """Break the run where an object that the program made up is asked for more than values.

        Returns:
            Whether what comes back belongs to the tests: an object that they make, or a part of one.
        """
        held = operands[0] if operands else None
        if not isinstance(held, Proxy) or operation in _OF_ANY:
            return isinstance(held, Proxy) and operation == "call" and held._makes
        if not held._own:
            self.refuse(f"{operation} of a {held._kind} would be decided by the program itself")
        return True

    def _theirs(self, asked: Sequence[Any], operands: Sequence[Any]) -> set[int]:
        """Numbers of the objects of the tests that may come back: those that went over, and from a method any."""
        if any(isinstance(value, Proxy) and value._own for value in asked):
            return {number for number, own in self._proxies if own}
        return {value._number for value in operands if isinstance(value, Proxy) and value._own}

    def find(self, names: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
        """What the program calls by these names; those that it does not know are left out.

        Args:
            names: what is asked for; whatever else comes back is not taken.
            classes: those of them by which the tests make objects of their own.
        """
        found = self.ask("find", list(names))
        known = {}
        for name in names:
            if name in found:
                kind, value = found[name]
                known[name] = self._error_kind(value) if kind == "error" else value
                if isinstance(value, Proxy) and name in classes:
                    vars(value).update(_own=True, _makes=True)
                    self._proxies[(value._number, True)] = value
        return known

    def _opaque(self, value: Any) -> Node:
        if isinstance(value, Proxy):
            return ["handle", value._number]
        raise NotData(f"the tests hand over a {type(value).__name__}, which is no data")

    def _proxy(self, node: Node, own: bool, theirs: set[int]) -> Proxy:
        _, number, kind, special = node
        place = (int(number), own or number in theirs)
        if place not in self._proxies:
            able = tuple(sorted(set(special) & set(SPECIAL)))
            if able not in self._kinds:
                self._kinds[able] = type("Proxy", (Proxy,), {name: _special(SPECIAL[name]) for name in able})
            self._proxies[place] = self._kinds[able](self, place[0], str(kind), place[1])
        return self._proxies[place]

    def _error(
        self, ancestry: list[str], arguments: tuple[Any, ...], fields: dict[str, Any], text: str
    ) -> BaseException:
        """An error of the program, of the same kind and with the same text."""
        kind = self._error_kind(ancestry)
        try:
            error = kind(*arguments)
        except Exception:
            error = kind.__new__(kind)
            error.args = tuple(arguments)
        if str(error) != text:
            error = type(kind.__name__, (kind,), {"__init__": _nothing, "__str__": lambda self: str(text)})()
            error.args = tuple(arguments)
        vars(error).update({name: value for name, value in fields.items() if not hasattr(error, name)})
        return error

    def _error_kind(self, ancestry: list[str]) -> type[BaseException]:
        """The class of an error: a known one, or one of this name derived from the nearest that is known."""
        if not ancestry:
            return Exception
        if ancestry[0] not in self._errors:
            module, _, name = ancestry[0].partition(":")
            known = getattr(sys.modules.get(module), name, None)
            trusted = isinstance(known, type) and issubclass(known, (Exception, SystemExit))
            if not trusted or module.partition(".")[0] in _NO_ERRORS:
                known = type(name.rpartition(".")[2], (self._error_kind(ancestry[1:]),), {})
            self._errors[ancestry[0]] = known  # type: ignore[assignment]
        return self._errors[ancestry[0]]


def _nothing(self: object, *_: object) -> None:
    """Take no arguments."""


def _special(operation: str) -> Callable[..., Any]:
    if operation == "call":
        return lambda self, *arguments, **named: self._judge.ask("call", self, arguments, named)
    return lambda self, *operands: self._judge.ask(operation, self, *operands)


class Proxy:
    """Stands for an object of the program.

    Args:
        judge: asks the program.
        number: what the object is called over there.
        kind: name of its class.
        own: the tests made it, or it is a part of what they made.
    """

    def __init__(self, judge: Judge, number: int, kind: str, own: bool) -> None:
        vars(self).update(_judge=judge, _number=number, _kind=kind, _own=own, _makes=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._judge.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._judge.ask("set", self, name, value)

    def __str__(self) -> str:
        return str(self._judge.ask("str", self))

    def __repr__(self) -> str:
        return str(self._judge.ask("repr", self))

    __hash__ = object.__hash__


def _undecided(name: str) -> Callable[..., Any]:
    def decide(self: Any, *_: object) -> Any:
        return self._judge.refuse(f"{name} of a {self._kind} would be decided by the program itself")

    return decide


for _name in _UNDECIDED:
    setattr(Proxy, _name, _undecided(_name))


class _Counting(ast.NodeTransformer):
    """Counts plain assertions as they are made: one that is never reached is no test."""

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        counted = ast.parse("__asserted__()").body[0]
        return [ast.copy_location(counted, node), node]


def run(tests: str, given: Mapping[str, Any], in_place: bool, channel: Channel) -> dict[str, Any]:
    """Judge a program.

    Args:
        tests: source of a class ``TestCases``, or of plain assertions.
        given: what their makers give with them: the fields of `graft.tasks.sandbox.screen.Given`.
        in_place: what the program changes in its arguments reaches the tests.
        channel: to the program.

    Returns:
        ``ran``, ``wrong`` (names of failed tests), ``error``, ``missing`` (a module that is not installed), and
        ``broken``: why it could not be judged from here.

    Raises:
        Gone: the program ended before its tests did.
    """
    begun = channel.receive()
    if begun["error"]:
        return {"ran": 0, "wrong": [], "error": str(begun["error"]), "missing": str(begun["missing"]), "broken": ""}
    prelude, asked, classes = given["prelude"], given["functions"], given["classes"]
    judge = Judge(channel, in_place=in_place, random=bool(re.search(r"\brandom\b", tests + prelude)))
    module = types.ModuleType("__test__")
    space = vars(module)
    sys.modules[module.__name__] = module
    try:
        exec(compile(prelude, "prelude.py", "exec"), space)
        opened = _left_open(ast.parse(tests), space)
        names = [name for name in opened if asked is None or name in (*asked, *classes)]
        space.update(judge.find(names, classes))
        found = run_cases(space, begin(tests, space))
    except ModuleNotFoundError as error:
        found = {"ran": 0, "wrong": [], "error": str(error), "missing": (error.name or "").partition(".")[0]}
    except (Exception, SystemExit) as error:
        found = {"ran": 0, "wrong": [], "error": f"{type(error).__name__}: {error}"}
    if judge.gone:
        raise Gone(judge.broken)
    return {"missing": "", **found, "broken": judge.broken}


def _left_open(tree: ast.AST, space: Mapping[str, Any]) -> list[str]:
    """Names that the tests read and that neither they nor Python explain."""
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return sorted(name for name in read if name not in space and not hasattr(builtins, name))


def begin(tests: str, space: dict[str, Any]) -> int:
    """Run the source of tests in a module.

    Returns:
        How many plain assertions were made; all of them hold.

    Raises:
        AssertionError: one of them does not.
    """
    made: list[None] = []
    space["__asserted__"] = partial(made.append, None)
    tree = ast.fix_missing_locations(_Counting().visit(ast.parse(tests)))
    exec(compile(tree, "tests.py", "exec"), space)
    return len(made)


def run_cases(space: Mapping[str, Any], asserted: int) -> dict[str, Any]:
    """Run the class ``TestCases`` of a module, where it has one.

    Args:
        space: what the module defines.
        asserted: plain assertions that held already.

    Returns:
        ``ran``, ``wrong`` and ``error``. A test that skips itself while it runs is wrong.
    """
    result, cases = unittest.TestResult(), space.get("TestCases")
    if cases is not None:
        unittest.TestLoader().loadTestsFromTestCase(cases).run(result)
    skipped = [(test, f"skipped: {why}") for test, why in result.skipped if not _declared(test)]
    wrong = [*result.failures, *result.errors, *skipped, *((test, "") for test in result.unexpectedSuccesses)]
    names = [str(test).partition(" ")[0] for test, _ in wrong]
    first = wrong[0][1].strip().rpartition("\n")[2] if wrong else ""
    return {"ran": asserted + result.testsRun - len(result.skipped), "wrong": names, "error": first}


def _declared(test: Any) -> bool:
    """Whether a test is skipped by a word of its makers above it."""
    own = getattr(test, getattr(test, "_testMethodName", ""), None)
    return bool(getattr(own, "__unittest_skip__", False) or getattr(type(test), "__unittest_skip__", False))
