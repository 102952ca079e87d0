"""Values between a program and its judge: data only, by exact type, so that nothing of a program's own crosses over.

A message is a list of nodes, ``[kind, …]`` with the numbers of other nodes in place of values; the first names the
value. Lists, dicts, sets and arrays that a question brought keep their identity: the answer names the node that they
came as and what is in them now, so that changes in place arrive too.

Whatever is no plain data (an object of a class of the program's own, also one derived from ``int`` or ``list``, a
function, a generator) stays where it is; a handle goes over instead.
"""

from __future__ import annotations

import builtins
import datetime
import json
import os
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from typing import Any

from . import frames

Node = list[Any]

SPECIAL: Mapping[str, str] = {
    "__call__": "call", "__len__": "len", "__iter__": "iter", "__next__": "next", "__getitem__": "item",
    "__setitem__": "put", "__delitem__": "drop", "__enter__": "enter", "__exit__": "exit",
}  # fmt: skip
"""What can be done with an object over there, beside its attributes and its text: the method and the operation."""

MOST_BYTES = 32 * 2**20
"""The longest message."""

MOST_DEPTH = 200
"""How deeply values may lie in one another."""

_SEQUENCES: Mapping[str, type] = {kind.__name__: kind for kind in (list, set, deque)}
_MAPPINGS: Mapping[str, type] = {kind.__name__: kind for kind in (dict, OrderedDict, Counter, defaultdict)}
_FROZEN: Mapping[str, type] = {kind.__name__: kind for kind in (tuple, frozenset)}
_DATES: Mapping[str, Any] = {kind.__name__: kind for kind in (datetime.datetime, datetime.date, datetime.time)}
_EXACT: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "int": (hex, lambda text: int(text, 16)),
    "float": (float.hex, float.fromhex),
    "complex": (lambda value: [value.real.hex(), value.imag.hex()], lambda parts: complex(*map(float.fromhex, parts))),
    "bytes": (bytes.hex, bytes.fromhex),
    "Decimal": (str, Decimal),
    "Fraction": (
        lambda value: [hex(value.numerator), hex(value.denominator)],
        lambda parts: Fraction(int(parts[0], 16), int(parts[1], 16)),
    ),
    "range": (lambda value: [hex(part) for part in (value.start, value.stop, value.step)],
              lambda parts: range(*(int(part, 16) for part in parts))),
    "timedelta": (lambda value: [value.days, value.seconds, value.microseconds],
                  lambda parts: datetime.timedelta(*parts)),
}  # fmt: skip
"""How values without parts are written and read; the types are named below, exactly."""
_EXACT_TYPES: Mapping[type, str] = {
    int: "int", float: "float", complex: "complex", bytes: "bytes", Decimal: "Decimal", Fraction: "Fraction",
    range: "range", datetime.timedelta: "timedelta",
}  # fmt: skip
_NUMPY_KINDS = "biufcSUmM"


class NotData(Exception):  # noqa: N818  (an outcome, which breaks a run)
    """A value has no form as data, or a message is none."""


class Gone(NotData):
    """The other side ended."""


