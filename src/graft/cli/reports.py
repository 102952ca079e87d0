"""`graft report` and `graft compare`: from stored items to pages. Names are looked up before torch is imported."""

from __future__ import annotations

import click

from graft.cli.completion import complete_runs
from graft.cli.options import Command, Common
from graft.cli.output import print_json, print_table
from graft.cli.text import echo


@click.command("report", cls=Command, example="graft report latest")
@click.argument("run", metavar="RUN|latest", shell_complete=complete_runs)
@click.pass_obj
def report_command(common: Common, run: str) -> None:
    """Write the report of a run anew."""
    from graft.cli.lookup import find_run

    directory = find_run(run, common.runs_folder)
    from graft.pipeline.run import report

    page = report(directory)
    if common.json:
        print_json({"report": str(page)})
    else:
        echo(str(page))


@click.command(
    "compare",
    cls=Command,
    example="graft compare 2026-11-20_14h32m_sprout_spelling_sft_bs16_lora-r16_steps300 latest",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", shell_complete=complete_runs)
@click.pass_obj
def compare_command(common: Common, runs: tuple[str, ...]) -> None:
    """Compare runs: what differs, and by how much.

    Shows the settings that differ, and the trained arm's accuracy with its change to the first run.
    """
    if len(runs) < 2:
        raise click.UsageError(f"graft compare needs at least two runs, but got {len(runs)}.")
    from graft.cli.lookup import find_run

    found = [find_run(name, common.runs_folder) for name in runs]
    from graft.report.compare import compare

    comparison = compare(found)
    if common.json:
        print_json(comparison.to_json())
        return
    print_table(comparison.columns, comparison.rows)
    for line in comparison.notes:
        echo(line)
