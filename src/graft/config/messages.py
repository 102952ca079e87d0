"""What pydantic found wrong with a recipe, in the reader's words and with the place in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from reprlib import Repr
from typing import Any

from pydantic import ValidationError

from graft.config.keys import Setting, entry_settings, section_of, sections, settings
from graft.config.nearest import nearest
from graft.config.reference import type_name
from graft.errors import close_match

MOST = 20
"""Wrong keys that are told; a file that is no recipe may have thousands."""

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("greater than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def messages(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    """One message per wrong key, in the order of the file; of more than `MOST` only their number.

    Args:
        error: what validation raised.
        values: the merged values that were validated.
        origins: place of every given key, such as `recipes/x.yaml:9`; entries of lists as `data.train[0].task`.
    """
    found: dict[str, dict[str, Any]] = {}
    for problem in error.errors(include_url=False, include_context=True):
        found.setdefault(_dotted(problem["loc"]), dict(problem))  # a union reports each of its members
    ordered = sorted(found, key=lambda key: _line(_place(key, origins)))
    more = [f"… and {len(ordered) - MOST:,} more"] if len(ordered) > MOST else []
    return [_message(key, found[key], values, origins) for key in ordered[:MOST]] + more


def unknown_key(key: str, origin: str) -> str:
    """The message about a key that does not exist: the nearest known one, or those of its section."""
    start = f"{origin}: unknown key {key}."
    head, _, tail = key.rpartition(".")
    if key in settings():
        return f"{origin}: {key} is written as `{tail}:` indented under `{head}:`."
    near = nearest(key)
    if near == key:
        return f"{start} An entry of a list cannot be set alone; give the whole list: {key.partition('[')[0]}=[…]."
    if near:
        return f"{start} Did you mean {near}?"
    section = head if head in sections() else ""
    known = [name for name in sections() if name and not section]
    known += [setting.name for setting in settings().values() if setting.key.rpartition(".")[0] == section]
    return f"{start} Known {f'in {section}' if section else 'here'}: {', '.join(sorted(known))}."


def _dotted(location: tuple[int | str, ...]) -> str:
    """`data.train[0].task`, without the marks that pydantic adds for the members of a union."""
    key = ""
    for part in location:
        if isinstance(part, int):
            key += f"[{part}]"
            continue
        plain = re.sub(r"\[\d+\]", "", key)
        setting = settings().get(plain)
        if setting is not None and section_of(setting.annotation) is None:
            break
        key = f"{key}.{part}" if key else part
    return key


def _message(key: str, problem: dict[str, Any], values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    kind, given, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    place = _place(key, origins)
    end = f" ({place})" if place else ""
    if kind == "extra_forbidden":
        return unknown_key(key, place or "recipe")
    if kind == "missing":
        return f"{key} is missing{end}"
    if kind == "value_error":
        return _rule(key, str(context["error"]), origins)
    if kind in _BOUNDS:
        word, name = _BOUNDS[kind]
        return f"{key} must be {word} {context[name]:g}, but got {_shown(given)}{end}"
    if kind == "too_short":
        return f"{key} must hold at least {context['min_length']} entry, but got {_shown(given)}{end}"
    return f"{key} must be {_wanted(key)}, but got {_shown(given)}{end}{_hint(key, given)}"


def _wanted(key: str) -> str:
    """What a key takes: `a whole number`, `one of cpu, cuda` …"""
    setting = _setting(key)
    if key in sections() or setting is None:
        return "a section of `key: value` lines"
    nested, in_list = section_of(setting.annotation), key.endswith("]")
    if nested and in_list:
        return f"a section such as {{{', '.join(f'{name}: …' for name in nested.model_fields)}}}"
    text = type_name(setting.annotation).replace("`", "").removesuffix(" or null")
    text = text.removeprefix("list of ").replace("numbers", "number").replace("paths", "path") if in_list else text
    if text.startswith(("list", "whole", "number", "path", "mapping")):
        return f"a {text}"
    return f"one of {text}" if "," in text else text


def _setting(key: str) -> Setting | None:
    plain = re.sub(r"\[\d+\]", "", key)
    return settings().get(plain) or entry_settings().get(plain)


def _hint(key: str, given: Any) -> str:
    setting = _setting(key)
    if setting is None:
        return ""
    if isinstance(given, str) and setting.takes_list and not key.endswith("]"):
        return f". Write [{given}]"
    if isinstance(given, str):
        near = close_match(given, setting.choices)
        return f". Did you mean {near}?" if near else ""
    return ". Put it in quotes" if setting.takes_text and not isinstance(given, dict | list | None) else ""


def _rule(key: str, text: str, origins: Mapping[str, str]) -> str:
    """A rule across keys; the schema's message begins with the key's name where one key is at fault."""
    name, _, rest = text.partition(" ")
    if f"{key}.{name}" in settings():
        place = _place(f"{key}.{name}", origins)
        return f"{key}.{name} {rest}{f' ({place})' if place else ''}"
    if key.endswith("]"):
        place = _place(key, origins)
        return f"{key}: {text}{f' ({place})' if place else ''}"
    places = dict.fromkeys(
        place for given, place in origins.items() if given.startswith(f"{key}.") and "[" not in given
    )
    return f"{key}: {text}{f' ({chr(44).join(places)})' if places else ''}"


def _place(key: str, origins: Mapping[str, str]) -> str:
    """Where a key was given, or the nearest thing around it."""
    while key:
        if key in origins:
            return origins[key]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return ""


def _line(place: str) -> int:
    """Sort key: the line in the file; the command line comes last."""
    number = place.rpartition(":")[2]
    return int(number) if number.isdigit() else 1 << 30


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)