@contextmanager
def _deeper() -> Iterator[None]:
    """Room for values that lie in one another; a program's own limit is back afterwards."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10 * MOST_DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class Channel:
    """Messages over two pipes, one JSON line each.

    Args:
        read: descriptor that is read.
        write: descriptor that is written.
    """

    def __init__(self, read: int, write: int) -> None:
        self._in = os.fdopen(read, "rb")
        self._out = write

    def send(self, message: object) -> None:
        """Write a message.

        Raises:
            NotData: it is too long.
            Gone: the other side ended.
        """
        line = memoryview(json.dumps(message).encode() + b"\n")
        if len(line) > MOST_BYTES:
            raise NotData(f"a value is {len(line):,} bytes long; at most {MOST_BYTES:,} go over")
        while line:
            try:
                line = line[os.write(self._out, line) :]
            except BrokenPipeError:
                raise Gone("the program ended") from None

    def receive(self) -> Any:
        """Read a message.

        Raises:
            Gone: the other side ended.
            NotData: it wrote no message.
        """
        line = self._in.readline(MOST_BYTES + 1)
        if not line.endswith(b"\n"):
            raise Gone("the program ended") if len(line) <= MOST_BYTES else NotData("a value is too long")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise NotData(f"no message: {error}") from None


class Packer:
    """Writes values as nodes.

    Args:
        opaque: writes what is no data as a node, or raises `NotData`.
        came: objects that the other side sent, by id: the number of the node that they came as.
    """

    def __init__(self, opaque: Callable[[Any], Node], came: Mapping[int, int] | None = None) -> None:
        self.nodes: list[Node] = []
        self.kept: list[Any] = []
        self._opaque = opaque
        self._came = came or {}
        self._numbers: dict[int, int] = {}

    def pack(self, value: Any) -> list[Node]:
        """Write a value and all that is in it; its own node is number 0.

        Raises:
            NotData: it lies too deep, or `opaque` refuses it.
        """
        self.nodes.append(["", None])
        self.kept.append(self)
        with _deeper():
            self.nodes[0] = ["root", self._pack(value, 0)]
        return self.nodes

    def _pack(self, value: Any, depth: int) -> int:
        if depth > MOST_DEPTH:
            raise NotData(f"values lie more than {MOST_DEPTH} deep in one another")
        if id(value) in self._numbers:
            return self._numbers[id(value)]
        kind = type(value)
        if kind in _MUTABLE or _module_of(kind) == "numpy.ndarray":
            number = self._add(value, [kind.__name__, None, self._came.get(id(value))])
            self.nodes[number][1] = self._parts(value, depth)
            return number
        return self._add(value, self._node(value, kind, depth))

    def _add(self, value: Any, node: Node) -> int:
        self.nodes.append(node)
        self.kept.append(value)  # an id is good while its object lives
        self._numbers[id(value)] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def _node(self, value: Any, kind: type, depth: int) -> Node:
        if value is None or kind in (bool, str):
            return ["plain", value]
        if kind in _EXACT_TYPES:
            name = _EXACT_TYPES[kind]
            return [name, _EXACT[name][0](value)]
        if kind in (tuple, frozenset):
            return [kind.__name__, [self._pack(part, depth + 1) for part in value]]
        if kind in _DATES.values():
            return [kind.__name__, value.isoformat()]
        if isinstance(value, tuple) and kind.__bases__ == (tuple,) and hasattr(kind, "_fields"):
            parts = [self._pack(part, depth + 1) for part in tuple.__iter__(value)]
            return ["namedtuple", kind.__name__, list(kind._fields), parts]
        if kind is type and (name := _builtin(value)):
            return ["type", name]
        if (module := sys.modules.get("numpy")) and isinstance(value, module.generic) and _module_of(kind) == "numpy":
            return ["scalar", self._array(module.asarray(value), depth)]
        if (table := frames.kind_of(value)) and (cells := frames.plain(value)) is not None:
            return ["table", table, self._pack(cells, depth + 1)]
        return self._opaque(value)

    def _parts(self, value: Any, depth: int) -> Any:
        if type(value) is bytearray:
            return value.hex()
        if isinstance(value, dict):
            pairs = [[self._pack(key, depth + 1), self._pack(entry, depth + 1)] for key, entry in value.items()]
            return (
                [pairs, self._pack(value.default_factory, depth + 1)] if type(value) is defaultdict else [pairs, None]
            )
        if isinstance(value, list | set | deque):
            return [self._pack(part, depth + 1) for part in value]
        return self._array(value, depth)

    def _array(self, array: Any, depth: int) -> Any:
        if array.dtype.kind in _NUMPY_KINDS:
            return [array.dtype.str, list(array.shape), array.tobytes().hex()]
        if array.dtype.kind == "O":
            return ["O", list(array.shape), [self._pack(part, depth + 1) for part in array.ravel().tolist()]]
        raise NotData(f"an array of {array.dtype} is no data")


def _builtin(kind: Any) -> str:
    """The name of a type of Python's own; empty for others."""
    name = str(kind.__name__)
    return name if getattr(builtins, name, None) is kind else ""


_MUTABLE = frozenset((*_SEQUENCES.values(), *_MAPPINGS.values(), bytearray))


def _module_of(kind: type) -> str:
    """``numpy`` for a number of NumPy, ``numpy.ndarray`` for its arrays, nothing for other types."""
    module = sys.modules.get("numpy")
    if module is None:
        return ""
    if kind is module.ndarray:
        return "numpy.ndarray"
    return "numpy" if kind in module.sctypeDict.values() else ""


