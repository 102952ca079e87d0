"""What a long job tells while it works. The pipeline speaks to this protocol; the command line listens."""

from __future__ import annotations

from typing import Protocol


class TaskHandle(Protocol):
    """One countable piece of work that is under way."""

    def advance(self, count: int = 1, **facts: float | int | str) -> None:
        """Count finished units.

        Args:
            count: units finished since the last call; 0 only renews the facts.
            **facts: what to show beside, such as `loss=1.25`; a fact stays until it is renewed.
        """

    def finish(self) -> None:
        """Say that it is done; further calls do nothing."""


class Progress(Protocol):
    """Whoever is told about stages and tasks."""

    def stage(self, title: str) -> None:
        """A new part of the run begins."""

    def task(self, description: str, total: int | None = None) -> TaskHandle:
        """Countable work begins.

        Args:
            description: what is done, such as `train trained-0`.
            total: number of units, or `None` when it is not known.
        """

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def warn(self, text: str) -> None:
        """Something that may spoil the result, though the run goes on."""


class SilentProgress:
    """Tells nothing to anybody."""

    def stage(self, title: str) -> None:
        """Ignore it."""

    def task(self, description: str, total: int | None = None) -> TaskHandle:
        """Hand out a handle that ignores everything."""
        return _SilentTask()

    def note(self, text: str) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""


class _SilentTask:
    def advance(self, count: int = 1, **facts: float | int | str) -> None:
        """Ignore it."""

    def finish(self) -> None:
        """Ignore it."""
