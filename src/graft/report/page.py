"""Making a page from a template of this folder."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from graft.report.numbers import DASH, number, percent


def environment() -> Environment:
    """Templates with everything escaped, and the filters that they use."""
    made = Environment(
        loader=PackageLoader("graft.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["chart"] = Markup  # charts are made here from escaped text; nothing else is ever marked safe
    made.filters["number"] = number
    made.filters["percent"] = percent
    made.filters["visible"] = visible
    made.tests["nested"] = lambda value: isinstance(value, Mapping)
    made.tests["listed"] = lambda value: isinstance(value, list | tuple)
    made.globals["dash"] = DASH
    return made


def visible(text: str) -> str:
    """A token with its white space made visible; line breaks stay line breaks."""
    return text.replace("\t", "→\t").replace("\n", "↵\n")
