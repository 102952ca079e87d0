"""Results as plain JSON values, losslessly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from graft.errors import DataError


def to_json(obj: Any) -> Any:
    """Turn a result into dicts, lists, strings, numbers, booleans and None.

    NaN becomes None, since JSON has no NaN; the ``reason`` field beside it says why. Enums become their values,
    tuples and arrays lists, numpy numbers Python numbers.

    Args:
        obj: a dataclass of this room or anything inside one.

    Raises:
        DataError: for an infinite number or a type that no result holds.
    """
    if obj is None or isinstance(obj, str | bool):
        return obj
    if isinstance(obj, Enum):
        return obj.value
    if isinstance(obj, np.generic | np.ndarray):
        return to_json(obj.tolist())
    if isinstance(obj, int):
        return obj
    if isinstance(obj, float):
        if math.isinf(obj):
            raise DataError(f"a result must be finite or NaN, but got {obj}")
        return None if math.isnan(obj) else obj
    if is_dataclass(obj) and not isinstance(obj, type):
        return {field.name: to_json(getattr(obj, field.name)) for field in fields(obj)}
    if isinstance(obj, Mapping):
        return {str(key): to_json(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [to_json(value) for value in obj]
    raise DataError(f"cannot write a {type(obj).__name__} as JSON; results hold dataclasses, numbers and strings")
