"""Runs by name, by path, or as `latest`."""

from __future__ import annotations

from pathlib import Path

from graft.errors import RunError
from graft.runs.directory import RunDirectory
from graft.runs.listing import list_runs
from graft.runs.state import Status

_UNFINISHED = (Status.FAILED, Status.INTERRUPTED, Status.CRASHED, Status.CREATED)


def find_run(name: str, root: Path) -> RunDirectory:
    """Open a run by name below root, by path, or as `latest`.

    Raises:
        RunError: there is no such run.
    """
    return latest_run(root) if name == "latest" else RunDirectory.open(name, root)


def latest_run(root: Path) -> RunDirectory:
    """The newest run.

    Raises:
        RunError: there is none.
    """
    runs = list_runs(root)
    if not runs:
        raise RunError(f"there is no run in {root} yet; start one with: graft run RECIPE")
    return RunDirectory.open(runs[0].name, root)


def latest_unfinished(root: Path) -> RunDirectory:
    """The newest run that stopped before its end.

    Raises:
        RunError: there is none.
    """
    stopped = [run for run in list_runs(root) if run.status in _UNFINISHED]
    if not stopped:
        raise RunError(f"no run in {root} stopped before its end; `graft runs` lists them all")
    return RunDirectory.open(stopped[0].name, root)