class Unpacker:
    """Makes values of nodes, trusting nothing in them.

    Args:
        nodes: those of a message.
        handle: makes what stands for an object on the other side.
        sent: objects that this side sent, by the number of their node; a reply fills them anew.

    Raises:
        NotData: a node is none.
    """

    def __init__(self, nodes: Any, handle: Callable[[Node], Any], sent: Mapping[int, Any] | None = None) -> None:
        if not isinstance(nodes, list):
            raise NotData("nodes are a list")
        self.nodes = nodes
        self.made: dict[int, Any] = {}
        self._handle = handle
        self._sent = sent or {}

    def unpack(self) -> Any:
        """The value of the message.

        Raises:
            NotData: a node is none, or lies in itself, or too deep.
        """
        with _deeper():
            return self._unpack(self.nodes[0][1] if self.nodes and self.nodes[0][:1] == ["root"] else None, 0)

    def _unpack(self, number: Any, depth: int) -> Any:
        if type(number) is not int or not 0 <= number < len(self.nodes) or depth > MOST_DEPTH:
            raise NotData("no such node, or values lie too deep in one another")
        if number not in self.made:
            try:
                self._make(number, self.nodes[number], depth)
            except NotData:
                raise
            except Exception as error:
                raise NotData(f"no node: {type(error).__name__}: {error}") from None
        return self.made[number]

    def _make(self, number: int, node: Node, depth: int) -> None:
        kind = node[0]
        if kind in _SEQUENCES or kind in _MAPPINGS or kind in ("bytearray", "ndarray"):
            self._make_mutable(number, node, depth)
        elif kind == "plain" and (node[1] is None or type(node[1]) in (bool, str)):
            self.made[number] = node[1]
        elif kind in _EXACT:
            self.made[number] = _EXACT[kind][1](node[1])
        elif kind in _FROZEN:
            self.made[number] = _FROZEN[kind](self._all(node[1], depth))
        elif kind in _DATES:
            self.made[number] = _DATES[kind].fromisoformat(node[1])
        elif kind == "namedtuple":
            from collections import namedtuple

            self.made[number] = namedtuple(node[1], node[2])(*self._all(node[3], depth))
        elif kind == "type" and isinstance(found := getattr(builtins, node[1], None), type):
            self.made[number] = found
        elif kind == "scalar":
            self.made[number] = self._array(node[1], depth)[()]
        elif kind == "table":
            self.made[number] = frames.made(node[1], self._unpack(node[2], depth + 1))
        else:
            self.made[number] = self._handle(node)

    def _make_mutable(self, number: int, node: Node, depth: int) -> None:
        """Make an empty one first: it may lie in itself."""
        kind, parts, place = node
        old: Any = self._sent.get(place) if type(place) is int else None
        same = old is not None and type(old).__name__ == kind
        if kind == "ndarray":
            array = self._array(parts, depth)
            if same and old.shape == array.shape and old.dtype == array.dtype:
                old[...] = array
                array = old
            self.made[number] = array
            return
        value: Any = old if same else {**_SEQUENCES, **_MAPPINGS, "bytearray": bytearray}[kind]()
        self.made[number] = value
        if kind == "bytearray":
            value[:] = bytes.fromhex(parts)
        elif kind in _MAPPINGS:
            pairs = [(self._unpack(key, depth + 1), self._unpack(entry, depth + 1)) for key, entry in parts[0]]
            value.clear()
            for key, entry in pairs:
                value[key] = entry
            if kind == "defaultdict":
                value.default_factory = self._unpack(parts[1], depth + 1)
        else:
            entries = self._all(parts, depth)
            value.clear()
            value.update(entries) if kind == "set" else value.extend(entries)

    def _all(self, numbers: Iterable[Any], depth: int) -> list[Any]:
        return [self._unpack(number, depth + 1) for number in numbers]

    def _array(self, parts: Any, depth: int) -> Any:
        import numpy

        kind, shape, content = parts
        if kind == "O":
            flat = numpy.empty(len(content), dtype=object)
            flat[:] = self._all(content, depth)
            return flat.reshape(shape)
        dtype = numpy.dtype(str(kind))
        if dtype.kind not in _NUMPY_KINDS:
            raise NotData(f"an array of {dtype} is no data")
        return numpy.frombuffer(bytes.fromhex(content), dtype=dtype).reshape(shape).copy()
