"""What is made from the schema: the reference page, the JSON schema for editors, the flags of the command line."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from graft.config.data import TaskSection, TrainSource
from graft.config.keys import Setting, is_literal, section_of, section_settings, sections, settings
from graft.config.scalars import to_text
from graft.config.schema import Recipe


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of the command line that stands for one key of the recipe.

    Attributes:
        names: its spellings, the long one first.
        key: the dotted key it sets.
        metavar: what stands for its value in the help.
        help: what it does, from the schema's documentation.
        choices: the allowed words, for completion; empty when anything goes.
        fixed: the value that a flag without an argument sets; `None` for a flag that takes a value.
    """

    names: tuple[str, ...]
    key: str
    metavar: str
    help: str
    choices: tuple[str, ...] = ()
    fixed: str | None = None


_FLAGS = (
    (("--model",), "model.id"),
    (("--task",), "data.train"),
    (("--mode",), "mode"),
    (("--lora-r",), "adapter.r"),
    (("--lora-alpha",), "adapter.alpha"),
    (("--max-steps",), "train.max_steps"),
    (("--epochs",), "train.epochs"),
    (("--batch-size",), "train.batch_size"),
    (("--gradient-accumulation",), "train.gradient_accumulation"),
    (("--learning-rate", "--lr"), "train.learning_rate"),
    (("--optimizer",), "train.optimizer"),
    (("--schedule",), "train.schedule"),
    (("--words",), "words.source"),
    (("--eval-tasks",), "eval.tasks"),
    (("--eval-items",), "eval.items"),
    (("--arms",), "study.arms"),
    (("--seeds",), "study.seeds"),
    (("--device",), "model.device"),
    (("--dtype",), "model.dtype"),
    (("--name",), "name"),
)

_SWITCHES = (
    ("--allow-code-execution", "eval.allow_code_execution"),
    ("--weak-sandbox", "eval.weak_sandbox"),
)
"""Flags without a value that set what is off by default."""


@cache
def flags() -> tuple[Flag, ...]:
    """The flags of `graft train`, `graft eval` and `graft init`, documented by the schema."""
    known = settings()
    found = [Flag(names, key, _metavar(known[key]), _help(known[key]), known[key].choices) for names, key in _FLAGS]
    full = Flag(("--full",), "adapter.kind", "", "Train every weight instead of low-rank adapters.", fixed="none")
    place = next(index for index, flag in enumerate(found) if flag.key == "train.max_steps")
    return (*found[:place], full, *found[place:], *(_switch(flag, key) for flag, key in _SWITCHES))


def _switch(name: str, key: str) -> Flag:
    return Flag((name,), key, "", settings()[key].doc.replace("`", ""), fixed="true")


def _metavar(setting: Setting) -> str:
    if setting.takes_list:
        return "A,B,…"
    if 0 < len(setting.choices) <= 4:
        return "|".join(setting.choices)
    kind = type_name(setting.annotation).removesuffix(" or null")
    return {"whole number": "N", "number": "NUMBER"}.get(kind, "NAME")


def _help(setting: Setting) -> str:
    text = setting.doc.replace("`", "")
    listed = " Several are separated by commas." if setting.takes_list else ""
    default = "" if setting.default is None else f"  [default: {plain_default(setting)}]"
    return f"{text}{listed}{default}"


def plain_default(setting: Setting) -> str:
    """A default as one would type it on the command line."""
    value = setting.default
    if section_of(setting.annotation):
        return ",".join(entry.task for entry in value)
    if isinstance(value, tuple):
        return ",".join(str(entry) for entry in value)
    return to_text(value) if isinstance(value, str) else f"{value}"


def json_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for completion and checks in editors."""
    schema = Recipe.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Graft recipe"}


def reference_markdown() -> str:
    """The reference page: one table per section with key, type, range, default and description."""
    parts = ["# Recipe reference", "", "Every setting of a recipe, made from the schema in `graft/config`.", ""]
    for name, section in sections().items():
        title = f"`{name}`" if name else "Top level"
        parts += _section(title, section, section_settings(section, f"{name}." if name else ""))
        for setting in section_settings(section, f"{name}."):
            nested = section_of(setting.annotation) if name else None
            if nested:
                parts += _section(f"`{setting.key}[]`", nested, section_settings(nested, f"{setting.key}[]."))
    return "\n".join(parts)


def _section(title: str, section: type[BaseModel], rows: Iterable[Setting]) -> list[str]:
    doc = " ".join((section.__doc__ or "").split())
    head = [f"## {title}", "", doc, "", "| key | type | range | default | description |", "|---|---|---|---|---|"]
    return [*head, *(_row(setting) for setting in rows), ""]


def _row(setting: Setting) -> str:
    default = "required" if setting.required else f"`{to_text(setting.default)}`"
    cells = (f"`{setting.key}`", type_name(setting.annotation), setting.limits, default, setting.doc)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


_SECTION_LISTS: Mapping[type[BaseModel] | None, str] = {
    TrainSource: "a task name or a list of sources",
    TaskSection: "list of tasks",
}
_NAMES = {int: "whole number", float: "number", str: "text", Path: "path", bool: "true or false", type(None): "null"}


def type_name(annotation: Any) -> str:
    """A type in the reader's words: `whole number`, `list of text`, `cpu`, `cuda` …"""
    origin = get_origin(annotation)
    if origin is Annotated:
        return type_name(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(part) for part in get_args(annotation))
    if origin is tuple:
        if section_of(annotation):
            return _SECTION_LISTS.get(section_of(annotation), "list of sections")
        entry = type_name(get_args(annotation)[0])
        return f"list of {entry}s" if entry in ("whole number", "number", "path") else f"list of {entry}"
    if origin is dict:
        return "mapping of text to text"
    if is_literal(annotation):
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    return _NAMES.get(annotation, str(annotation))
