"""What runs there are: list, filter, sort and delete them.

Nothing in a folder of runs can stop a listing: foreign folders are left out, damaged runs are shown as such.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from graft.errors import ConfigError, RunError, choices
from graft.runs.directory import RunDirectory, looks_like_run, run_names
from graft.runs.files import read_json
from graft.runs.lock import locked
from graft.runs.space import storage_errors
from graft.runs.state import RunState, Status

_DELETING = ".deleting-"
_EXPRESSION = re.compile(r"\s*([^=~<>!\s]+)\s*(>=|<=|!=|=|~|>|<)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the listing. Texts are empty and numbers NaN where nothing is known.

    Attributes:
        name: name of the directory.
        path: its place.
        status: with ``crashed`` for a run whose process is gone and ``damaged`` for one that cannot be read.
        created: ISO 8601 with the offset from UTC.
        stage: the stage that runs or ran last.
        model: what was trained.
        task: on what.
        mode: how.
        headline: the result in a few words.
        metrics: headline numbers by name.
        size_bytes: of all files together.
        duration_seconds: working time without pauses.
        message: why it failed, was interrupted or is damaged.
    """

    name: str
    path: Path
    status: Status
    created: str = ""
    stage: str = ""
    model: str = ""
    task: str = ""
    mode: str = ""
    headline: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    duration_seconds: float = math.nan
    message: str = ""


_FIELDS = tuple(item.name for item in fields(RunSummary) if item.name not in ("path", "metrics"))


def list_runs(root: Path) -> list[RunSummary]:
    """All runs below a folder, the newest first; none when the folder does not exist.

    Raises:
        RunError: root is not a folder that can be read.
    """
    runs = [_summarise(root / name) for name in run_names(root)]
    # A run that was deleted meanwhile reads as damaged, but is simply gone.
    return sort_runs([run for run in runs if run.status is not Status.DAMAGED or looks_like_run(run.path)], "-created")


def filter_runs(runs: Sequence[RunSummary], expressions: Iterable[str]) -> list[RunSummary]:
    """The runs that meet every expression.

    Args:
        runs: a listing.
        expressions: ``key=value``, ``key!=value``, ``key~part`` (capitals do not matter), and ``>``, ``>=``, ``<``,
            ``<=`` with a number; the key is a field of `RunSummary` or the name of a metric. A run without the metric
            never matches.

    Raises:
        ConfigError: an expression has another form, an unknown key, or text where a number is needed.
    """
    matches = [_matcher(runs, expression) for expression in expressions]
    return [run for run in runs if all(match(run) for match in matches)]


def sort_runs(runs: Sequence[RunSummary], key: str) -> list[RunSummary]:
    """Runs in the order of a key; those where it is unknown come last.

    Args:
        runs: a listing.
        key: a field of `RunSummary` or the name of a metric; ``-key`` for the largest first.

    Raises:
        ConfigError: the key is unknown.
    """
    descending = key.startswith("-")
    name = _known_key(runs, key.removeprefix("-"))
    known = [run for run in runs if not _is_unknown(_value(run, name))]
    unknown = [run for run in runs if _is_unknown(_value(run, name))]
    moment = name == "created"
    return [*sorted(known, key=lambda run: _order(_value(run, name), moment), reverse=descending), *unknown]


def delete_run(root: Path, name: str) -> None:
    """Delete one run for good.

    The directory is renamed first, while its lock is held, so that a half-deleted run is never listed; what an
    interrupted deletion left is cleared away on the next one.

    Args:
        root: the folder of all runs.
        name: name of a directory in it, not a path.

    Raises:
        RunError: there is no such run, it is in use, or the name leads elsewhere.
        StorageError: it cannot be deleted.
    """
    if not name or name.startswith(".") or "\0" in name or Path(name).name != name:
        raise RunError(f"{name!r} is not the name of a run in {root}: give the folder's name alone.")
    path = root / name
    if not os.path.lexists(path):
        path = root / unicodedata.normalize("NFC", name)
    if path.is_symlink():
        raise RunError(f"{path} is a link, not a run directory: remove the link yourself.")
    if not os.path.lexists(path):
        raise RunError(f"No run {name!r} in {root}. 'graft runs' lists those that there are.")
    if not _is_ours(path):
        raise RunError(f"{path} is not a run directory, so it is not deleted: it has no state and no lock of a run.")
    doomed = root / f"{_DELETING}{uuid.uuid4().hex}"
    with locked(path / "run.lock"), storage_errors(path):
        path.rename(doomed)
    for leftover in root.glob(f"{_DELETING}*"):
        if leftover != doomed:
            shutil.rmtree(leftover, ignore_errors=True)
    with storage_errors(path, temporary=doomed):
        shutil.rmtree(doomed)


