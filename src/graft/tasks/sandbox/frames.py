"""Tables of pandas as plain values and arrays, and back: what columns, index and types say, nothing of their own."""

from __future__ import annotations

import sys
from typing import Any

_AS_LISTS = ("object", "str", "string")
"""Types whose cells are Python's own; the others are NumPy's, by the kind of their numbers."""
_KINDS = "biufcmM"


def kind_of(value: Any) -> str:
    """``DataFrame``, ``Series`` or ``Index`` for exactly these, nothing for other values."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index):
        return ""
    if isinstance(value, pandas.MultiIndex):
        return ""
    if isinstance(value, pandas.Index):
        return "Index"
    return type(value).__name__ if type(value) in (pandas.DataFrame, pandas.Series) else ""


def plain(value: Any) -> tuple[Any, ...] | None:
    """A table in plain values; ``None`` where a part has a type that is none of these (categories, time zones)."""
    import pandas

    if isinstance(value, pandas.RangeIndex):
        return "range", value.start, value.stop, value.step, value.name
    if isinstance(value, pandas.DataFrame):
        columns = [_cells(value.iloc[:, place]) for place in range(value.shape[1])]
        parts: tuple[Any, ...] = (plain(value.columns), plain(value.index), columns)
        return None if None in parts[:2] or any(column is None for column in columns) else parts
    cells = _cells(value)
    if cells is None:
        return None
    if isinstance(value, pandas.Index):
        return "cells", *cells, value.name
    index = plain(value.index)
    return None if index is None else (*cells, index, value.name)


def _cells(column: Any) -> tuple[str, Any] | None:
    name = str(column.dtype)
    if name in _AS_LISTS:
        return name, column.tolist()
    plain_type = type(column.dtype).__module__.startswith("numpy") and column.dtype.kind in _KINDS
    return (name, column.to_numpy()) if plain_type else None


def made(kind: str, parts: tuple[Any, ...]) -> Any:
    """The table of plain values.

    Raises:
        TypeError, ValueError, KeyError: they are none.
    """
    import pandas

    if kind == "Index":
        if parts[0] == "range":
            return pandas.RangeIndex(*parts[1:4], name=parts[4])
        return pandas.Index(parts[2], dtype=_dtype(parts[1]), name=parts[3])
    if kind == "Series":
        return pandas.Series(parts[1], dtype=_dtype(parts[0]), index=made("Index", parts[2]), name=parts[3])
    if kind != "DataFrame":
        raise TypeError(f"{kind} is no table")
    columns, index = made("Index", parts[0]), made("Index", parts[1])
    cells = {place: pandas.Series(one[1], dtype=_dtype(one[0]), index=index) for place, one in enumerate(parts[2])}
    table = pandas.DataFrame(cells, index=index)
    table.columns = columns
    return table


def _dtype(name: str) -> Any:
    """The type of cells by its name, of those that are data."""
    import numpy

    if name in _AS_LISTS:
        return name
    found = numpy.dtype(name)
    if found.kind not in _KINDS:
        raise TypeError(f"cells of {name} are no data")
    return found
