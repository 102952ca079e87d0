"""What tests reach for: whether they can be run apart from the program that they judge, and what they stand on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_BY_VALUE = frozenset(
    """abc base64 binascii bisect calendar cmath collections copy dataclasses datetime decimal doctest enum fractions
    functools hashlib heapq io itertools json math numbers numpy operator pandas random re statistics string sys
    textwrap time types typing unicodedata unittest""".split()  # noqa: SIM905
)
"""Modules that tests use on values. What they would do to files, processes or figures, or to the program itself, they
have to do beside the program."""

_BESIDE = ("mock", "patch", "open", "exec", "eval", "globals", "inspect")
"""Names by which tests look into a program or at its files."""


def reason_inside(tests: str, prelude: str = "") -> str:
    """Why tests must run in one process with the program; empty when they need not.

    Args:
        tests: their source.
        prelude: source that they stand on; what they use of it counts.
    """
    tree = ast.parse(f"{prelude}\n{tests}")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used = {module.partition(".")[0] for module, _, bound in _imports(tree) if bound in names or bound == "*"}
    names |= {part for module, name, _ in _imports(tree) for part in (*module.split("."), name)}
    foreign = [*sorted(used - _BY_VALUE), *(name for name in _BESIDE if name in names)]
    return f"its tests use {foreign[0]}" if foreign else ""


def _imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """The modules that a source imports, from each a name or nothing, and what is bound to it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", alias.asname or alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name, alias.asname or alias.name) for alias in node.names)


def imported(source: str) -> set[str]:
    """The top-level modules that a source imports anywhere."""
    return {module.partition(".")[0] for module, _, _ in _imports(ast.parse(source)) if module}


@dataclass(frozen=True, slots=True)
class Given:
    """What the makers of tests give with them, and what is left to the program.

    Attributes:
        prelude: source that the tests stand on: imports, constants and helpers.
        functions: names that the program was asked to define; all that the tests leave open when ``None``.
        classes: names of classes among what the tests leave open. Only objects of these that the tests make themselves
            may be asked for more than values: what looks like one would else say yes to every method.
    """

    prelude: str = ""
    functions: tuple[str, ...] | None = None
    classes: tuple[str, ...] = ()


def standing_on(tests: str, head: str, asked: str, gold: str) -> Given:
    """What a row of a data set gives with its tests.

    Args:
        tests: source of the tests.
        head: source that begins the program: imports, constants, helpers, the head of the function that is asked for.
        asked: name of that function.
        gold: a program that is right, whose classes are those that the tests make objects of.
    """
    classes = tuple(node.name for node in ast.parse(gold).body if isinstance(node, ast.ClassDef))
    try:
        body = ast.parse(f"{head.rstrip()}\n    pass").body
    except SyntaxError:
        body = []
    used, kept = _names(ast.parse(tests)), list[ast.stmt]()
    while more := [node for node in body if node not in kept and used & set(_bound(node)) - {asked}]:
        kept += more
        used |= set().union(*map(_names, more))
    return Given("\n".join(ast.unparse(node) for node in body if node in kept), (asked,), classes)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _bound(node: ast.stmt) -> list[str]:
    """The names that an import, a function or an assignment of a plain value binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [node.name] if isinstance(node, ast.FunctionDef) else []
