"""From a model's id to the folder or hub id that holds it, and what its configuration says, without torch."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graft import is_offline, sprout
from graft.errors import GraftError, ModelError
from graft.models import remote
from graft.runs.cache import cache_folder
from graft.runs.files import is_committed, replacing_folder
from graft.runs.manifest import folder_damage

LOG = logging.getLogger(__name__)

Kind = Literal["causal", "seq2seq"]
"""``causal`` continues one text; ``seq2seq`` reads a text and writes another."""

PICKLED_WEIGHTS = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_GZIP = b"\x1f\x8b"

MOST_JSON = 500_000_000
"""Bytes of a JSON file of a model; the largest vocabularies take a tenth."""

MOST_HEADER = 100_000_000
"""Bytes of the header of a safetensors file, as the format itself limits it."""

MOST_PARTS = 10_000
"""Layers, or experts of a layer."""

_MANY = re.compile(r"layers?$|experts?$|blocks?$")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model is.

    Attributes:
        place: a folder or a hub id, as transformers takes it.
        notes: what was done to get there that a person should know.
    """

    place: str
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path | None:
        """The folder, or ``None`` for a hub id."""
        path = Path(self.place)
        return path if path.is_dir() else None


def offline() -> bool:
    """Whether nothing may be downloaded from the hub."""
    return is_offline() or os.environ.get("HF_HUB_OFFLINE", "") == "1"


def resolve(model_id: str) -> str:
    """The folder or hub id behind a model id; see `locate`."""
    return locate(model_id).place


def locate(model_id: str, *, allow_pickle: bool = False) -> Source:
    """Find a model: the embedded one, a folder, a GGUF file, a hub id or a URL.

    The files of a URL are copied to the cache first, and a GGUF file is dequantised into it. An adapter stands for the
    model that `graft.models.adapted` made of it there.

    Raises:
        MissingExtra: it is a GGUF file, and what reads it is not installed.
        ModelError: there is no such folder, or it holds no ``config.json``; or the URL or the file cannot be read.
    """
    if model_id == "sprout":
        return Source(str(sprout.path()))
    if remote.is_remote(model_id):
        return _readable(remote.fetch(model_id, allow_pickle=allow_pickle), model_id)
    folder = Path(model_id).expanduser()
    if is_adapter(folder):
        if not (place := merged_place(folder)).is_dir():
            raise ModelError(f"model.id is {model_id}, an adapter that is not merged here yet; graft check merges it")
        return Source(str(place), (f"{model_id} is an adapter; it was merged with its base into {place}",))
    if folder.is_dir():
        return _readable(folder, model_id)
    if folder.suffix == ".gguf" and folder.is_file():
        from graft.models.gguf_file import unpack_gguf

        place, note = unpack_gguf(folder)
        return Source(str(place), (note,))
    looks_local = model_id.startswith((".", "/", "~")) or model_id.count("/") != 1
    if looks_local:
        raise ModelError(
            f"model.id is {model_id!r}, but there is no such folder; use 'sprout', a folder, a GGUF file, a hub id or "
            "a URL"
        )
    return Source(model_id)


ADAPTER = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter of PEFT and no model."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").is_file()


def merged_place(folder: Path) -> Path:
    """Where in the cache an adapter lies that was merged with its base."""
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
    digest = hashlib.sha256(repr((str(folder.resolve()), facts)).encode()).hexdigest()[:16]
    return cache_folder() / "unpacked" / f"{folder.resolve().parent.name}-{folder.resolve().name}-{digest}"


def _readable(folder: Path, model_id: str) -> Source:
    """The folder itself, or a copy of it in the cache if its JSON files are gzipped."""
    entries = sorted(folder.iterdir())
    for path in entries:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ModelError(f"{path} is no file, but a pipe or device, which might be waited for; remove it")
        if path.suffix == ".json" and path.is_file() and path.stat().st_size > MOST_JSON:
            raise ModelError(f"{path} has {path.stat().st_size:,} bytes, more than any such file needs; copy it again")
    packed = [path for path in entries if path.is_file() and _is_gzipped_json(path)]
    names = {path.name.removesuffix(".gz") for path in packed}
    if not (folder / "config.json").is_file() and "config.json" not in names:
        raise ModelError(f"model.id is {model_id}, but it holds no config.json; name a model folder")
    if not packed:
        return Source(str(folder))
    note = f"{len(packed)} gzipped JSON files of {folder} were unpacked: {', '.join(path.name for path in packed)}"
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
    digest = hashlib.sha256(repr((str(folder.resolve()), facts)).encode()).hexdigest()[:16]
    place = cache_folder() / "unpacked" / f"{folder.name}-{digest}"
    if not is_committed(place) or folder_damage(place):
        _unpack(folder, packed, place)
        LOG.warning("%s", note)
    return Source(str(place), (note,))


def _is_gzipped_json(path: Path) -> bool:
    if path.name.endswith(".json.gz"):
        return not path.with_suffix("").exists()
    if path.suffix != ".json":
        return False
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _unpack(folder: Path, packed: list[Path], place: Path) -> None:
    """Write a folder with the JSON files unpacked and links to everything else."""
    with replacing_folder(place) as new:
        for path in folder.iterdir():
            if path not in packed:
                (new / path.name).symlink_to(path.resolve())
                continue
            try:
                with gzip.open(path) as file:
                    data = file.read(MOST_JSON + 1)
            except (OSError, EOFError, zlib.error) as error:
                raise ModelError(f"{path} is damaged: it must be gzipped, but {error}; copy it again") from error
            if len(data) > MOST_JSON:
                raise ModelError(f"{path} unpacks to more than {MOST_JSON:,} bytes, which no such file needs")
            (new / path.name.removesuffix(".gz")).write_bytes(data)


