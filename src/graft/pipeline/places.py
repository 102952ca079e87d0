"""Where the files of a run are that several stages write or read."""

from __future__ import annotations

from pathlib import Path

from graft.pipeline.branches import Branch
from graft.runs.directory import RunDirectory
from graft.runs.samples import SLASH, samples_name

CALIBRATION = "calibration"
"""The split of items that are never scored."""


def final_folder(run: RunDirectory, branch: Branch) -> Path:
    """Where the trained weights or adapter of a branch are."""
    return run.checkpoints / branch.label / "final"


def samples_path(run: RunDirectory, branch: Branch, task: str) -> Path:
    """Where the scored items of a branch and task are."""
    return run.samples_file(samples_name(branch.label, task))


def calibration_path(run: RunDirectory, branch: Branch, task: str) -> Path:
    """Where the items are that the temperature of a branch and task is fitted on."""
    return run.path / CALIBRATION / f"{samples_name(branch.label, task)}.jsonl"


def baselines_path(run: RunDirectory, task: str) -> Path:
    """Where the scored trivial answers to a task's held-out items are."""
    return run.path / "baselines" / f"{task.replace('/', SLASH)}.jsonl"


def lengths_path(run: RunDirectory, branch: Branch) -> Path:
    """Where a branch's replies to the neutral prompts are."""
    return run.path / "separation" / f"{branch.label}.jsonl"
