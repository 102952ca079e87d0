"""The state of the random numbers as data: tests seed them, and the program under test draws them elsewhere."""

from __future__ import annotations

import random
import sys
from typing import Any


def chance() -> list[Any]:
    """The state of `random`, and that of NumPy's global generator where NumPy is loaded."""
    version, numbers, last = random.getstate()
    state: list[Any] = [version, list(numbers), None if last is None else last.hex()]
    if (numpy := sys.modules.get("numpy")) is not None:
        _, keys, place, has_normal, normal = numpy.random.get_state(legacy=True)
        state += [keys.tolist(), int(place), int(has_normal), float(normal).hex()]
    return state


def set_chance(state: list[Any]) -> None:
    """Go on with random numbers from a state.

    Raises:
        ValueError: it is none.
        TypeError: likewise.
    """
    version, numbers, last, *rest = state
    random.setstate((version, tuple(numbers), None if last is None else float.fromhex(last)))
    if rest:
        import numpy

        numpy.random.set_state(("MT19937", rest[0], rest[1], rest[2], float.fromhex(rest[3])))
