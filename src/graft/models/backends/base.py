"""The interface of everything that writes replies: a model in memory or a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from graft.runs.journal import Journal
from graft.types import Completion, Delta, Prompt, Sampling, Usage


def no_progress(count: int) -> None:
    """Tell nobody that ``count`` more prompts are finished."""


@runtime_checkable
class Backend(Protocol):
    """Writes replies to prompts."""

    @property
    def local(self) -> bool:
        """True when the model is in this process: prompts need ``ids``, completions carry ``token_ids``."""
        ...

    journal: Journal | None
    """Where replies are stored as they arrive, and found again after a failure; ``None`` for nowhere."""

    @property
    def usage(self) -> Usage:
        """Tokens read and written since the backend was made, by generations and streams together."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_done: Callable[[int], None] = no_progress
    ) -> list[Completion]:
        """Continue every prompt.

        Args:
            prompts: what is asked.
            sampling: how tokens are chosen, and the longest reply.
            on_done: called with the number of prompts just finished.

        Returns:
            One completion per prompt, in the order of the prompts.

        Raises:
            ModelError: the model or the server cannot answer.
        """
        ...

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta]:
        """Continue one prompt piece by piece; the last piece carries the whole completion.

        Raises:
            ModelError: the model or the server cannot answer.
        """
        ...

    def close(self) -> None:
        """Give back connections; the backend is not used afterwards. May be called twice."""
        ...