def _is_ours(path: Path) -> bool:
    if (path / "run.lock").is_file():
        return True
    try:
        return looks_like_run(path) and bool(RunDirectory(path).state.created)
    except RunError:
        return False


def _summarise(path: Path) -> RunSummary:
    run = RunDirectory(path)
    try:
        state = run.live_state
    except RunError as error:
        return RunSummary(run.name, path, Status.DAMAGED, size_bytes=_size(path), message=str(error))
    status = state.status
    known: dict[str, Any] = {
        "created": state.created,
        "stage": state.stage,
        "size_bytes": _size(path),
        "duration_seconds": _duration(run, state),
        "message": state.message,
    }
    try:
        known |= _headline(run.summary)
    except RunError as error:
        status, known["message"] = Status.DAMAGED, str(error)
    return RunSummary(run.name, path, status, **known)


def _headline(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    stored = read_json(path)
    metrics = stored.get("metrics") or {} if isinstance(stored, dict) else None
    if not isinstance(metrics, dict):
        raise RunError(f"{path} is damaged: it must hold an object with 'metrics'. Write the report again.")
    texts = {name: str(stored.get(name) or "") for name in ("model", "task", "mode", "headline")}
    try:
        numbers = {str(name): math.nan if value is None else float(value) for name, value in metrics.items()}
        if infinite := next((name for name, value in numbers.items() if math.isinf(value)), None):
            raise ValueError(f"{infinite} is infinite")
    except (TypeError, ValueError, OverflowError) as error:
        raise RunError(f"{path} is damaged: every metric must be a number, but {error}.") from error
    return {**texts, "metrics": numbers}


def _duration(run: RunDirectory, state: RunState) -> float:
    """Working time in seconds; a running or crashed process counts up to its last sign of life."""
    if state.status is Status.CREATED:
        return math.nan
    if state.status not in (Status.RUNNING, Status.CRASHED):
        return state.seconds
    try:
        began = datetime.fromisoformat(state.started).timestamp()
    except (ValueError, OverflowError):
        return math.nan
    if state.status is Status.RUNNING:
        last = time.time()
    else:
        last = max(_modified(sign) for sign in (run.state_file, run.metrics, run.log))
    return round(state.seconds + max(0.0, last - began), 3)


def _modified(path: Path) -> float:
    """When a file was written last, in seconds since the epoch; 0 when it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile do not count."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - thousands of them
            except OSError:
                continue
    return total


def _known_key(runs: Sequence[RunSummary], key: str) -> str:
    """The key itself, or its long form (``size``, ``duration``)."""
    key = {"size": "size_bytes", "duration": "duration_seconds"}.get(key, key)
    known = {*_FIELDS, *(name for run in runs for name in run.metrics)}
    if runs and key not in known:
        raise ConfigError(f"Runs have no key {key!r}. {choices(key, known)}")
    return key


def _value(run: RunSummary, key: str) -> str | float:
    value = getattr(run, key) if key in _FIELDS else run.metrics.get(key, math.nan)
    return value if isinstance(value, str | float | int) else str(value)


def _is_unknown(value: str | float) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))


def _order(value: str | float, moment: bool) -> Any:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp() if moment else value.casefold()
        except (ValueError, OverflowError):
            return 0.0
    return value


def _matcher(runs: Sequence[RunSummary], expression: str) -> Callable[[RunSummary], bool]:
    found = _EXPRESSION.fullmatch(expression)
    if found is None:
        raise ConfigError(
            f"The filter {expression!r} must be key=value, key!=value, key~part or key>number (also >=, <, <=)."
        )
    key, operator, wanted = _known_key(runs, found[1]), found[2], found[3]
    number = _as_number(wanted)
    if operator in ("=", "!=", "~"):
        return lambda run: _fits(_value(run, key), operator, wanted, number)
    if number is None or any(isinstance(_value(run, key), str) for run in runs):
        raise ConfigError(f"The filter {expression!r} compares numbers, but {key!r} or {wanted!r} is text: use = or ~.")
    return lambda run: _compares(float(_value(run, key)), operator, number)


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _fits(value: str | float, operator: str, wanted: str, number: float | None) -> bool:
    """Compare by words. A number that is not known meets nothing, an empty text is a text."""
    if not isinstance(value, str) and math.isnan(value):
        return False
    text, part = str(value).casefold(), wanted.casefold()
    if operator == "~":
        return part in text
    equal = text == part if isinstance(value, str) else value == number
    return equal is (operator == "=")


def _compares(value: float, operator: str, number: float) -> bool:
    """Compare two numbers; NaN meets nothing."""
    return {">": value > number, ">=": value >= number, "<": value < number, "<=": value <= number}[operator]
