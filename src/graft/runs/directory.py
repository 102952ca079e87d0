"""A run is one directory: its well-known places, its state, its lock and the markers of its stages.

    2026-11-20_14h32m_sprout_spelling_sft_bs16_lora-r16_steps300/
    ├── recipe.yaml          the resolved recipe
    ├── provenance.json      versions, git state, hardware, seeds, hashes
    ├── run.json             the state
    ├── run.lock             held by the process that works on the run
    ├── stages/train.done    commit marker of a finished stage, with its outputs
    ├── metrics.jsonl        every logged number          ├── tensorboard/  the same as events
    ├── samples/*.jsonl      every scored item            ├── logs/training.log
    ├── checkpoints/         complete ones hold COMPLETE  ├── figures/
    └── summary.json, verdict.json, report.html

The state on disk can outlive its process, the lock cannot: a run counts as running only while the lock is held.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import socket
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from graft.errors import RunError, StorageError, close_match, shortened
from graft.runs.files import read_json, remove_leftovers, write_json
from graft.runs.interrupts import Terminated
from graft.runs.lock import is_locked, locked
from graft.runs.manifest import Damage, sentences
from graft.runs.markers import Leaves, amend_marker, is_listed, marker_damage, read_marker, write_marker
from graft.runs.redaction import redacted
from graft.runs.space import memory_errors, storage_errors
from graft.runs.state import RunState, Status, now, valid_name

_WELL = (Status.COMPLETE, "")
NOTHING = Leaves()


def looks_like_run(path: Path) -> bool:
    """Whether a folder was made by `RunDirectory.create`, damaged or not."""
    try:
        return path.is_dir() and ((path / "run.lock").is_file() or (path / "run.json").is_file())
    except (OSError, ValueError):  # no right to look, or no possible path
        return False


class RunDirectory:
    """One run's directory.

    Attributes:
        path: the directory.
        name: its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._holding = False
        self._noted: BaseException | None = None
        self._outcome = _WELL

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @classmethod
    def create(cls, root: Path, name: str) -> RunDirectory:
        """Make a new run directory that no other process shares.

        Args:
            root: the folder of all runs; made if needed.
            name: the wanted name; ``_2``, ``_3`` … is appended when it is taken.

        Raises:
            ConfigError: the name cannot be a folder name.
            StorageError: root cannot be written.
        """
        name, root = valid_name(name), root.absolute()
        with storage_errors(root / name):
            root.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = root / (name if number == 1 else f"{name}_{number}")
            try:
                with storage_errors(path):
                    path.mkdir()
            except StorageError as error:
                if error.errno != errno.EEXIST:
                    raise
            else:
                break
        run = cls(path)
        try:
            with storage_errors(run.lock_file):
                run.lock_file.touch()
            run._write_state(RunState(created=now()))
        except BaseException:
            for leftover in (run.lock_file, run.state_file):
                with suppress(OSError):
                    leftover.unlink(missing_ok=True)
            with suppress(OSError):
                path.rmdir()
            raise
        return run

    @classmethod
    def open(cls, path_or_name: str | Path, root: Path) -> RunDirectory:
        """Open a run by its name below root, by the beginning of a name that no other has, or by its path.

        Raises:
            RunError: there is no such run; the message names the nearest one.
        """
        wanted = str(path_or_name)
        places = [root / wanted, root / unicodedata.normalize("NFC", wanted), Path(wanted)] if wanted else []
        for place in places:
            if looks_like_run(place):
                return cls(Path(os.path.normpath(place.absolute())))
        if "/" in wanted and os.path.isdir(wanted):  # noqa: PTH112 - False, not an error, for an impossible path
            raise RunError(f"{wanted} is not a run directory: it has no run.json. Name a run below {root}.")
        known = run_names(root)
        if not known:
            raise RunError(f"No run {wanted!r}: there are no runs in {root} yet. Start one with 'graft run RECIPE'.")
        begun = [name for name in known if wanted and name.startswith(wanted)]
        if len(begun) == 1:
            return cls((root / begun[0]).absolute())
        if begun:
            raise RunError(
                f"No run {wanted!r} in {root}, but {len(begun)} begin so: {', '.join(begun[:3])}; write more."
            )
        near = close_match(Path(wanted).name, known, cutoff=0.0)
        hint = f" Did you mean {near!r}?" if near else ""
        raise RunError(f"No run {wanted!r} in {root}.{hint} 'graft runs' lists all {len(known)}.")

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, git state, hardware, seeds and hashes."""
        return self.path / "provenance.json"

    @property
    def state_file(self) -> Path:
        """The stored `RunState`."""
        return self.path / "run.json"

    @property
    def lock_file(self) -> Path:
        """The file whose lock says that a process works on the run."""
        return self.path / "run.lock"

    @property
    def metrics(self) -> Path:
        """Every logged number."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Folder of the scored items."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """The log of all stages."""
        return self.path / "logs" / "training.log"

    @property
    def tensorboard(self) -> Path:
        """Folder of the TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def stages(self) -> Path:
        """Folder of the commit markers."""
        return self.path / "stages"

    @property
    def summary(self) -> Path:
        """What `graft.runs.listing` shows of the run."""
        return self.path / "summary.json"

    @property
    def verdict(self) -> Path:
        """The verdict as data."""
        return self.path / "verdict.json"

    @property
    def report(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    def samples_file(self, name: str) -> Path:
        """The file of one set of scored items."""
        return self.samples / f"{valid_name(name)}.jsonl"

    @property
    def state(self) -> RunState:
        """The state as stored.

        Raises:
            RunError: run.json is missing or damaged.
        """
        try:
            return RunState.from_stored(read_json(self.state_file))
        except ValueError as error:
            raise RunError(f"{self.state_file} is damaged: it must hold the state of a run, but {error}.") from error

    @property
    def live_state(self) -> RunState:
        """The state with status ``crashed`` where it says ``running`` but no process holds the lock.

        Raises:
            RunError: run.json is missing or damaged.
        """
        state = self.state
        while state.status is Status.RUNNING and not self.is_held():
            # A process that ends in order stores its end before it frees the lock: read once more.
            again = self.state
            if again == state:
                return replace(state, status=Status.CRASHED)
            state = again
        return state

    @property
    def status(self) -> Status:
        """The status of `live_state`.

        Raises:
            RunError: run.json is missing or damaged.
        """
        return self.live_state.status

    def is_held(self) -> bool:
        """Whether a living process, this one included, holds the run."""
        return is_locked(self.lock_file)

    @contextmanager
    def hold(self) -> Iterator[RunDirectory]:
        """Hold the run for as long as the block runs; the system frees it however the process ends.

        The state becomes ``running``, then ``complete``, ``failed`` or ``interrupted``. A stage whose failure is caught
        inside the block still makes the run ``failed`` unless a later stage follows. Within one object the call may be
        nested; the outermost block counts.

        Raises:
            RunError: another process holds the run, or it was deleted.
            StorageError: the directory cannot be written.
        """
        if self._holding:
            yield self
            return
        with locked(self.lock_file):
            self._holding, self._noted, self._outcome = True, None, _WELL
            began = time.monotonic()
            try:
                before = self._begin()
                try:
                    yield self
                except BaseException as error:
                    self._note(error)
                    with suppress(RunError):  # the error matters more than a disk too full to write it down
                        self._end(before.seconds + time.monotonic() - began)
                    raise
                self._end(before.seconds + time.monotonic() - began)
            finally:
                self._holding = False

    @contextmanager
    def stage(self, name: str, leaves: Leaves = NOTHING) -> Iterator[dict[str, Any]]:
        """Run one stage; its commit marker is written when the block ends well.

        An older marker of the stage is removed first, so a stage that is run again and fails is not done. The run is
        held for the length of the block unless it is held already.

        Args:
            name: the stage.
            leaves: its files, whose hashes are stored in the marker.

        Yields:
            A dictionary for what the stage leaves to others; it is stored in the marker.

        Raises:
            RunError: another process holds the run.
            StorageError: the directory cannot be written.
        """
        marker = self._marker(name)
        with self.hold():
            with storage_errors(marker):
                marker.unlink(missing_ok=True)
            self._outcome = _WELL
            self._write_state(replace(self._stored_or_new(), stage=name, status=Status.RUNNING, message=""))
            started, began = now(), time.monotonic()
            outputs: dict[str, Any] = {}
            try:
                with memory_errors():
                    yield outputs
                seconds = round(time.monotonic() - began, 3)
                times = {"started": started, "finished": now(), "seconds": seconds}
                write_marker(marker, self.path, {"stage": name, **times, "outputs": outputs}, leaves)
            except BaseException as error:
                self._note(error, f"stage {name}: ")
                raise

    def is_done(self, name: str) -> bool:
        """Whether a stage ended well."""
        return self._marker(name).is_file()

    def outputs(self, name: str) -> dict[str, Any]:
        """What a finished stage left in its marker.

        Raises:
            RunError: the stage has not ended well, or its marker is damaged.
        """
        return dict(read_marker(self._marker(name))["outputs"])

    def finished(self) -> list[str]:
        """The stages that ended well, by name."""
        return sorted(path.stem for path in self.stages.glob("*.done"))

    def damage(self, name: str, only: Path | None = None) -> Damage:
        """What is wrong with the files of a finished stage; nothing with those of one that is not finished.

        A stage of before there were manifests has nothing to be compared with, and so nothing wrong.

        Args:
            name: the stage.
            only: look at this file alone.
        """
        if not self.is_done(name):
            return {}
        return marker_damage(self._marker(name), self.path, only)

    def require_sound(self, found: Damage) -> None:
        """Refuse to go on from files that are not what was written.

        Args:
            found: what is wrong, as `damage` says it.

        Raises:
            RunError: there is something.
        """
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise RunError(
                f"{sentences(found)[0]}{more}. Restore it from a copy, or let the stage that wrote it run again: "
                f"graft runs verify {self.name} --repair"
            )

    def is_listed(self, name: str) -> bool:
        """Whether the hashes of a finished stage's files were stored; a damaged marker is told of by `damage`."""
        try:
            return is_listed(self._marker(name))
        except RunError:
            return True

    def amend(self, name: str, path: Path) -> None:
        """Take over a file of a finished stage that was written anew on purpose.

        Raises:
            RunError: the stage's marker is damaged.
        """
        amend_marker(self._marker(name), self.path, path)

    def _marker(self, name: str) -> Path:
        return self.stages / f"{valid_name(name)}.done"

    def _write_state(self, state: RunState) -> None:
        write_json(self.state_file, asdict(state))

    def _stored_or_new(self) -> RunState:
        """The stored state; a fresh one when run.json is damaged, so that the run can be worked on again."""
        try:
            return self.state
        except RunError:
            return RunState(created=now())

    def _begin(self) -> RunState:
        """Store that this process works on the run; return the state before."""
        before = self._stored_or_new()
        remove_leftovers(self.path)
        self._write_state(
            RunState(
                status=Status.RUNNING,
                stage=before.stage,
                created=before.created,
                started=now(),
                pid=os.getpid(),
                host=socket.gethostname(),
                seconds=before.seconds,
            )
        )
        return before

    def _note(self, error: BaseException, where: str = "") -> None:
        """Remember why the run stopped; an error that a stage has noted already keeps the stage's words."""
        if error is self._noted:
            return
        self._noted = error
        if isinstance(error, Terminated):
            status, message = Status.INTERRUPTED, f"stopped by {signal.Signals(error.number).name}"
        elif isinstance(error, KeyboardInterrupt):
            status, message = Status.INTERRUPTED, "stopped by Ctrl-C"
        elif isinstance(error, SystemExit):
            status, message = Status.INTERRUPTED, f"the process exited with code {error.code}"
        else:
            status, message = Status.FAILED, f"{type(error).__name__}: {error}"
        self._outcome = (status, shortened(redacted(where + message)))

    def _end(self, seconds: float) -> None:
        """Store how the work of this process ended."""
        status, message = self._outcome
        state = replace(self._stored_or_new(), status=status, message=message)
        self._write_state(replace(state, finished=now(), seconds=round(seconds, 3)))


def run_names(root: Path) -> list[str]:
    """The names of the runs below a folder, damaged ones included, in order.

    Raises:
        RunError: root is there but is not a folder that can be read.
    """
    try:
        names = sorted(entry.name for entry in root.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{root} cannot be read as a folder of runs: {error.strerror}.") from error
    return [name for name in names if not name.startswith(".") and looks_like_run(root / name)]
