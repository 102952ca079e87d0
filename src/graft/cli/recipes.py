"""From the arguments of a command to a resolved recipe. Imports the schema, so only commands may import it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from graft.cli.options import Command, Common
from graft.config.loading import Resolved, load_recipe
from graft.config.reference import Flag, flags
from graft.errors import ConfigError

if TYPE_CHECKING:
    from graft.pipeline.prepare.effect import Use

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SOURCES = "data.train"
"""The setting whose flag may be given more than once."""


TRAINER_FLAGS = {
    "model-name-or-path": "model.id", "num-train-epochs": "train.epochs", "optim": "train.optimizer",
    "per-device-train-batch-size": "train.batch_size", "gradient-accumulation-steps": "train.gradient_accumulation",
    "lr-scheduler-type": "train.schedule", "warmup-steps": "train.warmup_steps", "warmup-ratio": "train.warmup_share",
    "weight-decay": "train.weight_decay", "max-grad-norm": "train.max_grad_norm", "eval-steps": "train.eval_steps",
    "save-steps": "train.save_steps", "save-total-limit": "train.keep_last", "logging-steps": "train.logging_steps",
    "lora-dropout": "adapter.dropout", "max-length": "data.max_length", "max-seq-length": "data.max_length",
    "seed": "study.seeds", "output-dir": "runs",
}  # fmt: skip
"""Names that the trainers of Hugging Face have for settings."""


class RecipeCommand(Command):
    """A command with recipe flags, which also takes other trainers' spellings: `--per_device_train_batch_size`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; what has no flag of its own becomes an override at their end."""
        return super().parse_args(ctx, self._spelled(args))

    def _spelled(self, args: Sequence[str]) -> list[str]:
        known = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        own = {flag.key: flag.names[0] for flag in flags() if flag.fixed is None} | {"runs": "--runs"}
        takes_overrides = any(parameter.name in ("overrides", "arguments") for parameter in self.params)
        rest, found, overrides = list(args), [], []
        while rest:
            given = rest.pop(0)
            name, equals, value = given.partition("=")
            plain = name[:2] + name[2:].replace("_", "-")
            key = TRAINER_FLAGS.get(plain[2:]) if plain.startswith("--") and plain not in known else None
            if key in own:
                found.append(f"{own[key]}{equals}{value}")
            elif key is not None and takes_overrides and (equals or rest):
                overrides.append(f"{key}={value if equals else rest.pop(0)}")
            else:
                found.append(f"{plain}{equals}{value}" if plain in known and plain.startswith("--") else given)
        return [*found, *overrides]


def recipe_flags(command: Decorated) -> Decorated:
    """Give a command one flag for each setting that is often changed, documented by the schema."""
    for flag in reversed(flags()):
        command = _option(flag)(command)
        if flag.key == SOURCES:
            told = "Shares of several --task, such as 0.7,0.3.  [default: equal]"
            command = click.option("--rates", metavar="A,B,…", help=told)(command)
    return command


def _option(flag: Flag) -> Callable[[Decorated], Decorated]:
    name = _parameter(flag)
    if flag.fixed is not None:
        return click.option(*flag.names, name, flag_value=flag.fixed, default=None, help=flag.help)
    complete = _complete(flag.choices)
    several = flag.key == SOURCES
    text = f"{flag.help} Several are mixed: --task a --task b." if several else flag.help
    return click.option(*flag.names, name, metavar=flag.metavar, help=text, shell_complete=complete, multiple=several)


def _parameter(flag: Flag) -> str:
    return f"flag_{flag.names[0].lstrip('-').replace('-', '_')}"


def _complete(
    words: Sequence[str],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    return lambda context, parameter, start: [CompletionItem(word) for word in words if word.startswith(start)]


def given_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe flags among a command's arguments, by dotted key.

    Raises:
        ConfigError: the rates are not one number for each task.
    """
    given = {flag.key: values[_parameter(flag)] for flag in flags() if values.get(_parameter(flag)) not in (None, ())}
    names, rates = given.pop(SOURCES, ()), values.get("rates")
    if rates is not None and len(names) < 2:
        raise ConfigError(f"--rates is {rates}, but {len(names)} --task are given; it shares out several")
    if len(names) == 1:
        return {**given, SOURCES: names[0]}
    return {**given, SOURCES: _mixture(names, rates)} if names else given


def _mixture(names: Sequence[str], rates: str | None) -> list[dict[str, Any]]:
    """Training sources with the rates that were typed, or with equal ones."""
    shares = [1 / len(names)] * len(names) if rates is None else [_number(rate) for rate in rates.split(",")]
    if len(shares) != len(names):
        raise ConfigError(f"--rates is {rates}, but there are {len(names)} tasks ({', '.join(names)}); give one each")
    return [{"task": name, "rate": share} for name, share in zip(names, shares, strict=True)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--rates holds {text!r}, which is no number; write it as 0.7,0.3") from error


def resolve(
    common: Common,
    recipe: str | None,
    overrides: Sequence[str] = (),
    flag_values: Mapping[str, Any] | None = None,
    use: Use | None = None,
) -> Resolved:
    """Load a recipe with the command's flags and overrides and the global `--runs`.

    Args:
        common: the global options.
        recipe: the file, if any.
        overrides: `key=value` arguments.
        flag_values: the recipe flags by dotted key.
        use: what the command reads of it, where that is less than a run reads.

    Raises:
        ConfigError: the recipe or what was given beside it breaks a rule, or has no effect.
    """
    from graft.pipeline.prepare.effect import effective

    runs = {} if common.runs is None else {"runs": common.runs}
    found = load_recipe(Path(recipe) if recipe else None, overrides, {**runs, **(flag_values or {})})
    return effective(_with_model(found), use)


def _with_model(resolved: Resolved) -> Resolved:
    """A recipe whose model is an arm of a run, with the folder of that arm's weights in its place."""
    from graft.cli.lookup import model_of

    model = resolved.recipe.model
    if "model.id" not in resolved.origins or model.backend != "transformers":
        return resolved
    named = model.model_copy(update={"id": model_of(model.id, resolved.recipe.runs)})
    return replace(resolved, recipe=resolved.recipe.model_copy(update={"model": named}))


def recipe_and_overrides(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split `[RECIPE] [KEY=VALUE …]`; the first argument is a recipe unless it reads like an override."""
    if arguments and ("=" not in arguments[0] or os.path.isfile(arguments[0])):  # noqa: PTH113 - Path's raises
        return arguments[0], list(arguments[1:])
    return None, list(arguments)
