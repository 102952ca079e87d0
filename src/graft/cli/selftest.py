"""`graft selftest`: whether Graft's own rules keep their promises."""

from __future__ import annotations

import click

from graft.cli.options import Command, Common
from graft.cli.output import print_json, print_table
from graft.cli.text import echo

NOT_KEPT = 1
"""Exit code when a promise is broken."""


@click.command("selftest", cls=Command, example="graft selftest science\ngraft selftest science --full --studies 1000")
@click.argument("subject", type=click.Choice(["science"]))
@click.option("--studies", type=click.IntRange(min=1), default=200, show_default=True, help="Studies of each kind.")
@click.option("--full", is_flag=True, help="Every kind of study instead of the few that break first; takes minutes.")
@click.pass_obj
def selftest_command(common: Common, subject: str, studies: int, full: bool) -> int:
    """Test Graft's own rules on simulated studies.

    `science` draws whole studies whose truth is known, judges them by the rules that judge a run, and counts wrong
    verdicts and intervals that miss the truth. A claim that is not there may come in 2.5% of studies, a "no transfer"
    of a change that reaches the margin in 5%, and 95% intervals must hold the truth in at least 93%, each within the
    error of the simulation. The exit code is 1 when a kind of study breaks a promise.
    """
    from graft.workbench.selftest import COLUMNS, Outcome, check_science, row

    outcome = Outcome(tuple(check_science(studies, full=full)))
    if common.json:
        print_json(outcome.to_json())
    else:
        print_table(COLUMNS, [row(result) for result in outcome.results])
        kept = "every promise is kept" if outcome.kept else "a promise is broken: see the last column"
        echo(f"{len(outcome.results)} kinds of study, {studies:,} of each: {kept}.")
    return 0 if outcome.kept else NOT_KEPT
