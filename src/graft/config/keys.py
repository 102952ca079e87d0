"""Every setting of the recipe as a flat list, read from the schema."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from graft.config.schema import Recipe


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the recipe.

    Attributes:
        key: dotted path, `train.max_steps`.
        annotation: its type, with the nested ranges.
        default: its default value; `None` together with `required` when it has none.
        required: it has no default.
        limits: its range in words, such as `at least 1`; empty when anything goes.
        doc: its documentation.
    """

    key: str
    annotation: Any
    default: Any
    required: bool
    limits: str
    doc: str

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]

    @property
    def takes_text(self) -> bool:
        """True when plain text is a valid value, whatever YAML would make of it."""
        return any(part in (str, Path) for part in members(self.annotation))

    @property
    def takes_list(self) -> bool:
        """True for a list of plain values."""
        return section_of(self.annotation) is None and any(
            get_origin(part) is tuple for part in members(self.annotation)
        )

    def takes_word(self, text: str) -> bool:
        """True when this word stands for itself although the setting takes a list: `all-linear`."""
        return any(is_literal(part) and text in get_args(part) for part in members(self.annotation))

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words, for a setting that takes one of a few or a list of them."""
        return tuple(str(value) for part in _flat(self.annotation) if is_literal(part) for value in get_args(part))


def is_literal(annotation: Any) -> bool:
    """True for `Literal[…]`."""
    return get_origin(annotation) is Literal


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type: the members of a union without its ranges, or the type itself."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(part for member in get_args(annotation) for part in members(member))
    return (annotation,)


def _flat(annotation: Any) -> Iterator[Any]:
    for part in members(annotation):
        yield part
        if get_origin(part) is tuple:
            yield from _flat(get_args(part)[0])


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a type, or the entries of a list, consist of."""
    found = [part for part in _flat(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return found[0] if found else None


@cache
def sections() -> Mapping[str, type[BaseModel]]:
    """The sections by name, in the recipe's order; the recipe itself is the section named by the empty string."""
    nested = {name: section_of(field.annotation) for name, field in Recipe.model_fields.items()}
    return {"": Recipe, **{name: section for name, section in nested.items() if section}}


def section_settings(section: type[BaseModel], prefix: str) -> tuple[Setting, ...]:
    """The keys of one section, without those of the sections inside it.

    Args:
        section: the pydantic class.
        prefix: what stands before each name: empty, `train.` …
    """
    return tuple(
        Setting(
            key=prefix + name,
            annotation=field.annotation,
            default=None if field.is_required() else field.get_default(call_default_factory=True),
            required=field.is_required(),
            limits=_limits(field),
            doc=" ".join((field.description or "").split()),
        )
        for name, field in section.model_fields.items()
        if prefix or name not in sections()
    )


@cache
def entry_settings() -> Mapping[str, Setting]:
    """The keys inside lists of sections, such as `data.train.task`."""
    found: list[Setting] = []
    for setting in settings().values():
        nested = section_of(setting.annotation)
        found += section_settings(nested, f"{setting.key}.") if nested else ()
    return {setting.key: setting for setting in found}


@cache
def settings() -> Mapping[str, Setting]:
    """Every key of the recipe by its dotted path, in the recipe's order."""
    found = [
        setting
        for name, section in sections().items()
        for setting in section_settings(section, f"{name}." if name else "")
    ]
    return {setting.key: setting for setting in found}


_WORDS = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}


def value_at(recipe: BaseModel, key: str) -> Any:
    """The value of a recipe at a dotted key."""
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _limits(field: FieldInfo) -> str:
    own = _bounds(field.metadata)
    nested = [text for part in _annotated(field.annotation) for text in _bounds(get_args(part)[1:])]
    listed = any(get_origin(part) is tuple for part in members(field.annotation))
    return ", ".join([*own, *(f"each {text}" if listed else text for text in nested)])


def _bounds(metadata: Any) -> list[str]:
    found = []
    for item in metadata:
        if isinstance(item, FieldInfo):
            found += _bounds(item.metadata)
        found += [f"{word} {getattr(item, name):g}" for name, word in _WORDS.items() if hasattr(item, name)]
        if getattr(item, "min_length", None):
            found.append(f"at least {item.min_length} {'entry' if item.min_length == 1 else 'entries'}")
    return found


def _annotated(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield annotation
    for part in get_args(annotation):
        if not is_literal(annotation):
            yield from _annotated(part)
