"""Runs by name, by path, or as `latest`."""

from __future__ import annotations

from pathlib import Path

from graft.errors import RunError
from graft.runs.directory import RunDirectory
from graft.runs.listing import list_runs
from graft.runs.lock import locked
from graft.runs.state import Status

_UNFINISHED = (Status.FAILED, Status.INTERRUPTED, Status.CRASHED, Status.CREATED)


def find_run(name: str, root: Path) -> RunDirectory:
    """Open a run by name below root, by path, or as `latest`.

    Raises:
        RunError: there is no such run.
    """
    return latest_run(root) if name == "latest" else RunDirectory.open(name, root)


def named_run(name: str, root: Path) -> RunDirectory | None:
    """The run of that name, or ``None`` where there is none, so that it names a model.

    Raises:
        RunError: it is `latest`, and there are no runs.
    """
    if name == "latest":
        return latest_run(root)
    try:
        return RunDirectory.open(name, root)
    except RunError:
        return None


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


def run_to_resume(name: str, root: Path) -> RunDirectory:
    """The run that `--resume` means: by name below root, by path, by one of its checkpoints, or `latest`.

    A checkpoint's folder means that training goes on from there: later ones of the same arm are set aside.

    Raises:
        RunError: there is no such run, or the checkpoint is damaged.
    """
    from graft.train.checkpoints import problem, set_aside, step_of

    if name == "latest":
        return latest_unfinished(root)
    checkpoint = Path(name).absolute()
    step = step_of(checkpoint)
    if step < 0 or not checkpoint.is_dir():
        return RunDirectory.open(name, root)
    run = RunDirectory.open(checkpoint.parents[2], root)
    if why := problem(checkpoint):
        raise RunError(
            f"{checkpoint} {why}; name another one, or let the newest sound one be found: --resume {run.name}"
        )
    with locked(run.lock_file):
        set_aside(checkpoint.parent, after=step)
    return run
