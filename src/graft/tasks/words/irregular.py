"""Irregular English forms and their base forms: a table, prefixes, and rules for foreign and old plurals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

_PREFIXES = (
    "after baby back be broad brow co counter cross flood for fore free ghost hand in inter land mis moon off on out "
    "over pre proof re self sight soft spell spoon tele trouble un under up wire with"
)
PREFIXES = tuple(_PREFIXES.split())
"""What may stand before an irregular verb: *understood* belongs to *understand* as *stood* to *stand*."""

LEAST_LETTERS = 3
"""The shortest form that is looked for behind a prefix or ending."""

ENDINGS = (
    ("men", ("man",)),
    ("mice", ("mouse",)),
    ("lice", ("louse",)),
    ("feet", ("foot",)),
    ("teeth", ("tooth",)),
    ("geese", ("goose",)),
    ("children", ("child",)),
    ("people", ("person",)),
    ("pence", ("penny",)),
    ("ves", ("f", "fe")),
    ("ae", ("a",)),
    ("i", ("us", "o")),
    ("a", ("um", "on")),
    ("ata", ("a",)),
    ("mina", ("men",)),
    ("ora", ("us",)),
    ("era", ("us",)),
    ("ices", ("ex", "ix")),
    ("yces", ("yx",)),
    ("nges", ("nx",)),
    ("eaux", ("eau",)),
    ("ses", ("sis",)),
    ("zes", ("z", "ze")),
    ("xes", ("xis",)),
    ("sses", ("s",)),
    ("ides", ("is",)),
    ("im", ("",)),
    ("sby", ("by",)),
    ("cked", ("c",)),
    ("cking", ("c",)),
    ("cker", ("c",)),
    ("th", ("", "e")),
)
"""Endings of irregular plurals, past forms and ordinals, and what stands in their place in the base form."""


def base_forms(word: str, stems: Iterable[str]) -> frozenset[str]:
    """The base forms of which a lower-case word may be an irregular form; empty for most words.

    The rules err on the safe side: *pasta* is also given as the plural of *pastum* and *paston*.

    Args:
        word: the word, whose ending is compared with `ENDINGS`.
        stems: what stripping suffixes leaves of it, itself included: *lying* stands in the table, *drove* of *droves*.
    """
    return frozenset((*(base for stem in stems for base in _listed(stem)), *_by_ending(word)))


def _listed(form: str) -> Iterator[str]:
    yield from _table().get(form, ())
    for prefix in PREFIXES:
        rest = form.removeprefix(prefix)
        if rest != form and len(rest) >= LEAST_LETTERS:
            yield from (prefix + base for base in _listed(rest))


def _by_ending(form: str) -> Iterator[str]:
    for ending, replacements in ENDINGS:
        stem = form.removesuffix(ending)
        if stem != form and len(stem) >= LEAST_LETTERS - 1:
            yield from (stem + replacement for replacement in replacements)


@cache
def _table() -> dict[str, tuple[str, ...]]:
    """Irregular form → its base forms."""
    text = resources.files(__package__).joinpath("irregular.txt").read_text(encoding="ascii")
    table: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            base, *forms = line.split()
            for form in forms:
                table[form] = (*table.get(form, ()), base)
    return table
