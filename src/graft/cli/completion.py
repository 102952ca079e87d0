"""What the shell offers after TAB: recipes and runs. Must never fail and never be slow."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from graft.cli.options import Common


def complete_recipes(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Files, completed by the shell itself."""
    return [CompletionItem(start, type="file")]


def complete_runs(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Names of runs, the newest first, and `latest`."""
    root = getattr(context.find_object(Common), "runs", None) or Path("runs")
    try:
        names = sorted((path.name for path in root.iterdir() if (path / "run.json").is_file()), reverse=True)
    except OSError:
        names = []
    return [CompletionItem(name) for name in ("latest", *names) if name.startswith(start)]
