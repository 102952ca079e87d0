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


def split_arm(name: str, root: Path) -> tuple[RunDirectory | None, str | None]:
    """The run and the arm that `RUN:ARM`, `RUN` or `latest` names; no run where it names a model.

    Raises:
        RunError: it is `latest`, and there are no runs.
    """
    run = named_run(name, root)
    before, colon, arm = name.rpartition(":")
    if run is not None or not colon:
        return run, None
    run = named_run(before, root)
    return run, arm if run is not None else None


def model_of(name: str, root: Path) -> str:
    """What `RUN` or `RUN:ARM` stands for where a model is named: the folder of the arm's weights or adapter.

    Returns:
        The folder, the model of the run for an untrained arm, or the name as it is where it names no run.

    Raises:
        ConfigError: the run has no such arm.
        RunError: the arm was not trained to its end, or there are no runs.
    """
    from graft.config.loading import load_recipe
    from graft.pipeline.branches import find_branch
    from graft.pipeline.places import final_folder
    from graft.runs.files import is_committed

    run, arm = split_arm(name, root)
    if run is None:
        return name
    recipe = load_recipe(run.recipe).recipe
    branch = find_branch(recipe, arm)
    if branch.seed is None:
        return recipe.model.id
    if not is_committed(final_folder(run, branch)):
        raise RunError(f"{run.name} holds no trained {branch.label}; train it first: graft run --resume {run.name}")
    return str(final_folder(run, branch))


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
