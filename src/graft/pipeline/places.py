"""Where the files of a run are that several stages write or read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graft.pipeline.branches import Branch
from graft.runs.directory import RunDirectory
from graft.runs.manifest import MARKER, file_hash
from graft.runs.markers import Leaves
from graft.runs.samples import SLASH, samples_name

GRID_FILE = "sampling_grid.json"
"""Scores under several ways of sampling, side by side."""

CALIBRATION = "calibration"
"""The split of items that are never scored."""


def final_folder(run: RunDirectory, branch: Branch) -> Path:
    """Where the trained weights or adapter of a branch are."""
    return run.checkpoints / branch.label / "final"


def controls_path(run: RunDirectory, branch: Branch) -> Path:
    """Where the base's replies are that a branch of the arm ``self`` is trained on."""
    return run.path / "controls" / f"{branch.label}.jsonl"


def samples_path(run: RunDirectory, branch: Branch, task: str) -> Path:
    """Where the scored items of a branch and task are."""
    return run.samples_file(samples_name(branch.label, task))


def calibration_path(run: RunDirectory, branch: Branch, task: str) -> Path:
    """Where the items are that the temperature of a branch and task is fitted on."""
    return run.path / CALIBRATION / f"{samples_name(branch.label, task)}.jsonl"


def baselines_path(run: RunDirectory, task: str) -> Path:
    """Where the scored trivial answers to a task's held-out items are."""
    return run.path / "baselines" / f"{task.replace('/', SLASH)}.jsonl"


def score_leaves(run: RunDirectory, branch: Branch, ways: Sequence[Branch], tasks: Sequence[str]) -> Leaves:
    """The files of a scored branch; its scores belong to the weights that they were measured with.

    Args:
        run: the run.
        branch: the branch.
        ways: the names under which its items are stored.
        tasks: the tasks that are scored.
    """
    files = [place(run, way, task) for place in (samples_path, calibration_path) for way in ways for task in tasks]
    return Leaves(files, reads=(final_folder(run, branch) / MARKER,))


def report_leaves(run: RunDirectory) -> Leaves:
    """The files of the conclusion, and the logs that a later command appends to."""
    names = ("results.json", "labels.json", "separation.json", "summary.json", GRID_FILE)
    files = [run.verdict, run.report, run.figures, *(run.path / name for name in names)]
    return Leaves(files, grows=(run.metrics, run.log, run.tensorboard))


def journal_path(run: RunDirectory, name: str) -> Path:
    """Where the replies of an unfinished stage are."""
    return run.path / "journal" / f"{name}.jsonl"


def weights_hash(run: RunDirectory, branch: Branch) -> str:
    """What tells the trained weights of a branch from others; empty for the model as it came."""
    marker = final_folder(run, branch) / MARKER
    return file_hash(marker) if marker.is_file() else ""


def lengths_path(run: RunDirectory, branch: Branch) -> Path:
    """Where a branch's replies to the neutral prompts are."""
    return run.path / "separation" / f"{branch.label}.jsonl"
