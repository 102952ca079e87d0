"""The command `graft`: which commands there are, and what becomes of errors.

Commands live in their own files and are imported only when they are used, so that `graft --help` loads none of the
libraries behind them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, NamedTuple

import click

from graft import __version__
from graft.cli.options import Common, common_options
from graft.cli.text import echo, printable

EXIT_USER_ERROR = 2
SIGNAL_EXIT = 128
"""Added to the number of the signal that ended the process: 130 after Ctrl-C."""


class Entry(NamedTuple):
    """One line of the help: where the command lives and what it does."""

    module: str
    group: str
    help: str


COMMANDS = {
    "init": Entry("init", "Recipes", "Write a commented recipe after a few questions, or one for a table of your own."),
    "check": Entry("check", "Recipes", "Check a recipe and show what it would do."),
    "schema": Entry("about", "Recipes", "Print the JSON schema of recipes, for editors."),
    "tasks": Entry("tasks", "Recipes", "List the tasks, or show one with real items."),
    "run": Entry("run", "Experiments", "Run a recipe from data to report."),
    "train": Entry("run", "Experiments", "Train only, from flags or a recipe."),
    "eval": Entry("run", "Experiments", "Score a run or a model on held-out items."),
    "predict": Entry("predict", "Experiments", "Answer every row of a file with a run or a model."),
    "chat": Entry("chat", "Experiments", "Talk to a model or a run, or to two side by side."),
    "bench": Entry("bench", "Experiments", "Measure how fast this machine trains."),
    "report": Entry("reports", "Results", "Write the report of a run anew."),
    "compare": Entry("reports", "Results", "Compare runs: what differs, and by how much."),
    "export": Entry("export", "Models", "Make a model for other programs of a run, and compare it with the run."),
    "vocab": Entry("vocab", "Models", "Classify a vocabulary, or trim a model to a part of it."),
    "runs": Entry("runs", "Results", "List, show, verify and delete runs."),
    "cache": Entry("cache", "About", "Show and clear tokenised rows and copied models."),
    "doctor": Entry("doctor", "About", "Show what this machine offers and whether a recipe can run here."),
    "selftest": Entry("selftest", "About", "Test Graft's own rules on simulated studies."),
    "version": Entry("about", "About", "Print the versions of Graft and of what it stands on."),
    "completion": Entry("about", "About", "Print the completion script of a shell."),
}

GETTING_STARTED = (
    ("graft init my.yaml", "answer a few questions, get a recipe"),
    ("graft check my.yaml", "see what it would do, before anything is trained"),
    ("graft run my.yaml", "train, score, judge and report"),
    ("graft runs", "see what you have"),
)


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; each file holds its commands under their names followed by `_command`."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"graft.cli.{COMMANDS[cmd_name].module}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(_unknown_command(args[0]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write getting started and the commands by group, from the table alone."""
        with formatter.section("Getting started"):
            formatter.write_dl(list(GETTING_STARTED))
        for group in dict.fromkeys(entry.group for entry in COMMANDS.values()):
            with formatter.section(group):
                formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items() if entry.group == group])


def _unknown_command(name: str) -> str:
    from graft.errors import close_match

    if name.endswith((".yaml", ".yml")):
        return f"No such command '{name}'. To run that recipe: graft run {name}"
    near = close_match(name, COMMANDS)
    hint = f"Did you mean '{near}'?" if near else f"Commands: {', '.join(COMMANDS)}."
    return f"No such command '{name}'. {hint}"


@click.group(
    cls=LazyGroup,
    params=common_options(hidden=False),
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="graft")
@click.pass_context
def cli(context: click.Context) -> None:
    """Fine-tune a small language model, and prove what it learned and what carried over."""
    if context.invoked_subcommand is None:
        echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: what follows `graft`; the arguments of the process when unset.

    Returns:
        The exit code: 0, 2 after an error that the user can mend, 130 after Ctrl-C, 143 after SIGTERM, 129 after
        SIGHUP. Anything else that goes wrong is a bug and leaves as an exception, with its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    common = Common(json="--json" in given, debug="--debug" in given, arguments=given)
    try:
        result: Any = cli.main(given, prog_name="graft", standalone_mode=False, obj=common)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        echo(error.ctx.get_help() if error.ctx else "", err=True)
        return EXIT_USER_ERROR
    except click.ClickException as error:
        _show_usage(error)
        return _fail(common, type(error).__name__, error.format_message())
    except (click.Abort, KeyboardInterrupt) as error:
        return _stopped(common, error, ends=arguments is None)
    except Exception as error:
        if isinstance(error, OSError) and isinstance(error.__context__, KeyboardInterrupt):
            return _stopped(common, error.__context__, ends=arguments is None)  # click wrote to a closed terminal
        from graft.errors import GraftError
        from graft.train.processes import PeerError

        if isinstance(error, PeerError):
            return EXIT_USER_ERROR  # the process that failed says why
        from graft.runs.space import is_out_of_memory, out_of_memory

        if not isinstance(error, GraftError) and is_out_of_memory(error):
            error = out_of_memory(error)
        if not isinstance(error, GraftError) or common.debug:
            sys.excepthook = _show_bug
            raise
        return _fail(common, type(error).__name__, str(error))


def _ignore_signals() -> None:
    """The process is ending: more of the same could only cut its last message."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _show_usage(error: click.ClickException) -> None:
    context = getattr(error, "ctx", None)
    if context is not None:
        echo(context.get_usage(), err=True)


def _fail(common: Common, kind: str, message: str) -> int:
    """Say what is wrong in one block on stderr, and on stdout for machines."""
    from graft.errors import shortened

    message = shortened(printable(message))
    if common.json:
        from graft.cli.output import print_json

        print_json({"error": {"kind": kind, "message": message}})
    first, *rest = message.splitlines() or [""]
    echo(shortened("\n".join((f"error: {first}", *(f"       {line}" for line in rest)))), err=True)
    return EXIT_USER_ERROR


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback that holds no secret and cannot disturb the terminal."""
    from traceback import format_exception

    echo("".join(format_exception(kind, error, trace)), err=True, nl=False)


def _stopped(common: Common, error: BaseException, *, ends: bool) -> int:
    """Say how to go on, and give the exit code; ``ends`` where the process is about to end too."""
    if ends:
        _ignore_signals()
    if isinstance(error.__cause__ or error.__context__, EOFError):
        return _fail(common, "Abort", "there is nobody to answer the question; use flags or --yes (see --help).")
    hint = f" What was written is kept; continue with: {common.resume}" if common.resume else ""
    with suppress(OSError):  # a terminal that was closed reads nothing
        echo(f"Stopped.{hint}", err=True)
    from graft.runs.interrupts import Terminated

    came_from = (error, error.__cause__, error.__context__)  # click wraps it
    return SIGNAL_EXIT + next((one.number for one in came_from if isinstance(one, Terminated)), signal.SIGINT)
