"""Loading a tokenizer alone: no torch, no weights.

`AutoTokenizer` imports torch with every config, so the class that a model names for its tokenizer is used directly
where `AutoTokenizer` would choose the same; only the other cases go through it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError
from graft.models.source import cannot_load, locate, offline, read_config, read_json_file, text_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SMALLEST_VOCABULARY = 8
"""Fewer entries than this come from a folder without tokenizer files: only special tokens were made up."""

_GENERIC = ("PreTrainedTokenizer", "TokenizersBackend")
_AMBIGUOUS = ("LlamaTokenizer",)
"""Named by models whose `tokenizer.json` is of another kind (Llama 3); `AutoTokenizer` looks into it."""


def load_tokenizer(
    model_id: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load the tokenizer alone: no torch, no weights.

    Args:
        model_id: ``sprout``, a folder, a hub id or a URL.
        revision: branch, tag or commit on the hub.
        trust_remote_code: run Python code from the model's repository if the tokenizer needs it.

    Raises:
        ModelError: there is none, it cannot be read, or it has more entries than the model has embeddings.
    """
    quiet_libraries()
    source = locate(model_id)
    config = read_config(source, model_id, revision)
    try:
        settings = read_json_file(source, "tokenizer_config.json", revision) or {}
        kind = _class(settings, config)
        options: dict[str, Any] = {} if kind is not None else {"trust_remote_code": trust_remote_code}
        with _no_collection():
            tokenizer: PreTrainedTokenizerBase = (kind or _automatic()).from_pretrained(
                source.place, revision=revision, local_files_only=offline(), **options
            )
        tokenizer("a")  # a setting of the wrong kind shows when it is used
    except Exception as error:  # transformers, tokenizers and the hub each raise types of their own
        raise ModelError(cannot_load("tokenizer", model_id, error)) from error
    _check_vocabulary(tokenizer, config, model_id)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def quiet_libraries() -> None:
    """Keep transformers' own progress bars and advice for developers out of our output; errors still come through."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the search for reference cycles: a vocabulary is a million small objects, and none of them is garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _class(settings: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """The tokenizer's class, or ``None`` where only `AutoTokenizer` can tell.

    A class that belongs to the model's own family (`Qwen2Tokenizer` of a ``qwen3`` model) is what `AutoTokenizer` takes
    too.
    """
    import transformers

    name = str(settings.get("tokenizer_class") or "").removesuffix("Fast")
    if not name or "auto_map" in settings or name in _AMBIGUOUS:
        return None
    if name in _GENERIC:
        return getattr(transformers, "TokenizersBackend", None)
    found = getattr(transformers, name, None)
    module = str(getattr(found, "__module__", "")).rsplit(".", 1)[-1].removeprefix("tokenization_")
    return found if found is not None and _family(module) == _family(str(config.get("model_type", ""))) else None


def _family(name: str) -> str:
    """The letters that a model's or module's name starts with: ``qwen`` of ``qwen3_moe``."""
    return re.match(r"[a-z]*", name).group()  # type: ignore[union-attr]  # it matches any text


def _automatic() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: Mapping[str, Any], model_id: str) -> None:
    if len(tokenizer) < SMALLEST_VOCABULARY:
        raise ModelError(
            f"the tokenizer of {model_id} has {len(tokenizer)} entries, so its files are missing or empty; "
            "put tokenizer.json and tokenizer_config.json beside config.json"
        )
    rows = text_config(config).get("vocab_size")
    if isinstance(rows, int) and len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of {model_id} has {len(tokenizer):,} entries, but the model's embedding only {rows:,} rows "
            "(vocab_size); use the tokenizer that belongs to the model, or save the model after resize_token_embeddings"
        )


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of everything that decides how a tokenizer cuts text; equal tokenizers have equal ones."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else json.dumps([tokenizer.get_vocab(), str(tokenizer)])
    return hashlib.sha256(f"{text}{tokenizer.eos_token}{tokenizer.pad_token}".encode()).hexdigest()
