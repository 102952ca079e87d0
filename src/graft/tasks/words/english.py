"""What counts as an English word, by the packaged list and a few rules; plain Python, for the data and vocab rooms.

The packaged list holds words of 4 to 12 letters, so short words stand here, and words with a common prefix or suffix
are recognised by rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from graft.tasks.words.decency import is_decent
from graft.tasks.words.pool import Word, listed_words

_SHORT: Final = (
    "a i o ad ah am an as at ax be by do dr go ha he hi if in is it me mr ms my no of oh ok on or ox so st to up us "
    "we ye ace act add age ago aid aim air all and ant any ape apt arc are ark arm art ash ask ate awe axe bad bag "
    "ban bar bat bay bed bee beg bet bid big bin bit bow box boy bud bug bun bus but buy bye cab can cap car cat cow "
    "cry cub cup cut dad day den did die dig dim dip doe dog dot dry due dug ear eat ebb egg ego elf elk elm end era "
    "eve eye fan far fat fax fed fee few fig fin fir fit fix flu fly foe fog for fox fry fun fur gap gas gay get god "
    "got gum gun gut guy gym had ham has hat hay hem hen her hey hid him hip his hit hoe hog hop hot how hub hug hum "
    "hut ice icy ill ink inn ion its ivy jam jar jaw jet job jog joy jug key kid kin kit lab lad lag lap law lay led "
    "leg let lid lie lip lit log lot low mad man map mat may men met mid mix mob mom mop mrs mud mug nap net new nod "
    "nor not now nun nut oak oar oat odd off oil old one opt ore our out owe owl own pad pal pan par pat paw pay pea "
    "peg pen per pet pie pig pin pit ply pod pop pot pro pub pup put rag ram ran rap rat raw ray red rib rid rig rim "
    "rip rob rod rot row rub rug rum run rut rye sad sap sat saw say sea see set sew sex she shy sin sip sir sit six "
    "ski sky sly sob son sow soy spa spy sub sue sum sun tab tag tan tap tar tax tea ten the thy tie tin tip toe ton "
    "too top toy try tub tug two urn use van vat vet via vow wag war was wax way web wed wet who why wig win wit woe "
    "won wow yes yet you zip zoo "
)
SHORT_WORDS: Final = frozenset(_SHORT.split())
"""Words of up to three letters, and titles."""

_SUFFIXES: Final = (
    "s",
    "es",
    "d",
    "ed",
    "ing",
    "ly",
    "er",
    "ers",
    "ness",
    "ment",
    "ments",
    "al",
    "ally",
    "ful",
    "less",
    "hood",
    "ship",
    "ized",
    "izing",
    "izes",
)
_PREFIXES: Final = ("un", "in", "re", "inter", "over", "under", "non", "mis", "dis", "out", "fore")


def is_english_word(text: str) -> bool:
    """Whether lower-case letters a–z are an English word.

    True for a word of the packaged list or of `SHORT_WORDS`, and for one with a common prefix or suffix whose stem has
    four letters or more (``circumstances``). The list has no words whose spelling differs between countries
    (``honour``, ``center``), so those are not recognised.
    """
    return any(_known(stem) for stem in _stems(text))


def is_english_spelling(text: str) -> bool:
    """Whether every three neighbouring lower-case letters occur in words of the packaged list.

    Strings of one or two letters always pass. It holds for pieces of English words and most names; it says nothing
    about meaning, so many a word of another language written with a–z passes too.
    """
    trigrams = _trigrams()
    return all(text[start : start + 3] in trigrams for start in range(len(text) - 2))


def single_token_words(surfaces: Iterable[str]) -> tuple[Word, ...]:
    """The decent words of the packaged list that are one token after a space.

    Args:
        surfaces: what each entry of a vocabulary decodes to.
    """
    known = listed_words()
    found = (known[text[1:]] for text in surfaces if text.startswith(" ") and text[1:] in known)
    return tuple(word for word in found if is_decent(word.text))


def _known(text: str) -> bool:
    return text in SHORT_WORDS or text in listed_words()


def _stems(text: str) -> Iterator[str]:
    yield text
    for suffix in _SUFFIXES:
        if text.endswith(suffix) and len(stem := text.removesuffix(suffix)) >= 4:
            yield from (stem, f"{stem}e")
    for prefix in _PREFIXES:
        if text.startswith(prefix) and len(stem := text.removeprefix(prefix)) >= 4:
            yield stem


@cache
def _trigrams() -> frozenset[str]:
    return frozenset(word[start : start + 3] for word in listed_words() for start in range(len(word) - 2))
