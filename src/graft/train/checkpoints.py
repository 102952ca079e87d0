"""Checkpoints: what is in one, whether it is whole and fits the model, which are kept, and how much room they take.

    checkpoint-200/
    ├── graft.json            schema version, step, rows read, the model it belongs to, measurements, sizes of the files
    ├── trained.safetensors   every trained tensor by name, in its own type: the adapter, or all weights
    ├── optimizer.pt, scheduler.pt, rng_state.pth, trainer_state.json
    └── COMPLETE              written last: the hash of every file

A checkpoint is written beside its place, synced, marked and renamed, so a killed process or a full disk leaves the
earlier ones as they were. No file names a device: tensors are read to the CPU and copied to where the model is.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import RunError
from graft.runs.files import is_committed, read_json
from graft.runs.manifest import MARKER, folder_damage, sentences
from graft.runs.space import format_bytes, require_space
from graft.train.plan import Plan

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)

SCHEMA = 1
"""Version of the layout of a checkpoint; one of a higher version is refused."""

RECORD = "graft.json"
WEIGHTS = "trained.safetensors"
PREFIX = "checkpoint-"
_ASIDE = "set-aside-"
_NAME = re.compile(rf"{PREFIX}(\d+)")
_PICKLED = (".pt", ".pth")
_RECORDED = frozenset({"schema", "step", "rows_read", "loss", "model", "stopping", "files"})
_HOLDS = {
    "optimizer.pt": frozenset({"state", "param_groups"}),
    "scheduler.pt": frozenset({"last_epoch"}),
    "rng_state.pth": frozenset({"python", "numpy", "cpu"}),
}
_SMALL_FILES = 2**16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a model must have in common with the one a checkpoint was made of.

    Attributes:
        architecture: class of the model.
        vocabulary: rows of its input embeddings.
        hidden_size: width of its hidden states, 0 where the configuration does not say.
        layers: number of its layers, 0 where the configuration does not say.
        trained_parameters: numbers that are trained.
    """

    architecture: str
    vocabulary: int
    hidden_size: int
    layers: int
    trained_parameters: int


_WORDS = {
    "architecture": "architecture",
    "vocabulary": "vocabulary size",
    "hidden_size": "hidden size",
    "layers": "number of layers",
    "trained_parameters": "number of trained parameters",
}


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done at a checkpoint, read from its name; -1 when that is no checkpoint's name."""
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a training, damaged ones included, newest first."""
    return sorted((path for path in folder.glob(f"{PREFIX}*") if step_of(path) >= 0), key=step_of, reverse=True)


def problem(checkpoint: Path) -> str:
    """Why a checkpoint cannot be continued from, in words that follow its name; empty when it is sound.

    Looks at the marker, the record and the hash of every file, then at what torch will read: of a checkpoint that was
    written before there were hashes, that is all there is to look at.
    """
    if not is_committed(checkpoint):
        return f"was not written to its end (it has no {MARKER})"
    try:
        record = read_json(checkpoint / RECORD)
        if isinstance(record, dict) and isinstance(record.get("schema"), int) and record["schema"] > SCHEMA:
            return ""  # not damaged but newer: `require_fit` refuses it
        why = next(chain(sentences(folder_damage(checkpoint)), _wrong(checkpoint, record)), "")
    except (RunError, OSError) as error:
        why = str(error)
    return f"is damaged ({why.replace(f'{checkpoint}/', '')})" if why else ""


def _wrong(checkpoint: Path, record: object) -> Iterator[str]:
    """What in a checkpoint a training could not go on from, whatever its hashes say."""
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        yield f"{RECORD} must list the files"
        return
    lacking = sorted(_RECORDED - record.keys())
    if lacking:
        yield f"{RECORD} lacks {', '.join(lacking)}"
    if record.get("step") != step_of(checkpoint):
        yield f"{RECORD} says that it is of step {record.get('step')}"
    for name, size in record["files"].items():
        path = checkpoint / str(name)
        if not path.is_file():
            yield f"{name} is missing"
        elif path.stat().st_size != size:
            yield f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
        elif why := _unreadable(path):
            yield f"{name} cannot be read: {why}"


def newest_sound(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that can be continued from, and a sentence on each newer one that cannot."""
    damaged: list[str] = []
    for checkpoint in list_checkpoints(folder):
        why = problem(checkpoint)
        if not why:
            return checkpoint, [f"{text}; going on from {checkpoint.name} instead" for text in damaged]
        damaged.append(f"{checkpoint} {why}")
    return None, [f"{text}; no checkpoint is left, so this training begins anew" for text in damaged]