def read_config(source: Source, model_id: str, revision: str | None = None) -> dict[str, Any]:
    """The model's ``config.json`` as it is written.

    Raises:
        ModelError: it cannot be had, or is not JSON.
    """
    try:
        config = read_json_file(source, "config.json", revision, required=True)
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises types of its own
        raise ModelError(cannot_load("config", model_id, error)) from error
    return config or {}


def read_json_file(
    source: Source, name: str, revision: str | None = None, *, required: bool = False
) -> dict[str, Any] | None:
    """Read one JSON file of a model; ``None`` when it has no file of that name.

    Raises:
        ModelError: it is no JSON object.
        OSError: it cannot be had although it is required.
    """
    from transformers.utils import cached_file

    found = cached_file(
        source.place,
        name,
        revision=revision,
        local_files_only=offline(),
        _raise_exceptions_for_missing_entries=required,
    )
    if found is None:
        return None
    try:
        content = json.loads(Path(found).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{found} is damaged: it must hold JSON, but {error}; copy it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{found} must hold a JSON object, but it holds a {type(content).__name__}; copy it again")
    return content


@contextmanager
def well_formed(model_id: str) -> Iterator[None]:
    """What breaks within the block breaks on a config that says something else than configs do.

    Raises:
        ModelError: whatever it was.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, GraftError):
            raise
        raise ModelError(
            f"config.json of {model_id} is malformed ({type(error).__name__}: {error}); copy it again"
        ) from error


def require_sizes(config: Mapping[str, Any], model_id: str) -> None:
    """Refuse an architecture that takes hours only to be laid out.

    Raises:
        ModelError: it names more layers or experts than any model has.
    """
    for name, value in text_config(config).items():
        if _MANY.search(name) and isinstance(value, int) and value > MOST_PARTS:
            raise ModelError(f"config.json of {model_id} says {name}: {value:,}, which no model has; copy it again")


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model; models of several modes nest it."""
    for name in ("text_config", "llm_config", "language_config"):
        if isinstance(config.get(name), Mapping):
            return {**config, **config[name]}
    return config


def stored_dtype(model_id: str, revision: str | None = None) -> str:
    """The type in which a model's weights are stored, such as ``bfloat16``; float32 where its config names none."""
    raw = text_config(read_config(locate(model_id), model_id, revision))
    named = raw.get("dtype") or raw.get("torch_dtype")
    return str(named).removeprefix("torch.") if named is not None else "float32"


def model_kind(config: Mapping[str, Any], model_id: str) -> Kind:
    """Whether a model continues texts or turns one into another, from its config alone.

    Raises:
        ModelError: it only encodes, so it cannot write.
    """
    if config.get("is_encoder_decoder"):
        return "seq2seq"
    names = [str(name) for name in config.get("architectures") or ()]
    writes = any("CausalLM" in name or "LMHead" in name or "ForConditionalGeneration" in name for name in names)
    if writes or config.get("is_decoder") or not _only_fills_gaps(str(config.get("model_type", "")), names):
        return "causal"
    shown = ", ".join(names) or config.get("model_type")
    raise ModelError(
        f"model.id is {model_id}, an encoder-only model ({shown}): every token sees those after it, so it fills gaps "
        "but cannot write an answer from left to right; choose a causal or seq2seq model, such as Qwen3 or T5"
    )


def _only_fills_gaps(model_type: str, architectures: list[str]) -> bool:
    """Encoders are the architectures that transformers can train to fill gaps; decoders are not among them."""
    if any("MaskedLM" in name for name in architectures):
        return True
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def check_weights(folder: Path, *, allow_pickle: bool) -> None:
    """Check that the weights are there, whole, and of a kind that may be loaded.

    Raises:
        ModelError: a file is missing or damaged, or the weights are pickled.
    """
    found = sorted(folder.glob("*.safetensors"))
    if not found and not allow_pickle:
        pickled = next((path for pattern in PICKLED_WEIGHTS for path in folder.glob(pattern)), None)
        if pickled is not None:
            raise ModelError(
                f"{folder} holds only pickled weights ({pickled.name}), and loading those can run code of their maker; "
                "save them as safetensors, or set model.allow_pickle=true if you trust it"
            )
        raise ModelError(f"{folder} holds no weights (*.safetensors); copy them there, or set model.init=random")
    for path in found:
        _check_safetensors(path)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{index} is damaged: it must hold a weight_map of tensors and files, but {type(error).__name__}: "
                f"{error}; copy it again"
            ) from error
        if outside := sorted(name for name in named if Path(name).name != name):
            raise ModelError(f"{index} names {outside[0]!r}, which is no file of its folder; copy it again")
        missing = sorted(name for name in named if not (folder / name).is_file())
        if missing:
            raise ModelError(f"{folder} lacks {', '.join(missing)}, which {index.name} names; copy it again")


def _check_safetensors(path: Path) -> None:
    """Compare the size of a file with the one its header promises."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = file.read(length) if 8 + length <= size and length <= MOST_HEADER else b""
    try:
        tensors = [entry for name, entry in json.loads(head).items() if name != "__metadata__"]
        promised = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError):
        raise ModelError(f"{path} is damaged: its header cannot be read; copy or download it again") from None
    if promised != size:
        raise ModelError(
            f"{path} is damaged: its header promises {promised:,} bytes, but it has {size:,}; copy or download it again"
        )


def cannot_load(what: str, model_id: str, error: Exception) -> str:
    """One line that says what could not be loaded and why."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    hint = " (offline: only the embedded model, folders and already downloaded models load)" if offline() else ""
    return f"cannot load the {what} of {model_id!r}{hint}: {first}"
