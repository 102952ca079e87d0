"""`graft runs`: list, show, verify and delete run directories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graft.cli.completion import complete_runs
from graft.cli.options import Command, CommandGroup, Common
from graft.cli.output import print_json, print_table
from graft.cli.text import duration, echo

if TYPE_CHECKING:
    from graft.runs.directory import RunDirectory
    from graft.runs.listing import RunSummary

EXIT_DAMAGED = 2


@click.group(
    "runs",
    cls=CommandGroup,
    invoke_without_command=True,
    example="""graft runs
               graft runs list --filter task=spelling --filter status=complete --sort -created""",
)
@click.pass_context
def runs_command(context: click.Context) -> None:
    """List, show, verify and delete runs."""
    if context.invoked_subcommand is None:
        context.invoke(list_command, filters=(), sort="-created")


@runs_command.command("list", cls=Command, example="graft runs list --filter model~Qwen --sort -duration")
@click.option("--filter", "filters", multiple=True, metavar="EXPRESSION", help="key=value, !=, ~ (contains), <, >, …")
@click.option("--sort", default="-created", metavar="[-]KEY", help="Order; - reverses it.  [default: -created]")
@click.pass_obj
def list_command(common: Common, filters: Sequence[str], sort: str) -> None:
    """List the runs, the newest first."""
    from graft.runs.listing import filter_runs, list_runs, sort_runs

    found = sort_runs(filter_runs(list_runs(common.runs_folder), filters), sort)
    if common.json:
        print_json([asdict(run) for run in found])
    elif found:
        print_table(("run", "status", "took", "result"), [_row(run) for run in found])
    else:
        matching = " that matches" if filters else ""
        echo(f"There is no run{matching} in {common.runs_folder}. Start one with: graft run RECIPE")


def _row(run: RunSummary) -> tuple[str, str, str, str]:
    took = "" if math.isnan(run.duration_seconds) else duration(run.duration_seconds)
    return run.name, str(run.status), took, run.headline or run.message.partition("\n")[0]


@runs_command.command("show", cls=Command, example="graft runs show latest")
@click.argument("run", metavar="RUN|latest", shell_complete=complete_runs)
@click.pass_obj
def show_command(common: Common, run: str) -> None:
    """Show one run: its state, its result and what it left behind."""
    from graft.cli.lookup import find_run
    from graft.runs.listing import list_runs

    directory = find_run(run, common.runs_folder)
    summary = next(known for known in list_runs(directory.path.parent) if known.name == directory.name)
    files = _files(directory.path)
    if common.json:
        print_json({**asdict(summary), "files": files})
        return
    metrics = {name: f"{value:.4g}" for name, value in sorted(summary.metrics.items())}
    facts = {
        "status": f"{summary.status} {summary.stage and f'({summary.stage})'}".strip(),
        "message": summary.message,
        "result": summary.headline,
        "created": summary.created,
        "took": "" if math.isnan(summary.duration_seconds) else duration(summary.duration_seconds),
        **metrics,
        "folder": str(directory.path),
    }
    width = max(len(name) for name in facts)
    echo(summary.name)
    for name, value in facts.items():
        if value:
            echo(f"  {name:{width}}  {value}")
    echo("  files:")
    for file in files:
        echo(f"    {file}")


def _files(folder: Path) -> list[str]:
    """The files of a run, without the insides of checkpoints and TensorBoard."""
    inner = ("checkpoints", "tensorboard")
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return list(dict.fromkeys(f"{path.parts[0]}/" if path.parts[0] in inner else str(path) for path in found))


@runs_command.command("verify", cls=Command, example="graft runs verify latest --repair")
@click.argument("run", required=False, metavar="[RUN|latest]", shell_complete=complete_runs)
@click.option("--repair", is_flag=True, help="Run the stages again whose files are damaged, and only those.")
@click.pass_obj
def verify_command(common: Common, run: str | None, repair: bool) -> int:
    """Compare every file of a run, or of all runs, with its hash."""
    from graft.cli.lookup import find_run
    from graft.runs.directory import RunDirectory, run_names
    from graft.runs.verify import verify_run

    if repair and run is None:
        raise click.UsageError("--repair needs the name of a run.")
    root = common.runs_folder
    runs = [find_run(run, root)] if run is not None else [RunDirectory(root / name) for name in run_names(root)]
    if repair and any(verify_run(one).damage for one in runs):
        _repair(common, runs[0])
    found = [verify_run(one) for one in runs]
    if common.json:
        print_json([one.to_json() for one in found])
    else:
        for line in (line for one in found for line in one.lines()):
            echo(line)
    return EXIT_DAMAGED if any(one.damage for one in found) else 0


def _repair(common: Common, run: RunDirectory) -> None:
    from graft.cli.progress import open_progress
    from graft.pipeline.run import repair
    from graft.runs.interrupts import terminable

    with terminable(), open_progress(quiet=common.quiet) as progress:
        repair(run, progress=progress)


@runs_command.command("delete", cls=Command, example="graft runs delete 2026-11-20_14h32m_sprout_spelling_sft --yes")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_runs)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete_command(common: Common, runs: tuple[str, ...], yes: bool) -> None:
    """Delete runs for good, after a question."""
    from graft.cli.lookup import find_run
    from graft.runs.listing import delete_run

    found = [find_run(name, common.runs_folder) for name in dict.fromkeys(runs)]
    for run in found:
        echo(str(run.path), err=True)
    asked = f"Delete {'this run' if len(found) == 1 else f'these {len(found)} runs'} for good?"
    if not yes and not click.confirm(asked, err=True):
        echo("Nothing was deleted.", err=True)
        return
    for run in found:
        delete_run(run.path.parent, run.name)
    if common.json:
        print_json({"deleted": [run.name for run in found]})