def stored_types(checkpoint: Path) -> set[str]:
    """The types of the trained tensors of a sound checkpoint, as safetensors names them: ``F32``, ``BF16`` …"""
    from safetensors import safe_open

    with safe_open(checkpoint / WEIGHTS, framework="pt") as stored:
        return {stored.get_slice(name).get_dtype() for name in stored.keys()}  # noqa: SIM118


def require_fit(checkpoint: Path, model: PreTrainedModel) -> dict[str, Any]:
    """The record of a checkpoint that this program and this model can go on from.

    Raises:
        RunError: it was written by a newer version, or belongs to another model; the message says which.
    """
    record: dict[str, Any] = read_json(checkpoint / RECORD)
    if record["schema"] > SCHEMA:
        raise RunError(
            f"{checkpoint} has schema version {record['schema']}, but this version of Graft reads up to {SCHEMA}; "
            "continue with the version that wrote it"
        )
    ours = fingerprint(model)
    for key in (field.name for field in fields(Fingerprint)):
        theirs, own = record["model"].get(key), getattr(ours, key)
        if theirs != own:
            raise RunError(
                f"{checkpoint} belongs to another model: its {_WORDS[key]} is {_shown(theirs)}, but this model's is "
                f"{_shown(own)}; continue with the model it was begun with, or start a new run"
            )
    return record


def fingerprint(model: PreTrainedModel) -> Fingerprint:
    """What tells a model from another."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = model.config.get_text_config()
    return Fingerprint(
        type(bare).__mro__[getattr(bare, "_orig_cls_mro_index", 0)].__name__,  # spreading a model changes its class
        int(model.get_input_embeddings().weight.shape[0]),
        int(getattr(config, "hidden_size", None) or 0),
        int(getattr(config, "num_hidden_layers", None) or 0),
        sum(tensor.numel() for _, tensor in trained_tensors(model)),
    )


def trained_tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of everything that is trained; compiling and wrapping leave the names as they are."""
    for name, tensor in model.named_parameters():
        if tensor.requires_grad:
            yield name.replace("_orig_mod.", "").removeprefix("module."), tensor


def save_trained(model: PreTrainedModel, folder: Path, *, writes: bool = True) -> None:
    """Write every trained tensor into a checkpoint's folder.

    Args:
        model: the model; all processes call this when its tensors are sharded.
        folder: the folder.
        writes: whether this process writes.
    """
    from safetensors.torch import save_file

    tensors = {name: _whole(tensor.detach()) for name, tensor in trained_tensors(model)}
    if writes:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)


def load_trained(model: PreTrainedModel, checkpoint: Path) -> None:
    """Copy the trained tensors of a checkpoint into a model, wherever that is.

    Raises:
        RunError: they are not the tensors that this model trains.
    """
    import torch
    from safetensors import safe_open

    own = dict(trained_tensors(model))
    with safe_open(checkpoint / WEIGHTS, framework="pt", device="cpu") as file, torch.no_grad():
        differing = sorted(own.keys() ^ set(file.keys()))
        if differing:
            raise RunError(
                f"{checkpoint} holds other trained tensors than this model: {len(differing)} differ (first: "
                f"{differing[0]}); continue with the settings it was begun with, or start a new run"
            )
        for name, tensor in own.items():
            values = file.get_tensor(name)
            if values.shape != tensor.shape:
                raise RunError(
                    f"{checkpoint} holds {name} of shape {list(values.shape)}, but this model's has "
                    f"{list(tensor.shape)}; continue with the settings it was begun with, or start a new run"
                )
            _copy_into(tensor, values)


def record_of(
    folder: Path, model: PreTrainedModel, *, step: int, rows_read: int, loss: float, stopping: Mapping[str, Any]
) -> dict[str, Any]:
    """What `RECORD` says of a folder that holds everything else already.

    Args:
        folder: the checkpoint, still beside its place.
        model: the model.
        step: optimizer steps done.
        rows_read: training rows read; the next step begins with the row of this index.
        loss: the last reported training loss.
        stopping: the state of the stopping rule.
    """
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    return {
        "schema": SCHEMA,
        "step": step,
        "rows_read": rows_read,
        "loss": loss,
        "model": asdict(fingerprint(model)),
        "stopping": dict(stopping),
        "files": sizes,
    }


