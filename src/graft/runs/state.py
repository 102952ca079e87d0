"""What is stored of a run's progress, and which names a run may have."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum

from graft import __version__
from graft.errors import ConfigError

_MAX_NAME_BYTES = 240
_LONGEST_SECONDS = 1e10


class Status(StrEnum):
    """How far a run is. ``crashed`` and ``damaged`` are found by readers, never stored."""

    CREATED = "created"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class RunState:
    """What run.json holds. Times are ISO 8601 with the offset from UTC, empty when they do not apply.

    Attributes:
        status: as the last process left it; `RunDirectory.status` says whether that process still lives.
        stage: the stage that runs or ran last.
        created: when the directory was made.
        started: when the last process began to work on it.
        finished: when that process ended, whether well or not.
        pid: its process id, 0 before the first.
        host: its machine.
        message: why the run failed or was interrupted.
        version: version of Graft that wrote the state.
        seconds: working time of all processes that ended in order, without the pauses between them.
    """

    status: Status = Status.CREATED
    stage: str = ""
    created: str = ""
    started: str = ""
    finished: str = ""
    pid: int = 0
    host: str = ""
    message: str = ""
    version: str = __version__
    seconds: float = 0.0

    @classmethod
    def from_stored(cls, stored: object) -> RunState:
        """Rebuild the state from run.json; keys of other versions are left out.

        Raises:
            ValueError: it is not the state of a run.
        """
        if not isinstance(stored, dict) or "status" not in stored:
            raise ValueError("there is no 'status'")
        defaults, values = cls(), {}
        for field in fields(cls):
            if field.name in stored:
                try:
                    values[field.name] = type(getattr(defaults, field.name))(stored[field.name])
                except (TypeError, ValueError, OverflowError) as error:
                    raise ValueError(f"{field.name!r} is {stored[field.name]!r:.60}") from error
        if not 0 <= values.get("seconds", 0.0) < _LONGEST_SECONDS:
            raise ValueError(f"'seconds' is {values['seconds']!r}")
        return cls(**values)


def now() -> str:
    """The present moment as ISO 8601 with milliseconds and the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def valid_name(name: str) -> str:
    """Check and normalise the name of a run, a stage or a file of samples.

    Returns:
        The name in Unicode normal form C.

    Raises:
        ConfigError: it is empty, too long, starts with a dot, or holds a slash or a control character.
    """
    normal = unicodedata.normalize("NFC", name)
    size = len(normal.encode("utf-8", errors="surrogatepass"))
    if not normal.strip() or normal.startswith(".") or "/" in normal or "\\" in normal:
        rule = "must be one folder or file name that does not start with a dot"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in normal):
        rule = "must hold no control characters"
    elif size > _MAX_NAME_BYTES:
        rule = f"must be at most {_MAX_NAME_BYTES} bytes long"
    else:
        return normal
    raise ConfigError(f"The name {normal[:80]!r} ({size} bytes) {rule}. Choose another name.")
