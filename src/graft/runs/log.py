"""The log file of a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graft.runs.redaction import redacted
from graft.runs.space import storage_errors

_FORMAT = "%(asctime)s.%(msecs)03d%(zone)s %(levelname)-7s %(name)s: %(message)s"


class _Formatter(logging.Formatter):
    """Adds the offset from UTC to the time, and takes secrets out."""

    def format(self, record: logging.LogRecord) -> str:
        record.zone = self.formatTime(record, "%z")
        return redacted(super().format(record))


class _FileHandler(logging.FileHandler):
    """A full disk must not stop the work, nor print a traceback per line: what matters is written elsewhere too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def open_log(path: Path) -> Iterator[logging.Logger]:
    """Write what the package logs from level INFO on to a file, for the length of a block.

    The file is appended to, so a resumed run keeps its history. An exception that leaves the block is written with its
    traceback before it goes on.

    Args:
        path: the file; its folders are made as needed.

    Yields:
        The logger ``graft``; child loggers write to the file as well.

    Raises:
        StorageError: the file cannot be opened.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Formatter(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S"))
    handler.setLevel(logging.INFO)
    logger = logging.getLogger("graft")
    level = logger.level
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield logger
    except BaseException as error:
        # To the file alone: the command line tells the person at the screen in its own way.
        handler.handle(
            logger.makeRecord("graft", logging.ERROR, __file__, 0, "stopped by %r", (error,), sys.exc_info())
        )
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
