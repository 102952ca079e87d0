"""A smaller tokenizer: the kept entries with new ids, and the merges between them in the old order.

Normaliser, splitting rules, special tokens and chat template stay as they are; every id inside the files is mapped.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError
from graft.vocab.entries import Vocabulary
from graft.vocab.keep import Keep

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SIDE_FILES = ("vocab.json", "merges.txt", "tokenizer.model")
"""Older forms of the same vocabulary; they would contradict the new ``tokenizer.json``."""


def trimmed_spec(vocabulary: Vocabulary, keep: Keep) -> dict[str, Any]:
    """The ``tokenizer.json`` of the kept entries.

    Raises:
        ModelError: the tokenizer has a part whose ids Graft does not know how to map.
    """
    new = keep.new_ids()
    spec = copy.deepcopy({key: value for key, value in vocabulary.spec.items() if key != "model"})
    tokens = {token: new[id] for token, id in vocabulary.tokens.items() if id in new}
    merges = [[a, b] for a, b in vocabulary.merges if a in tokens and b in tokens and a + b in tokens]
    model = {key: value for key, value in vocabulary.spec["model"].items() if key not in ("vocab", "merges")}
    ordered = dict(sorted(tokens.items(), key=lambda item: item[1]))
    spec["model"] = {**model, "vocab": ordered, "merges": merges}
    added = [{**entry, "id": new[entry["id"]]} for entry in spec["added_tokens"]]
    spec["added_tokens"] = sorted(added, key=lambda entry: int(entry["id"]))
    if spec.get("padding"):
        spec["padding"]["pad_id"] = new[spec["padding"]["pad_id"]]
    _map_post_processor(spec.get("post_processor"), new, vocabulary.name)
    return spec


def _map_post_processor(part: dict[str, Any] | None, new: Mapping[int, int], name: str) -> None:
    """Map the ids of the special tokens that are put around a text, in place."""
    if part is None or part["type"] == "ByteLevel":
        return
    if part["type"] == "Sequence":
        for inner in part["processors"]:
            _map_post_processor(inner, new, name)
    elif part["type"] == "TemplateProcessing":
        for token in part["special_tokens"].values():
            token["ids"] = [new[id] for id in token["ids"]]
    else:
        raise ModelError(
            f"the tokenizer of {name} has a post-processor of type {part['type']}, whose ids cannot be mapped; "
            "trimming knows TemplateProcessing and ByteLevel"
        )


def save_trimmed(tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary, keep: Keep, folder: Path) -> None:
    """Write the smaller tokenizer as a folder that transformers loads, chat template included.

    Raises:
        ModelError: see `trimmed_spec`.
    """
    spec = trimmed_spec(vocabulary, keep)
    tokenizer.save_pretrained(str(folder))
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    for name in _SIDE_FILES:
        (folder / name).unlink(missing_ok=True)
    settings_file = folder / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    new = keep.new_ids()
    if "added_tokens_decoder" in settings:
        decoder = settings["added_tokens_decoder"]
        settings["added_tokens_decoder"] = {str(new[int(id)]): token for id, token in decoder.items()}
    settings_file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
