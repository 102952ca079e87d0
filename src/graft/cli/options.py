"""The options that every command has, and how each command shows its example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


class Common:
    """What the global options say.

    Attributes:
        quiet: print the result and nothing else.
        json: print the result as JSON on stdout.
        debug: show the traceback of every error.
        runs: folder of the run directories; `None` for the recipe's own.
        resume: the command that continues the run under way, told after Ctrl-C; empty when there is none.
        arguments: the command line after `graft`.
    """

    __slots__ = ("arguments", "debug", "json", "quiet", "resume", "runs")

    def __init__(self, *, json: bool = False, debug: bool = False, arguments: Sequence[str] = ()) -> None:
        self.quiet = False
        self.json = json
        self.debug = debug
        self.runs: Path | None = None
        self.resume = ""
        self.arguments = arguments

    @property
    def runs_folder(self) -> Path:
        """Where runs are looked up by name."""
        from graft.config.schema import Recipe

        return self.runs if self.runs is not None else Path(Recipe.model_fields["runs"].default)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        setattr(context.ensure_object(Common), str(parameter.name).removeprefix("common_"), value)


def common_options(*, hidden: bool) -> list[click.Option]:
    """The global options; they are understood before and after the command's name, and shown only once."""
    quiet = _option(["-q", "--quiet"], "Print the result and nothing else.", hidden, is_flag=True)
    as_json = _option(["--json"], "Print the result as JSON; all else goes to stderr.", hidden, is_flag=True)
    debug = _option(["--debug"], "Show the traceback of every error.", hidden, is_flag=True)
    folder = click.Path(file_okay=False, path_type=Path)
    runs = _option(["--runs"], "Folder of the run directories  [default: runs]", hidden, type=folder, metavar="FOLDER")
    return [quiet, as_json, debug, runs]


def _option(names: list[str], text: str, hidden: bool, **kwargs: Any) -> click.Option:
    """A global option, stored under a name of its own so that a command may have an argument called `runs`."""
    stored = f"common_{names[-1].lstrip('-')}"
    return click.Option([*names, stored], help=text, hidden=hidden, expose_value=False, callback=_remember, **kwargs)


class Command(click.Command):
    """A command with the global options and an example at the end of its help.

    Args:
        example: command lines to show, one per line.
    """

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params += common_options(hidden=True)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; an option that is given twice is an error, since the first would be lost."""
        _, _, found = self.make_parser(ctx).parse_args(args=list(args))
        for option in found:
            if (
                isinstance(option, click.Option)
                and not option.multiple
                and not option.is_flag
                and found.count(option) > 1
            ):
                raise click.UsageError(f"{option.opts[0]} is given {found.count(option)} times; give it once.", ctx)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example and where the global options are explained."""
        write_example(formatter, self.example)


class CommandGroup(click.Group):
    """A family of commands, such as `graft runs`, with the same ending of its help."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params += common_options(hidden=True)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example and where the global options are explained."""
        write_example(formatter, self.example)


def write_example(formatter: click.HelpFormatter, example: str) -> None:
    """Write command lines as they are typed, without wrapping them."""
    lines = example.strip().splitlines()
    with formatter.section("Example" if len(lines) == 1 else "Examples"):
        formatter.write("".join(f"  {line.strip()}\n" for line in lines))
    formatter.write("\nEvery command also takes -q/--quiet, --json, --debug and --runs FOLDER: graft --help\n")
