"""A recipe's model by its config alone: its facts, and the memory it will need."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import psutil

from graft.config.schema import Recipe
from graft.errors import ModelError
from graft.models import remote
from graft.models.source import Source, locate
from graft.pipeline.branches import branches
from graft.runs.space import format_bytes

if TYPE_CHECKING:
    from graft.models.facts import ModelFacts


def recipe_facts(recipe: Recipe) -> tuple[ModelFacts, tuple[str, ...]]:
    """The model's facts from its config alone; of a remote folder only what has been copied is read.

    Raises:
        ModelError: it is not there, or cannot be used.
    """
    from graft.models.facts import model_facts
    from graft.models.source import check_weights

    model = recipe.model
    if remote.is_remote(model.id):
        folder = remote.cached_copy(model.id)
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"model.id is {model.id}, which has not been copied yet, so nothing is known of it; start the run, "
                "which copies it"
            )
        source = Source(str(folder), (remote.describe(model.id),))
    else:
        source = locate(model.id)
    if source.folder is not None and model.init == "weights":
        check_weights(source.folder, allow_pickle=model.allow_pickle)
    facts = model_facts(model.id, revision=model.revision, trust_remote_code=model.trust_remote_code, source=source)
    return facts, source.notes


def memory_forecast(recipe: Recipe, facts: ModelFacts) -> str:
    """The forecast against what is free.

    Raises:
        ModelError: it does not fit.
    """
    from graft.models.devices import pick_device, pick_dtype
    from graft.models.facts import forecast_memory

    device = pick_device(recipe.model.device)
    budget = recipe.engine.token_budget
    dtype, trainable = pick_dtype(recipe.model.dtype, device, facts.parameters), trainable_parameters(recipe, facts)
    forecast = partial(
        forecast_memory,
        facts,
        dtype_bytes=dtype.itemsize,
        quantize=recipe.model.quantize,
        trainable=trainable,
        tokens=recipe.data.max_length if budget == "auto" else budget,  # auto takes less than it likes, if it must
    )
    need, free = forecast(), _free_memory(device.type)
    if need.total > free and trainable == facts.parameters and recipe.train.optimizer == "adamw":
        need = forecast(rounded=str(dtype) == "torch.bfloat16")
    parts = f"weights {format_bytes(need.weights)}, training {format_bytes(need.training)}, "
    parts += f"activations {format_bytes(need.activations)}"
    told = f"about {format_bytes(need.total)} needed ({parts}), {format_bytes(free)} free on {device.type}"
    if need.total > free:
        raise ModelError(f"{told}; try adapter.kind=lora, model.quantize=nf4, a smaller engine.token_budget or model")
    return told


def trainable_parameters(recipe: Recipe, facts: ModelFacts) -> int:
    """How many parameters a recipe trains, by the model's config alone; 0 when it trains nothing."""
    if all(branch.seed is None for branch in branches(recipe)):
        return 0
    return facts.parameters if recipe.adapter.kind == "none" else recipe.adapter.r * facts.linear_features


def _free_memory(device: str) -> int:
    import torch

    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)  # an Apple GPU shares it
