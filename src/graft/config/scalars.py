"""Values as YAML 1.2 text and back: `off` is text, `1e-3` is a number."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

PARSE_ERRORS = (YAMLError, ValueError, RecursionError)
"""What the parser raises on bad text: besides its own errors ValueError for impossible dates and numbers."""

MOST_VALUES = 50_000
"""Values of a text, those counted as often as they are named that an alias repeats."""

LARGEST = 2**53
"""Whole numbers beyond it are no setting, and no exact number in other programs."""

_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def parse(text: str) -> Any:
    """Parse one YAML 1.2 document or value.

    Raises:
        YAMLError, ValueError, RecursionError: the text is not YAML (`PARSE_ERRORS`), or is none that a recipe can hold.
    """
    return parse_with_lines(text)[0]


def parse_with_lines(text: str) -> tuple[Any, Node | None]:
    """Parse one YAML 1.2 document: its value, and its nodes, which know their line.

    Raises:
        YAMLError, ValueError, RecursionError: as `parse`.
    """
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(StringIO(text))
        count = _count(node, {})
        if count > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values, each counted as often as an alias names it")
        value = YAML(typ="safe", pure=True).load(StringIO(text))
    except PARSE_ERRORS:
        raise
    except Exception as error:  # its constructors fail in many ways on a wrong value behind a tag
        raise ValueError(f"a value is not what its tag says ({type(error).__name__}: {error})") from error
    _require_settings(value)
    return value, node


def _count(node: Node | None, known: dict[int, float]) -> float:
    """Values below a node, aliases spelled out; endless where a value holds itself."""
    if node is None or isinstance(node, ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known: whoever comes by again is inside
        parts = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]


def _require_settings(value: Any) -> None:
    """Refuse what no setting can be and what would break later.

    Raises:
        ValueError: a text with a NUL or half of a surrogate pair, or a whole number beyond `LARGEST`.
    """
    if isinstance(value, str) and (wrong := _NO_TEXT.search(value)):
        what = "a NUL character" if wrong[0] == "\0" else "half of a surrogate pair, which is no letter"
        raise ValueError(f"a text holds {what}")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"a whole number is beyond {LARGEST:,}")
    if isinstance(value, dict):
        for part in (*value, *value.values()):
            _require_settings(part)
    elif isinstance(value, list | tuple | set):
        for part in value:
            _require_settings(part)


def describe(error: Exception) -> tuple[int | None, int | None, str]:
    """Line, column (both from 1, `None` when unknown) and what the parser saw."""
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        said = ", ".join(" ".join(str(part).split()) for part in (error.context, error.problem) if part)
        return (mark.line + 1, mark.column + 1, said) if mark else (None, None, said)
    if isinstance(error, RecursionError):
        return None, None, "it is nested too deeply"
    return None, None, " ".join(str(error).split())


_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*", re.ASCII)


def to_text(value: Any) -> str:
    """A value as one line of YAML that parses to an equal value.

    Args:
        value: a scalar, a path, a section, or lists and mappings of them.
    """
    if isinstance(value, BaseModel):
        return to_text({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{to_text(key)}: {to_text(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(to_text(entry) for entry in value) + "]"
    if isinstance(value, str | Path):
        return _text(str(value))
    return _NAMED.get(str(value), repr(value))


_NAMED = {"None": "null", "True": "true", "False": "false", "inf": ".inf", "-inf": "-.inf", "nan": ".nan"}


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and parse(text) == text:
        return text
    return "".join(_escaped(letter) for letter in json.dumps(text, ensure_ascii=False))


def _escaped(letter: str) -> str:
    """YAML reads a surrogate pair as two letters, so what is not printable is written by its code point."""
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
