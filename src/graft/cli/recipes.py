"""From the arguments of a command to a resolved recipe. Imports the schema, so only commands may import it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from graft.cli.options import Common
from graft.config.loading import Resolved, load_recipe
from graft.config.reference import Flag, flags

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def recipe_flags(command: Decorated) -> Decorated:
    """Give a command one flag for each setting that is often changed, documented by the schema."""
    for flag in reversed(flags()):
        command = _option(flag)(command)
    return command


def recipe_flag(name: str) -> Callable[[Decorated], Decorated]:
    """Give a command one of these flags, by its long spelling."""
    return next(_option(flag) for flag in flags() if name in flag.names)


def _option(flag: Flag) -> Callable[[Decorated], Decorated]:
    name = _parameter(flag)
    if flag.fixed is not None:
        return click.option(*flag.names, name, flag_value=flag.fixed, default=None, help=flag.help)
    return click.option(*flag.names, name, metavar=flag.metavar, help=flag.help, shell_complete=_complete(flag.choices))


def _parameter(flag: Flag) -> str:
    return f"flag_{flag.names[0].lstrip('-').replace('-', '_')}"


def _complete(
    words: Sequence[str],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    return lambda context, parameter, start: [CompletionItem(word) for word in words if word.startswith(start)]


def given_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe flags among a command's arguments, by dotted key."""
    return {flag.key: values[_parameter(flag)] for flag in flags() if values.get(_parameter(flag)) is not None}


def resolve(
    common: Common, recipe: str | None, overrides: Sequence[str] = (), flag_values: Mapping[str, Any] | None = None
) -> Resolved:
    """Load a recipe with the command's flags and overrides and the global `--runs`.

    Raises:
        ConfigError: the recipe or what was given beside it breaks a rule.
    """
    runs = {} if common.runs is None else {"runs": common.runs}
    return load_recipe(Path(recipe) if recipe else None, overrides, {**runs, **(flag_values or {})})


def recipe_and_overrides(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split `[RECIPE] [KEY=VALUE …]`; the first argument is a recipe unless it reads like an override."""
    if arguments and ("=" not in arguments[0] or os.path.isfile(arguments[0])):  # noqa: PTH113 - Path's raises
        return arguments[0], list(arguments[1:])
    return None, list(arguments)
