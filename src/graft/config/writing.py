"""Recipes as YAML: the resolved one that a run keeps, and the commented one that `graft init` starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from pydantic import BaseModel

from graft.config.keys import Setting, section_settings, sections, value_at
from graft.config.loading import COMMAND_LINE, Resolved
from graft.config.scalars import to_text


def to_yaml(resolved: Resolved) -> str:
    """Write the complete recipe, every section and key, so that it loads again to an equal recipe.

    Args:
        resolved: the recipe with the origin of each value that was given.

    Returns:
        YAML in which a value that is not the default carries its origin as a comment at the end of the line.
    """
    lines = ["# The resolved recipe: every setting of this run. A comment tells where a value that is not the default"]
    lines += ["# came from. Run it again with: graft run recipe.yaml", ""]
    for name in sections():
        lines += [f"{name}:"] if name else []
        for setting in section_settings(sections()[name], f"{name}." if name else ""):
            value = value_at(resolved.recipe, setting.key)
            lines += _entry(setting, value, _comment(resolved, setting, value), "  " if name else "")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _comment(resolved: Resolved, setting: Setting, value: Any) -> str:
    origin = resolved.origins.get(setting.key)
    if value == setting.default or origin is None:
        return ""
    source = f"the {origin}" if origin == COMMAND_LINE else origin
    return "  # from " + "".join(letter if letter.isprintable() else "?" for letter in source)


def _entry(setting: Setting, value: Any, comment: str, indent: str) -> Iterator[str]:
    """One key; a list of sections takes one line per entry."""
    if isinstance(value, tuple) and any(isinstance(entry, BaseModel) for entry in value):
        yield f"{indent}{setting.name}:{comment}"
        yield from (f"{indent}  - {to_text(entry)}" for entry in value)
    else:
        yield f"{indent}{setting.name}: {to_text(value)}{comment}"


def template(values: Mapping[str, Any], path: str) -> str:
    """A recipe to start from: every key with its documentation, the ones not given commented out.

    Args:
        values: the values to write, by dotted key.
        path: where the recipe will lie, for the line that tells how to run it.

    Returns:
        YAML that loads with `load_recipe` and holds a comment on every setting.
    """
    lines = [
        "# A Graft recipe. A setting that is commented out keeps the default that is shown.",
        f"# Look before you run:  graft check {path}",
        f"# Run it:               graft run {path}",
    ]
    for name, section in sections().items():
        indent = "  " if name else ""
        lines += ["", f"# {' '.join((section.__doc__ or '').split())}", f"{name}:"] if name else []
        for setting in section_settings(section, f"{name}." if name else ""):
            lines += [
                "",
                *(f"{indent}# {line}" for line in wrap(setting.doc, 110 - len(indent), break_on_hyphens=False)),
            ]
            given = setting.key in values
            shown = to_text(values[setting.key] if given else setting.default)
            lines.append(f"{indent}{'' if given else '# '}{setting.name}: {shown}")
    return "\n".join(lines) + "\n"
