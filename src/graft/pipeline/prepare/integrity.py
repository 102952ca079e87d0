"""Which stages are still to be run, and which have to be run again because their files are not what they wrote."""

from __future__ import annotations

import logging

from graft.pipeline.progress import Progress
from graft.runs.directory import RunDirectory
from graft.runs.manifest import sentences

LOG = logging.getLogger(__name__)

_SEEN_WHEN_READ = ("train-",)
"""Stages whose files are large and are compared when they are loaded, if they are."""


def is_due(run: RunDirectory, stage: str, progress: Progress, *, repair: bool) -> bool:
    """Whether a stage is to be run now.

    Args:
        run: the run.
        stage: the stage.
        progress: what is told of damage that is repaired.
        repair: run what was finished and is damaged, and nothing else; otherwise what was never finished.

    Raises:
        RunError: it was finished and is damaged, and nothing is repaired; the message names the file.
    """
    if not run.is_done(stage):
        return not repair
    if stage.startswith(_SEEN_WHEN_READ) and not repair:
        return False
    found = run.damage(stage)
    if not repair:
        run.require_sound(found)
    for sentence in sentences(found):
        progress.warn(f"{sentence}; stage {stage} runs again")
    return bool(found)


def warn_unlisted(run: RunDirectory) -> None:
    """Say of a run of before there were manifests that nothing can be said of its files."""
    if any(not run.is_listed(stage) for stage in run.finished()):
        LOG.warning("%s carries no hashes of (all) its files, so damage to them cannot be seen", run.name)
