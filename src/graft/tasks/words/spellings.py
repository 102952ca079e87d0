"""British and American spellings of one word, brought to one form by rules and a table."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=[a-z]{2})our", "or"),  # colour
        (r"(?<=[a-z]{2})([bcdhtvp])re(s|d)?$", r"\1er\2"),  # centre
        (r"(?<=[a-z]{2})([bcdhtvp])ring$", r"\1ering"),  # centring
        (r"(?<=[a-z]{2})is(e|es|ed|er|ers|ing|ation|ations|able)$", r"iz\1"),  # realise
        (r"ys(e|es|ed|er|ers|ing)$", r"yz\1"),  # analyse
        (r"(?<=[a-z]{2})ogue", "og"),  # catalogue
        (r"(?<=gr)amme", "am"),  # programme
        (r"[ao]e(?=[a-z]{3})", "e"),  # anaemia, oestrogen
        (r"ette$", "et"),  # omelette
        (r"(?<=[a-z]{2})enc(e|es|ed|ing|eless)$", r"ens\1"),  # defence
        (r"(?<=[a-z]{2}[aeiouy])([lpst])\1", r"\1"),  # travelled, worshipped, focussed
        (r"dgement", "dgment"),  # judgement
        (r"(?<=[a-z]{2})eable$", "able"),  # likeable
        (r"sulph", "sulf"),
        (r"(?<=fl|nn)exion", "ection"),  # inflexion, connexion
        (r"^enquir", "inquir"),
        (r"(?<=[mg])ou(?=l[dt])", "o"),  # mould
        (r"ward$", "wards"),  # toward
        (r"ph(?=antas)", "f"),
    )
)
"""What differs regularly; the later, mostly American, form stands on the right."""


def common_spelling(form: str) -> str:
    """One form for all spellings of a lower-case word.

    It need not be a word itself (*ball* gives *bal*), and the rules err on the safe side: some words that are no
    spellings of each other get one form too (*filling*, *filing*).
    """
    parts, common = _table()
    form = parts.sub(lambda found: common[found[0]], form)
    for pattern, replacement in _RULES:
        form = pattern.sub(replacement, form)
    return form


@cache
def _table() -> tuple[re.Pattern[str], dict[str, str]]:
    """What finds a part of a word that the table lists, the longest first, and what stands in its place."""
    text = resources.files(__package__).joinpath("spellings.txt").read_text(encoding="ascii")
    common = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    return re.compile("|".join(sorted(common, key=len, reverse=True))), common