def prune(folder: Path, *, newest: int, keep_last: int, best: int | None) -> None:
    """Delete the checkpoints that are no longer kept.

    Args:
        folder: the training's checkpoints.
        newest: step of the one just written.
        keep_last: how many of the newest ones stay.
        best: step of the best one, which always stays.
    """
    older = [path for path in list_checkpoints(folder) if step_of(path) <= newest]
    for path in older[keep_last:]:
        if step_of(path) != best:
            shutil.rmtree(path, ignore_errors=True)


def set_aside(folder: Path, *, after: int) -> list[Path]:
    """Rename the checkpoints later than a step, so that training goes on from that step.

    Returns:
        Their new places; they are deleted when the training is complete.
    """
    moved = []
    for path in list_checkpoints(folder):
        if step_of(path) > after:
            place = path.with_name(f"{_ASIDE}{path.name}")
            shutil.rmtree(place, ignore_errors=True)
            moved.append(path.rename(place))
    return moved


def remove_unfinished(folder: Path) -> None:
    """Delete all checkpoints of a training that is complete."""
    for pattern in (f"{PREFIX}*", f"{_ASIDE}*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def checkpoint_bytes(model: PreTrainedModel, optimizer: str) -> int:
    """What one checkpoint takes: the trained tensors and the optimizer's state of them."""
    from graft.train.memory import state_share

    trained = sum(tensor.numel() * tensor.element_size() for _, tensor in trained_tensors(model))
    return round(trained * (1 + state_share(optimizer))) + _SMALL_FILES


def require_room(folder: Path, model: PreTrainedModel, plan: Plan) -> None:
    """Make sure, before the first step, that all checkpoints and the final weights will fit on the disk.

    Counted are `keep_last` checkpoints, the best one, and the one that is being written; those of an earlier process
    are there already.

    Raises:
        StorageError: there is less room; the message has the numbers.
    """
    best = plan.stopping is not None and plan.stopping.keep_best
    saves = plan.save_steps is not None or plan.save_minutes is not None
    count = (plan.keep_last if saves else 0) + best + 1
    count = min(count, plan.steps)
    each = checkpoint_bytes(model, plan.optimizer)
    final = sum(tensor.numel() * tensor.element_size() for _, tensor in trained_tensors(model))
    there = sum(path.stat().st_size for path in folder.glob(f"{PREFIX}*/*") if path.is_file())
    what = f"{count} checkpoints of {format_bytes(each)} (train.keep_last, train.keep_best) and the trained weights"
    require_space(folder, max(0, count * each - there) + final, what)


def _unreadable(path: Path) -> str:
    """Why a file of a checkpoint cannot be loaded, from its table of contents and its pickle; empty when it can."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt"):
                return ""
        except (SafetensorError, OSError) as error:
            return str(error)
    if path.suffix == ".json":
        state = read_json(path)
        steps = state.get("global_step") if isinstance(state, dict) else None
        return "" if steps == step_of(path.parent) else f"it says that it is of step {steps}"
    return _unloadable(path) if path.suffix in _PICKLED else ""


def _unloadable(path: Path) -> str:
    """Why torch cannot load a file, or what it lacks. Its tensors are mapped, not read."""
    import torch
    from transformers.trainer_pt_utils import safe_globals

    try:
        with safe_globals():
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # unpickling damaged bytes can raise anything
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    lacking = sorted(_HOLDS.get(path.name, frozenset()) - (found.keys() if isinstance(found, dict) else set()))
    return f"it lacks {', '.join(lacking)}" if lacking else ""


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or all shards of one that is spread over processes."""
    gather = getattr(tensor, "full_tensor", None)
    whole: torch.Tensor = gather() if gather is not None else tensor
    return whole


def _copy_into(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Copy, spreading the values over processes as the tensor is."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is not None:
        from torch.distributed.tensor import distribute_tensor

        values = distribute_tensor(values.to(tensor.device), mesh, tensor.placements)  # type: ignore[attr-defined]
    tensor.copy_(values)
