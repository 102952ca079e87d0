"""Which words Graft does not ask about of its own accord: slurs and obscenities."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from graft.tasks.words.relations import stems


def is_decent(word: str) -> bool:
    """False for a lower-case word that contains one of the listed parts or shares a stem with a listed word.

    The list errs on the safe side: *snatch* and *breast* are left out although they have harmless uses.
    """
    parts, listed = _indecent()
    return parts.search(word) is None and stems(word).isdisjoint(listed)


@cache
def _indecent() -> tuple[re.Pattern[str], frozenset[str]]:
    """What is left out wherever it occurs, and what is left out with its inflections."""
    found: dict[str, set[str]] = {"anywhere": set(), "alone": set()}
    for line in resources.files(__package__).joinpath("indecent.txt").read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            kind, *words = line.split()
            found[kind].update(words)
    return re.compile("|".join(sorted(found["anywhere"]))), frozenset(found["alone"])
