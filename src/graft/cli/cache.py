"""`graft cache`: what is kept because making it again takes long, and how to be rid of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from graft.cli.options import Command, CommandGroup, Common
from graft.cli.output import print_json, print_table
from graft.cli.text import duration, echo

if TYPE_CHECKING:
    from graft.runs.cache import CacheEntry

MB = 1e6


@click.group("cache", cls=CommandGroup, invoke_without_command=True, example="graft cache")
@click.pass_context
def cache_command(context: click.Context) -> None:
    """Show and clear tokenised rows and copied models."""
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@cache_command.command("list", cls=Command, example="graft cache list --json")
@click.pass_obj
def list_command(common: Common) -> None:
    """Show what is in the cache, the largest first."""
    from graft.runs.cache import cache_folder, list_cache

    _show(common, list_cache(), f"The cache {cache_folder()} is empty.")


@cache_command.command("clear", cls=Command, example="graft cache clear --older-than 30")
@click.option("--older-than", metavar="DAYS", type=click.FloatRange(min=0), default=0.0, help="Only what lay unused.")
@click.option("--kind", type=click.Choice(("rows", "remote", "unpacked")), help="Only this kind.")
@click.pass_obj
def clear_command(common: Common, older_than: float, kind: str | None) -> None:
    """Delete what is in the cache; everything there can be made or fetched again."""
    from graft.runs.cache import clear_cache

    _show(common, clear_cache(older_than_days=older_than, kind=kind), "There was nothing to delete.", done="deleted ")


def _show(common: Common, entries: list[CacheEntry], nothing: str, done: str = "") -> None:
    if common.json:
        print_json([{"kind": e.kind, "path": str(e.path), "what": e.what, "bytes": e.size} for e in entries])
    elif entries:
        rows = [(e.kind, e.what, f"{e.size / MB:,.1f} MB", duration(e.used)) for e in entries]
        print_table(("kind", "what", "size", "last used before"), rows)
        echo(f"{done}{len(entries)} entries, {sum(e.size for e in entries) / MB:,.1f} MB")
    else:
        echo(nothing)
