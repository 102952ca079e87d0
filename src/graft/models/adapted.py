"""An adapter as a base: merged once with the model that it was trained on, into a folder in the cache.

Nothing is rounded: the merged weights are kept in float32.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config.loading import load_recipe
from graft.errors import ModelError
from graft.models.source import ADAPTER, is_adapter, locate, merged_place
from graft.runs.files import replacing_folder
from graft.runs.space import require_space

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BYTES = 4
TOKENIZER_FILES = (".json", ".jinja", ".txt", ".model")


def ready(model_id: str) -> None:
    """Merge the model with its base if it is an adapter that has not been merged here before.

    Raises:
        ModelError: its base is not known or cannot be had, or is another model than the adapter was trained on.
        StorageError: there is no room for it.
    """
    folder = Path(model_id).expanduser()
    if is_adapter(folder) and not merged_place(folder).is_dir():
        _merge(folder, merged_place(folder))


def base_of(folder: Path) -> dict[str, Any]:
    """The base of an adapter, as `graft.models.loading.load_model` takes it: that of its run, else as PEFT named it.

    Raises:
        ModelError: none is named, or it cannot be had again.
    """
    run = folder.resolve().parents[2] / "recipe.yaml" if len(folder.resolve().parents) > 2 else folder
    if run.is_file() and folder.resolve().parents[1].name == "checkpoints":
        section = load_recipe(run).recipe.model
        if section.init == "random":
            raise ModelError(f"{folder} is an adapter of random weights (model.init), which no file holds; train anew")
        return {"model_id": section.id, **section.model_dump(include={"revision", "trust_remote_code"})}
    try:
        named = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
        return {"model_id": str(named), "revision": None, "trust_remote_code": False}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / ADAPTER} names no base_model_name_or_path; write the base there") from error


def _merge(folder: Path, place: Path) -> None:
    import torch

    from graft.models.loading import load_model, load_tokenizer
    from graft.models.merge import merge

    base = base_of(folder)
    ready(base["model_id"])  # an adapter may stand on another
    try:
        locate(base["model_id"])
        model = load_model(**base, device="cpu", dtype="float32")
    except ModelError as error:
        raise ModelError(
            f"{folder} is an adapter of {base['model_id']}, which cannot be had: {error}; name its folder as "
            f"base_model_name_or_path in {folder / ADAPTER}"
        ) from error
    require_space(place, BYTES * sum(weight.numel() for weight in model.parameters()), "the merged model")
    plain, _ = merge(_with_adapter(model, folder), torch.float32)
    with replacing_folder(place) as new:
        plain.save_pretrained(new)
        if (folder / "tokenizer_config.json").is_file():
            for path in folder.iterdir():
                if path.suffix in TOKENIZER_FILES and path.name != ADAPTER and not (new / path.name).exists():
                    shutil.copy(path, new)
        else:
            load_tokenizer(**base).save_pretrained(new)


def _with_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    from graft.models.adapters import load_adapter
    from graft.models.style import FILE, load_styled

    return load_styled(folder, model).model if (folder / FILE).is_file() else load_adapter(model, folder)
