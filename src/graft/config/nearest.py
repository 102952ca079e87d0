"""The known key that was most likely meant by one that does not exist."""

from __future__ import annotations

import difflib
import re

from graft.config.keys import section_of, sections, settings
from graft.config.reference import flags
from graft.errors import close_match

TOP_LEVEL = 0.5
"""A key outside all sections is meant unless the section's name is nearer than this to that of another with the key."""

LONGEST = 200
"""Characters of a key that is compared with the known ones."""


def nearest(unknown: str) -> str | None:
    """The known dotted key that was most likely meant.

    A key that exists under the same last name in another section wins, then a flag of that name; then keys, sections
    and flags are compared by spelling.

    Args:
        unknown: the dotted path as it was written, `train.max_step`.

    Returns:
        A dotted key (`data.train[0].task` for an entry of a list), or `None` when nothing is near.
    """
    if len(unknown) > LONGEST:
        return None
    if "[" in unknown:
        return _nearest_in_list(unknown)
    head, _, tail = unknown.rpartition(".")
    known = [name for name in sections() if name] + list(settings())
    same = [key for key in settings() if key.rpartition(".")[2] == tail]
    if same:
        return max(same, key=lambda key: _likeness(head, key.rpartition(".")[0]) if "." in key else TOP_LEVEL)
    if exact := _by_flag(tail, cutoff=1.0):
        return exact
    best = max(known, key=lambda key: _closeness(unknown, key))
    if _closeness(unknown, best) >= 0.72:
        return best
    return _by_flag(tail, cutoff=0.8)


def _closeness(unknown: str, key: str) -> float:
    """How near two dotted paths are: the whole of them, or only their last names at a small discount."""
    head, _, tail = unknown.rpartition(".")
    known_head, _, known_tail = key.rpartition(".")
    last = _likeness(tail, known_tail)
    return max(0.4 * _likeness(head, known_head) + 0.6 * last, 0.95 * last)


def _likeness(left: str, right: str) -> float:
    if left == right:
        return 1.0
    return difflib.SequenceMatcher(None, left.lower(), right.lower()).ratio()


def _by_flag(name: str, cutoff: float) -> str | None:
    names = {spelled.lstrip("-").replace("-", "_"): flag.key for flag in flags() for spelled in flag.names}
    near = close_match(name.lower().replace("-", "_"), names, cutoff)
    return names[near] if near else None


def _nearest_in_list(unknown: str) -> str | None:
    head, _, tail = unknown.rpartition(".")
    setting = settings().get(re.sub(r"\[\d+\]", "", head))
    section = section_of(setting.annotation) if setting else None
    near = close_match(tail, section.model_fields) if section else None
    return f"{head}.{near}" if near else None
