"""Logged numbers, as JSON Lines for programs and as TensorBoard events for people.

The events are written with TensorBoard's own protocol buffers and record format, without torch, TensorFlow or a
background thread: what was logged is on its way to the disk when the call returns.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from graft.errors import StorageError
from graft.runs.encoding import to_json
from graft.runs.files import append_line, read_jsonl
from graft.runs.redaction import redacted
from graft.runs.space import storage_errors

_LABELS = frozenset({"arm", "seed", "split", "stage", "task"})
_RESERVED = frozenset({"time", "step"})
_TAIL_BYTES = 65_536

Value = float | int | str


class MetricsLog:
    """Appends to metrics.jsonl and, if asked, to TensorBoard.

    A line holds ``step``, ``time`` (seconds since the log began, going on where an earlier process stopped), the labels
    and the numbers. After a resume a step can occur twice; the later line counts.

    Args:
        path: the file.
        tensorboard: folder of the events; ``None`` for none.
    """

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self._path = path
        self._events = _Events(tensorboard) if tensorboard is not None else None
        self._labels: dict[str, Value] = {}
        self._began = time.monotonic() - _last_time(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StorageError:
            if error is None:  # otherwise the full disk has been told of already
                raise

    def labelled(self, **labels: Value) -> MetricsLog:
        """A view of the same log that adds labels to every line."""
        view = object.__new__(MetricsLog)
        view._path, view._events, view._began = self._path, self._events, self._began
        view._labels = {**self._labels, **labels}
        return view

    def log(self, *, step: int, **values: Any) -> None:
        """Append one line.

        Args:
            step: optimizer step, from 0.
            **values: texts, and whatever is called arm, seed, split, stage or task, are labels; everything else is a
                number (a NumPy or torch scalar will do). Arm and seed choose the TensorBoard curve, the other labels
                stand before the number's name: ``eval/spelling/accuracy``.

        Raises:
            StorageError: no rights or no space.
            ValueError: a value is called ``time``, or is neither text nor a number.
        """
        labels: dict[str, Value] = dict(self._labels)
        numbers: dict[str, float] = {}
        for name, value in values.items():
            if name in _RESERVED:
                raise ValueError(f"a value must not be called {name!r}: the log writes that itself")
            if isinstance(value, str) or name in _LABELS:
                labels |= {} if value is None else {name: value}
            else:
                numbers[name] = _number(name, value)
        seconds = round(time.monotonic() - self._began, 3)
        append_line(self._path, to_json({"step": int(step), "time": seconds, **labels, **numbers}))
        if self._events is not None and numbers:
            prefix = "".join(f"{value}/" for name, value in labels.items() if name not in ("arm", "seed"))
            self._events.scalars(_curve(labels), int(step), {prefix + name: value for name, value in numbers.items()})

    def text(self, tag: str, markdown: str) -> None:
        """Show a text, such as the recipe, in TensorBoard; a second text under the same tag is left out."""
        if self._events is not None:
            self._events.text(_curve(self._labels), tag, markdown)

    def close(self) -> None:
        """Close the event files; safe to call twice, and logging again opens new ones."""
        if self._events is not None:
            self._events.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of metrics.jsonl; a number that was not finite comes back as NaN, a torn last line is left out.

    Raises:
        RunError: the file is missing or damaged.
    """
    return [
        {name: float("nan") if value is None else value for name, value in line.items()}
        for line in read_jsonl(path)
        if isinstance(line, dict)
    ]


def _number(name: str, value: Any) -> float | int:
    if isinstance(value, int):
        return int(value)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metric {name!r} must be a number, but got {value!r}") from error


def _curve(labels: Mapping[str, Value]) -> str:
    """Folder of a curve below tensorboard/: the arm, and the seed if there is one."""
    arm = str(labels.get("arm", "")) or "main"
    seed = f"_seed{labels['seed']}" if "seed" in labels else ""
    return re.sub(r"[/\\\x00-\x1f]|^\.+", "_", arm + seed)


def _last_time(path: Path) -> float:
    """Seconds on the last whole line of an earlier process, 0 when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return 0.0
    for line in reversed(lines):
        try:
            return float(json.loads(line)["time"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0.0


class _Events:
    """One TensorBoard event file per curve, opened when the curve gets its first value."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._texts: set[tuple[str, str]] = set()

    def scalars(self, curve: str, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(
            curve, step, Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        )

    def text(self, curve: str, tag: str, markdown: str) -> None:
        if (curve, tag) in self._texts:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.plugins.text.metadata import create_summary_metadata

        # 7 is DT_STRING in TensorBoard's types.proto.
        tensor = TensorProto(dtype=7, string_val=[redacted(markdown).encode("utf-8", errors="backslashreplace")])
        value = Summary.Value(tag=tag, metadata=create_summary_metadata(tag, ""), tensor=tensor)
        self._write(curve, 0, Summary(value=[value]))
        self._texts.add((curve, tag))

    def close(self) -> None:
        while self._files:
            curve, writer = self._files.popitem()
            with storage_errors(self._folder / curve):
                writer.close()

    def _write(self, curve: str, step: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        with storage_errors(self._folder / curve):
            writer = self._files.get(curve) or self._open(curve)
            writer.write(Event(wall_time=time.time(), step=step, summary=summary).SerializeToString())
            writer.flush()  # a killed process loses nothing, and a full disk shows at once

    def _open(self, curve: str) -> Any:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = self._folder / curve
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 1000:016d}.{socket.gethostname()}.{os.getpid()}"
        writer = RecordWriter((folder / name).open("xb"))
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        self._files[curve] = writer
        return writer
