"""Run directories: what a run leaves behind, written so that a crash loses nothing that was written."""

from graft.runs.directory import RunDirectory
from graft.runs.state import RunState, Status

__all__ = ["RunDirectory", "RunState", "Status"]
