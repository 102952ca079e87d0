"""Values as JSON text: the given order, strict JSON, nothing lost but the kind of an undefined number."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence, Set
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any


def to_json(value: object, indent: int | None = None) -> str:
    """Encode a value as strict JSON that is always valid UTF-8.

    Numbers that are not finite become null, because JSON has no word for them. NumPy scalars and arrays, paths,
    dataclasses, enums, dates, sets and mappings are written as the plain values they stand for.

    Args:
        value: what to encode.
        indent: spaces per level; ``None`` for one line.

    Raises:
        TypeError: the value holds something that has no plain form.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=_plain)
    except ValueError:  # a non-finite number somewhere: the slow way, which replaces it
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent, default=_plain)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair is legal in a Python string but not in UTF-8: escape it
        text = json.dumps(json.loads(text), indent=indent)
    return text


def _finite(value: object) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return _finite(_plain(value))


def _plain(value: object) -> Any:
    """The plain form of a value that the json module does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Set):
        return sorted(value, key=repr)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    if callable(getattr(value, "tolist", None)):
        return value.tolist()  # type: ignore[attr-defined]
    raise TypeError(f"{type(value).__name__} has no JSON form: convert it before it is written")
