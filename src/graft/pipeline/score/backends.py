"""From a recipe to what writes the replies: the loaded model, or the server that the recipe names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from graft.config.schema import Recipe
from graft.models.backends.base import Backend
from graft.models.backends.remote import Patience
from graft.pipeline.prepare.subset import subset_ids
from graft.runs.journal import Journal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def open_backend(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel | None,
    *,
    thinking: bool,
    journal: Journal | None = None,
) -> Backend:
    """What writes the replies of a run.

    Args:
        recipe: names the server, or restricts the vocabulary of the loaded model.
        tokenizer: the loaded model's.
        model: the loaded model; ``None`` for a server.
        thinking: whether a server is asked for thinking replies; a loaded model reads that from its prompt.
        journal: where replies are stored as they arrive.

    Raises:
        ModelError: the server's address cannot be right.
        MissingExtra: its client is not installed.
    """
    backend = _remote(recipe, thinking=thinking) if model is None else _local(recipe, tokenizer, model)
    backend.journal = journal
    return backend


def _local(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Backend:
    from graft.models.backends.transformers import TransformersBackend

    allowed = subset_ids(recipe.generation.restrict_to, tokenizer, model)
    return TransformersBackend(model, tokenizer, batch_size=recipe.eval.batch_size, allowed_ids=allowed)


def _remote(recipe: Recipe, *, thinking: bool) -> Backend:
    remote, section = recipe.remote, recipe.model
    patience = Patience(remote.timeout_seconds, remote.retries, remote.concurrency)
    key = os.environ.get(remote.api_key_env) or None
    source = f"the environment variable {remote.api_key_env} (remote.api_key_env)"
    if section.backend == "ollama":
        from graft.models.backends.ollama import OllamaBackend

        return OllamaBackend(
            section.id, section.url, api_key=key, key_source=source, thinking=thinking, patience=patience
        )
    from graft.models.backends.openai_http import OpenAIBackend

    url = section.url or ""
    return OpenAIBackend(url, section.id, api_key=key, key_source=source, thinking=thinking, patience=patience)
