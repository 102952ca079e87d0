"""What processes that train together tell each other: JSON, signed with a key that only they can know.

The store at which they meet takes whatever is written to its port. Nothing read there is trusted before its signature
is checked, and nothing read is ever unpickled. The key is made of a secret and of numbers that every process draws, so
that an order of an earlier launch counts for nothing. A launcher hands a secret of its own over (`GRAFT_SECRET`); else
it is a file in the cache folder that the user alone can read, the same on all machines that share it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from graft.errors import ConfigError, TrainError
from graft.runs.cache import cache_folder
from graft.runs.space import storage_errors

SECRET = "GRAFT_SECRET"
"""Environment variable: what the processes of a launch know and nobody else does."""

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 20.0
_MEETING = timedelta(minutes=2)
_SIGNATURE_CHARACTERS = 64


def shared_secret() -> bytes:
    """The secret of this launch, or of this user where whoever started the processes gave none.

    Raises:
        ConfigError: the user's file can be read by others.
        StorageError: it cannot be written.
    """
    if given := os.environ.get(SECRET):
        return given.encode()
    path = cache_folder() / "secret"
    with storage_errors(path):
        if not path.exists():
            _draw(path)
        found = path.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise ConfigError(f"{path} must be readable by you alone, but others may read it; delete it")
        return path.read_bytes()


def _draw(path: Path) -> None:
    """Write a new secret; of several processes that do so at once the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f".tmp-{secrets.token_hex(8)}")
    try:
        own.touch(0o600, exist_ok=False)
        own.write_text(secrets.token_hex(32), encoding="ascii")
        with suppress(FileExistsError):
            os.link(own, path)
    finally:
        own.unlink(missing_ok=True)


class Board:
    """Signed messages in the store that all processes reach, read without ever blocking in it.

    Attributes:
        reported: the error that this process told the others.
        ended: set when this process is done with the store.
    """

    def __init__(self, store: Any, rank: int, count: int) -> None:
        """Meet the others.

        Args:
            store: a client of the store.
            rank: number of this process.
            count: number of processes.

        Raises:
            ConfigError: another process has another secret.
        """
        self._store, self._rank, self._count = store, rank, count
        self._told = 0
        self.reported: Exception | None = None
        self.ended = threading.Event()
        self._key = self._agreed_key(shared_secret())
        self.post(f"hello/{rank}", rank)
        for other in range(count):
            self._store.wait([f"graft/hello/{other}"], _MEETING)
            if self._signed(f"hello/{other}") is None:
                raise ConfigError(
                    f"process {other} does not know the secret of process {rank}; give all machines the same "
                    f"{SECRET} in the environment, such as that of: openssl rand -hex 32"
                )

    def _agreed_key(self, secret: bytes) -> bytes:
        """A key for this launch alone: what this process drew is in it, so nothing older can be signed with it."""
        own = secrets.token_hex(16).encode()
        self._store.set(f"graft/drawn/{self._rank}", own)
        names = [f"graft/drawn/{other}" for other in range(self._count)]
        self._store.wait(names, _MEETING)
        drawn = [own if other == self._rank else bytes(self._store.get(name)) for other, name in enumerate(names)]
        return hmac.digest(secret, b"".join(hashlib.sha256(number).digest() for number in drawn), "sha256")

    def _signature(self, key: str, message: bytes) -> bytes:
        return hmac.digest(self._key, key.encode() + b"\0" + message, "sha256").hex().encode()

    def _signed(self, key: str) -> bytes | None:
        """What is posted under a key, as JSON; ``None`` where it is not of this launch."""
        posted = bytes(self._store.get(f"graft/{key}"))
        signature, message = posted[:_SIGNATURE_CHARACTERS], posted[_SIGNATURE_CHARACTERS:]
        return message if hmac.compare_digest(signature, self._signature(key, message)) else None

    def post(self, key: str, value: Any) -> None:
        """Let the others read a JSON value."""
        message = json.dumps(value).encode()
        self._store.set(f"graft/{key}", self._signature(key, message) + message)

    def read(self, key: str) -> Any:
        """Wait for a value as long as it takes; the watching thread ends the process when the store goes away.

        Raises:
            TrainError: somebody else wrote it.
        """
        while not self._store.check([f"graft/{key}"]):
            time.sleep(_POLL_SECONDS)
        message = self._signed(key)
        if message is None:
            raise TrainError(
                f"process {self._rank} read a message ({key}) that none of the processes wrote: somebody else reaches "
                "the port at which they meet. Nothing of it was used; close the port to others, then go on with "
                "--resume latest"
            )
        return json.loads(message)

    def tell(self, order: Any) -> None:
        """Give the next order, a JSON value."""
        self.post(f"order/{self._told}", order)
        self._told += 1

    def hear(self, number: int) -> Any:
        """Wait for an order."""
        return self.read(f"order/{number}")

    def fail(self, message: str) -> bool:
        """Say that this process failed; whether it is the first to say so."""
        if self._store.add("graft/failed", 1) > 1 and self.wait_for_failure(2.0):
            return False
        self.post("failure", message)
        return True

    def failure(self) -> str:
        """Why the first process that failed did so."""
        return str(self.read("failure"))

    def has_failed(self) -> bool:
        """Whether a process said that it failed; what others write there ends nobody."""
        return bool(self._store.check(["graft/failure"])) and self._signed("failure") is not None

    def wait_for_failure(self, seconds: float) -> bool:
        """Wait a while for the reason of a failure; whether there is one."""
        until = time.monotonic() + seconds
        while not (found := self.has_failed()) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        return found

    def leave(self) -> None:
        """Say that this process is done with the store; the first one, which may hold it, waits for the others."""
        self.ended.set()
        gone, until = self._store.add("graft/gone", 1), time.monotonic() + _GRACE_SECONDS
        while self._rank == 0 and gone < self._count and not self.has_failed() and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
            gone = self._store.add("graft/gone", 0)
