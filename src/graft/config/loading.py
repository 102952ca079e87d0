"""From a file, flags and `key=value` overrides to one checked recipe that knows where each value came from.

A later source wins: defaults, then the recipe file, then flags, then overrides. Sections are merged key by key,
lists are replaced whole. A relative path inside a recipe (`runs`, `data.corpus`, `words.source`, a local `model.id`)
is meant from the folder in which the command is started, as on the command line, not from the recipe's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from graft.config.keys import sections, settings
from graft.config.messages import messages, unknown_key
from graft.config.scalars import PARSE_ERRORS, describe, parse, parse_with_lines
from graft.config.schema import Recipe
from graft.config.shipped import near_recipes
from graft.errors import ConfigError

MOST_BYTES = 500_000
"""Size of a recipe file."""

COMMAND_LINE = "command line"
"""Origin of a value that came from a flag or a `key=value` override."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A checked recipe.

    Attributes:
        recipe: every setting.
        origins: where each given value came from, by dotted key: `recipes/quickstart.yaml:12` or `command line`.
    """

    recipe: Recipe
    origins: Mapping[str, str] = field(default_factory=dict)


def load_recipe(
    path: Path | None = None,
    overrides: Mapping[str, str] | Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Resolved:
    """Resolve a recipe.

    Args:
        path: the recipe file; `None` for the defaults alone.
        overrides: `{"train.max_steps": "20"}` or `["train.max_steps=20"]`, values in YAML.
        flags: values by dotted key; text is read as YAML (for a list, also `a,b,c`), `None` means not given.

    Raises:
        ConfigError: a file that is missing or not YAML, an unknown key, a value of the wrong type or out of range;
            every problem is listed, not only the first.
    """
    values, lines = _read(path) if path is not None else ({}, {})
    problems: list[str] = []
    for key, value in _given(overrides, flags or {}, problems):
        _put(values, key, value)
        for name in _leaves(key, value):
            lines = {known: place for known, place in lines.items() if not known.startswith((f"{name}[", f"{name}."))}
            lines[name] = COMMAND_LINE
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems += messages(error, values, lines)
    if problems:
        raise ConfigError("\n".join(problems))
    return Resolved(recipe, {key: _origin(key, lines) for key in settings() if _holds(values, key)})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a recipe file and the origin of every key in it."""
    text = _text(path)
    try:
        values, node = parse_with_lines(text)
    except PARSE_ERRORS as error:
        line, column, said = describe(error)
        place = f"{path}:{line}:{column}" if line else str(path)
        raise ConfigError(f"{place}: this is not YAML: {said}.") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a list of `key: value` lines, but got {_kind(values)}.")
    values = _without_truths(values)
    emptied: dict[str, Any] = {name: {} for name in sections() if name and name in values and values[name] is None}
    lines = {key: f"{path}:{line}" for key, line in _lines(node, "")}
    # A section of which every key is commented out is null in YAML; it means the defaults.
    return {**values, **emptied}, lines


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if not path.is_dir() and (not path.is_file() or size > MOST_BYTES):
            what = f"a file of {size:,} bytes" if path.is_file() else "no file"
            raise ConfigError(f"{path}: a recipe is a file of at most {MOST_BYTES:,} bytes, but this is {what}.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such recipe. {near_recipes(path)}".rstrip()) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder; name the recipe file. {near_recipes(path / 'x')}".rstrip()) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: this is not text in UTF-8 (byte {error.start}).") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"only {value!r:.60}"


def _lines(node: Node | None, prefix: str, depth: int = 0) -> Iterator[tuple[str, int]]:
    """The line of every key, down to the entries of lists; anchors may make the tree endless, hence the depth."""
    if depth > 6:
        return
    if isinstance(node, MappingNode):
        for key, value in node.value:
            name = f"{prefix}.{key.value}" if prefix else str(key.value)
            yield name, key.start_mark.line + 1
            yield from _lines(value, name, depth + 1)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{prefix}[{index}]", value.start_mark.line + 1
            yield from _lines(value, f"{prefix}[{index}]", depth + 1)


def _given(
    overrides: Mapping[str, str] | Sequence[str], flags: Mapping[str, Any], problems: list[str]
) -> Iterator[tuple[str, Any]]:
    """Flags first, then overrides, as key and value; what cannot be read, or is said twice, becomes a problem."""
    for key, value in flags.items():
        if isinstance(value, str):
            yield from _readable(key, value, problems)
        elif value is not None:
            yield key, value
    pairs = [f"{key}={text}" for key, text in overrides.items()] if isinstance(overrides, Mapping) else overrides
    typed: set[str] = set()
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals:
            problems.append(f"an override is written key=value, such as train.max_steps=20, but got {pair!r}")
        elif key not in settings() and key not in sections():
            problems.append(unknown_key(key, COMMAND_LINE))
        elif not text.strip():
            problems.append(f"{key}= has no value; write {key}=null to unset it ({COMMAND_LINE})")
        else:
            for name, value in _readable(key, text, problems):
                leaves = {*_leaves(name, value)}
                problems += [f"{leaf}= is given twice on the command line; once is enough" for leaf in leaves & typed]
                typed |= leaves
                yield name, value


def _readable(key: str, text: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Read a value as YAML; a setting that takes text keeps what YAML would call a number or a date."""
    text = text.strip()
    setting = settings().get(key)
    if setting is not None and setting.takes_list and not text.startswith("[") and not setting.takes_word(text):
        text = f"[{text}]"  # a,b,c is a list too
    takes_text = setting is not None and setting.takes_text
    try:
        value = _without_truths(parse(text))
    except PARSE_ERRORS as error:
        if takes_text:
            yield key, text
        else:
            problems.append(f"{key}={text}: {describe(error)[2]} ({COMMAND_LINE})")
        return
    if takes_text and not isinstance(value, str | None):
        value = text
    yield key, value


def _without_truths(value: Any, depth: int = 0) -> Any:
    """Booleans as text: no setting is one, and pydantic would read `batch_size: true` as 1."""
    if isinstance(value, bool):
        return str(value).lower()
    if depth < 6 and isinstance(value, list):
        return [_without_truths(entry, depth + 1) for entry in value]
    if depth < 6 and isinstance(value, dict):
        return {str(key): _without_truths(entry, depth + 1) for key, entry in value.items()}
    return value


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, merging a whole section key by key."""
    if key in sections() and isinstance(value, dict):
        for name, entry in value.items():
            _put(values, f"{key}.{name}", entry)
        return
    head, _, tail = key.rpartition(".")
    if head and not isinstance(values.get(head, {}), dict):
        return  # the file holds something else where a section belongs; validation names it
    target = values.setdefault(head, {}) if head else values
    target[tail] = value


def _leaves(key: str, value: Any) -> list[str]:
    return [f"{key}.{name}" for name in value] if key in sections() and isinstance(value, dict) else [key]


def _holds(values: Mapping[str, Any], key: str) -> bool:
    head, _, tail = key.rpartition(".")
    return tail in (values.get(head, {}) if head else values)


def _origin(key: str, lines: Mapping[str, str]) -> str:
    """The origin of a key or, when it came in through a YAML merge, of its section."""
    return lines.get(key) or lines.get(key.rpartition(".")[0], "")
