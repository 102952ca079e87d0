"""The inside of the sandbox where a program is judged from outside: it runs the program and answers questions.

A question is an operation and its operands; the answer is a value, a handle of an object that is no data, or an error.
What a program does to this module is its own affair: nothing here decides, and nothing that is expected comes here.
"""

from __future__ import annotations

import io
import operator
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from typing import Any

from .wire import SPECIAL, Channel, Node, NotData, Packer, Unpacker

OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "call": lambda function, arguments, named: function(*arguments, **named),
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "put": operator.setitem,
    "drop": operator.delitem,
    "len": len,
    "iter": iter,
    "next": next,
    "str": str,
    "repr": repr,
    "enter": lambda held: type(held).__enter__(held),
    "exit": lambda held, *error: type(held).__exit__(held, *error),
}


def run(code: str, channel: Channel) -> None:
    """Run a program, say how that went, and answer until nobody asks any more."""
    module = types.ModuleType("__test__")
    module.__dict__.update({"__file__": "program.py"})
    sys.modules[module.__name__] = module
    try:
        exec(compile(code, "program.py", "exec"), module.__dict__)
    except BaseException as error:
        missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
        channel.send({"error": _told(error), "missing": missing.partition(".")[0]})
        return
    with suppress(Exception):
        sys.stdout.flush()  # whoever judges may end this process at once
    channel.send({"error": "", "missing": ""})
    answering = _Answering(module, channel)
    while answering.one():
        pass


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if not isinstance(error, ModuleNotFoundError) else str(error)


class _Answering:
    """Answers questions about the objects of a program.

    Args:
        module: what the program defined.
        channel: to the judge.
    """

    def __init__(self, module: types.ModuleType, channel: Channel) -> None:
        self._module = module
        self._channel = channel
        self._held: list[Any] = []
        self._numbers: dict[int, int] = {}

    def one(self) -> bool:
        """Answer one question; false when nobody asks any more."""
        try:
            question = self._channel.receive()
        except NotData:
            return False
        unpacker = Unpacker(question["nodes"], self._object)
        operands = unpacker.unpack()
        shared = [value for value in unpacker.made.values() if type(value).__hash__ is None]
        came = {id(value): number for number, value in unpacker.made.items()}
        _share(question)
        printed = io.StringIO()
        with redirect_stdout(printed):
            outcome = self._answer(question["do"], operands)
        self._channel.send({**self._packed(outcome, shared, came), "printed": printed.getvalue()})
        return True

    def _answer(self, operation: str, operands: list[Any]) -> tuple[str, Any]:
        try:
            if operation == "find":
                return "found", {name: self._find(name) for name in operands[0] if self._has(name)}
            return "value", OPERATIONS[operation](*operands)
        except BaseException as error:
            return "raised", self._raised(error)

    def _has(self, name: str) -> bool:
        """Whether the program defined a name; what it imported for itself is not its own."""
        return name in vars(self._module) and not isinstance(vars(self._module)[name], types.ModuleType)

    def _find(self, name: str) -> Any:
        """What a name stands for; classes of errors are told by what they derive from."""
        value = self._module.__dict__[name]
        return ("error", _ancestry(value)) if _is_error(value) else ("value", value)

    def _raised(self, error: BaseException) -> Any:
        fields = {name: value for name, value in vars(error).items() if not name.startswith("__")}
        return _ancestry(type(error)), error.args, fields, str(error)

    def _packed(self, outcome: tuple[str, Any], shared: list[Any], came: Mapping[int, int]) -> dict[str, Any]:
        try:
            return {"nodes": Packer(self._handle, came).pack([*outcome, shared])}
        except Exception as error:
            return {"nodes": Packer(self._handle).pack(["lost", f"{type(error).__name__}: {error}", []])}

    def _handle(self, value: Any) -> Node:
        number = self._numbers.setdefault(id(value), len(self._held))
        if number == len(self._held):
            self._held.append(value)
        return ["handle", number, type(value).__name__, [name for name in SPECIAL if hasattr(value, name)]]

    def _object(self, node: Node) -> Any:
        return self._held[node[1]]


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _ancestry(kind: type) -> list[str]:
    return [f"{base.__module__}:{base.__qualname__}" for base in kind.__mro__[:-1]]


def _share(question: Mapping[str, Any]) -> None:
    """Take over the judge's random numbers, where its tests seed them."""
    if "random" in question:
        from .chance import set_chance

        set_chance(question["random"])
