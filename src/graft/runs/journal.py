"""Replies as they arrive, one line each, so that a failure late in a stage costs the replies under way and no others.

A journal lives as long as its stage is unfinished. A reply is found again by what was asked: the prompt, its place
among the others (a drawn reply depends on it), the sampling and the weights. A line that is torn or damaged is a reply
that was never written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from graft.errors import StorageError
from graft.runs.encoding import to_json
from graft.runs.files import append_line
from graft.types import Completion, Prompt, Sampling, Usage


class Journal:
    """The replies of one unfinished stage.

    Args:
        path: the file; made with the first reply.
        basis: what the replies stand on beside the prompts, such as the hash of the weights.
    """

    def __init__(self, path: Path, basis: str = "") -> None:
        self.path = path
        self._basis = basis
        self._known = dict(_read(path))

    def find(self, prompt: Prompt, place: int, sampling: Sampling) -> Completion | None:
        """The reply to a prompt, where it was written before.

        Args:
            prompt: what is asked.
            place: its index among the prompts of the call.
            sampling: how tokens are chosen.
        """
        stored = self._known.get(self._key(prompt, place, sampling))
        if stored is None:
            return None
        usage = stored["usage"]
        return Completion(
            stored["text"], tuple(stored["ids"]), stored["finished"], None if usage is None else Usage(*usage)
        )

    def keep(self, prompt: Prompt, place: int, sampling: Sampling, reply: Completion) -> None:
        """Write a reply down; may be called from several threads.

        Raises:
            StorageError: no rights or no space.
        """
        usage = reply.usage and [reply.usage.prompt_tokens, reply.usage.completion_tokens]
        record = {"text": reply.text, "ids": list(reply.token_ids), "finished": reply.finished, "usage": usage}
        line = {"key": self._key(prompt, place, sampling), "reply": record}
        append_line(self.path, to_json({**line, "check": _check(line)}))

    def _key(self, prompt: Prompt, place: int, sampling: Sampling) -> str:
        asked = [self._basis, place, prompt.ids or [asdict(message) for message in prompt.messages], asdict(sampling)]
        return sha256(to_json(asked).encode()).hexdigest()[:32]


@contextmanager
def journal_of(path: Path, basis: str = "") -> Iterator[Journal]:
    """The journal of a stage; it is deleted when the block ends well, and kept for the next try when it does not."""
    journal = Journal(path, basis)
    yield journal
    with suppress(OSError, StorageError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def _check(line: dict[str, Any]) -> str:
    return sha256(to_json(line).encode()).hexdigest()[:16]


def _read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sound lines of a journal; none when there is no file."""
    with suppress(OSError), path.open("rb") as file:
        for text in file:
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                line = json.loads(text)
                if line.pop("check") == _check(line):
                    yield line["key"], line["reply"]
