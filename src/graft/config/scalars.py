"""Values as YAML 1.2 text and back: `off` is text, `1e-3` is a number."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node

PARSE_ERRORS = (YAMLError, ValueError, RecursionError)
"""What the parser raises on bad text: besides its own errors ValueError for impossible dates and numbers."""


def parse(text: str) -> Any:
    """Parse one YAML 1.2 document or value.

    Raises:
        YAMLError, ValueError, RecursionError: the text is not YAML (`PARSE_ERRORS`).
    """
    return YAML(typ="safe", pure=True).load(StringIO(text))


def compose(text: str) -> Node | None:
    """Parse into nodes, which know their line."""
    node: Node | None = YAML(typ="safe", pure=True).compose(StringIO(text))
    return node


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
