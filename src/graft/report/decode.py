"""JSON back into frozen dataclasses, by their type hints; null becomes NaN where a number is expected."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from graft.errors import RunError

T = TypeVar("T")


def decode(kind: type[T], value: Any, where: str) -> T:
    """Build a dataclass from what `json.loads` gave.

    Args:
        kind: the dataclass.
        value: the JSON value; keys the dataclass does not have are ignored.
        where: file and place, for the message.

    Raises:
        RunError: a field is missing or has the wrong type; the message names the place down to the field.
    """
    result: T = _decode(kind, value, where)
    return result


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        parts = [part for part in get_args(hint) if part is not type(None)]
        return _decode(type(value) if type(value) in parts else parts[-1], value, where)
    if origin is tuple:
        _require(isinstance(value, list), where, "a list", value)
        return tuple(_decode(get_args(hint)[0], part, f"{where}[{index}]") for index, part in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        _require(isinstance(value, dict), where, "an object", value)
        return {key: _decode(get_args(hint)[1], part, f"{where}.{key}") for key, part in value.items()}
    if is_dataclass(hint):
        return _decode_fields(hint, value, where)
    return _decode_plain(hint, value, where)


def _decode_fields(kind: Any, value: Any, where: str) -> Any:
    _require(isinstance(value, dict), where, "an object", value)
    found = {}
    for name, hint, required in _plan(kind):
        if name in value:
            found[name] = _decode(hint, value[name], f"{where}.{name}")
        elif required:
            raise RunError(
                f"{where} is damaged: it must have '{name}', but has {', '.join(sorted(value)) or 'nothing'}."
            )
    return kind(**found)


@lru_cache(maxsize=64)
def _plan(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Name, type and whether it is required, for each field; type hints are slow to resolve for every sample."""
    hints = get_type_hints(kind)
    return tuple(
        (field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    )


def _decode_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if issubclass(hint, Enum):
        known = [member.value for member in hint]
        _require(value in known, where, f"one of {', '.join(map(str, known))}", value)
        return hint(value)
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _require(value is None or number, where, "a number", value)
        return float("nan") if value is None else float(value)
    _require(isinstance(value, hint) and (hint is bool or not isinstance(value, bool)), where, hint.__name__, value)
    return value


def _require(condition: bool, where: str, rule: str, value: Any) -> None:
    if not condition:
        raise RunError(
            f"{where} is damaged: it must be {rule}, but is {str(value)[:60]!r}. Run the stage that wrote it again."
        )
