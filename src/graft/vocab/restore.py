"""An adapter trained on a trimmed model, put back onto the full vocabulary.

Low-rank adapters on the linear layers know nothing of the vocabulary, so their weights fit the original model as they
are. An adapter that touches embeddings or head does not fit and is refused.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from graft.errors import ModelError
from graft.runs.files import write_json
from graft.vocab.mapping import VocabMap, read_map

WEIGHTS = "adapter_model.safetensors"
SETTINGS = "adapter_config.json"
_BOUND = ("embed_tokens", "lm_head", "wte", "lora_embedding", "token_adapter", "embed_out")
"""Parts of parameter names that belong to embeddings or head."""


def restore_adapter(adapter: Path, out: Path, trimmed: Path | None = None) -> VocabMap:
    """Copy an adapter so that it names the original model as its base.

    Args:
        adapter: folder of the adapter, as PEFT writes it.
        out: an existing folder for the copy.
        trimmed: the trimmed model it was trained on; what the adapter itself names when unset, where that is a folder.

    Returns:
        The mapping of the trimmed model, which names the original.

    Raises:
        ModelError: there is no adapter, it was not trained on a trimmed model, or it is bound to the vocabulary.
    """
    for name in (SETTINGS, WEIGHTS):
        if not (adapter / name).is_file():
            raise ModelError(f"{adapter} holds no {name}; name the folder of a trained adapter")
    settings = json.loads((adapter / SETTINGS).read_text(encoding="utf-8"))
    named = Path(str(settings["base_model_name_or_path"]))
    if trimmed is None and not named.is_dir():
        raise ModelError(
            f"{adapter} was trained on a model called {named}, and no folder of that name is here; name the trimmed "
            "model with --trimmed"
        )
    mapping = read_map(trimmed or named)
    bound = _vocabulary_bound(adapter / WEIGHTS, len(mapping.ids))
    if bound is not None:
        raise ModelError(
            f"the adapter {adapter} holds {bound}, which has one row for each token of the trimmed vocabulary; only "
            "adapters on linear layers fit the full model. Train again without embeddings and head in adapter.targets"
        )
    shutil.copyfile(adapter / WEIGHTS, out / WEIGHTS)
    write_json(out / SETTINGS, {**settings, "base_model_name_or_path": mapping.model, "revision": mapping.revision})
    return mapping


def _vocabulary_bound(weights: Path, entries: int) -> str | None:
    """The first tensor that belongs to embeddings or head or is as long as the vocabulary; reads no weights."""
    from safetensors import safe_open

    with safe_open(str(weights), framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dict
            if any(part in name for part in _BOUND) or entries in file.get_slice(name).get_shape():
                return str(name)
    return None
