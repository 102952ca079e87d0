"""The model of a branch: loaded, given its adapter and its precision, or found again as it was trained."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from graft.config.schema import Recipe
from graft.data.chat import pin_date, pin_thinking_off
from graft.errors import RunError
from graft.models.adapters import add_lora, load_adapter
from graft.models.boundary import stop_at
from graft.models.devices import pick_device
from graft.models.fp8 import check_fp8, to_fp8
from graft.models.loading import computes_bfloat16, load_model
from graft.models.style import load_styled
from graft.pipeline.branches import Branch
from graft.pipeline.places import final_folder
from graft.pipeline.prepare.lab import Lab, stop_ids
from graft.pipeline.prepare.number_formats import settled
from graft.pipeline.train.style import with_style_rows
from graft.runs.directory import RunDirectory
from graft.runs.files import is_committed
from graft.runs.manifest import folder_damage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG = logging.getLogger(__name__)


def load_branch(run: RunDirectory, recipe: Recipe, branch: Branch) -> PreTrainedModel:
    """The model of a branch as it is to be scored: as it came, or as it was trained in this run.

    Raises:
        RunError: the branch has not been trained to its end, or a file of it is not what the training wrote.
    """
    recipe = settled(run, recipe)
    if branch.seed is None:
        return load_untouched(recipe)
    folder = final_folder(run, branch)
    if not is_committed(folder):
        raise RunError(f"{run.name} holds no trained {branch.label}; train it first: graft run --resume {run.name}")
    run.require_sound(folder_damage(folder))
    if recipe.style.tokens:
        return load_styled(folder, _load(recipe, branch.seed)).model
    if recipe.adapter.kind == "lora":
        return _in_precision(recipe, load_adapter(_load(recipe, branch.seed), folder))
    return _load(recipe, branch.seed, folder=folder)


def load_base(recipe: Recipe, branch: Branch) -> PreTrainedModel:
    """The model that a trained branch began with, without adapters."""
    return _load(recipe, branch.seed or 0)


def load_untouched(recipe: Recipe) -> PreTrainedModel:
    """The recipe's model as it came."""
    return with_style_rows(recipe, _load(recipe, seed=0))


def _load(recipe: Recipe, seed: int, folder: Path | None = None) -> PreTrainedModel:
    section = recipe.model
    if section.precision == "fp8":
        check_fp8(pick_device(section.device))
    model = load_model(
        str(folder) if folder else section.id,
        revision=None if folder else section.revision,
        init="weights" if folder else section.init,
        seed=seed,
        device=section.device,
        dtype=section.dtype,
        attention=section.attention,
        quantize=section.quantize,
        trust_remote_code=section.trust_remote_code,
        allow_pickle=section.allow_pickle,
    )
    return stop_at(model, stop_ids(recipe))


def untrained_model(recipe: Recipe, branch: Branch) -> PreTrainedModel:
    """The model of a trained branch before its first step: with its adapter, in the recipe's precision."""
    assert branch.seed is not None
    if recipe.engine.name == "unsloth":
        return _untrained_by_unsloth(recipe, branch.seed)
    model = _load(recipe, branch.seed)
    adapter = recipe.adapter
    if adapter.kind == "none":
        return model
    adapted = add_lora(
        model,
        r=adapter.r,
        alpha=adapter.alpha,
        dropout=adapter.dropout,
        targets=adapter.targets,
        seed=branch.seed,
        rslora=adapter.rslora,
        dora=adapter.dora,
    )
    return with_style_rows(recipe, _in_precision(recipe, adapted))


def _untrained_by_unsloth(recipe: Recipe, seed: int) -> PreTrainedModel:
    """The same as Unsloth makes it; it can train no other."""
    from graft.train import unsloth_engine

    section, adapter = recipe.model, recipe.adapter
    full = adapter.kind == "none"
    model = unsloth_engine.load(
        section.id,
        revision=section.revision,
        max_length=recipe.data.max_length,
        full=full,
        quantize=section.quantize,
    )
    stop_at(model, stop_ids(recipe))
    if full:
        return model
    return unsloth_engine.add_lora(
        model, r=adapter.r, alpha=adapter.alpha, dropout=adapter.dropout, targets=adapter.targets, seed=seed
    )


def _in_precision(recipe: Recipe, model: PreTrainedModel) -> PreTrainedModel:
    """The model with its frozen layers in the recipe's precision; only then, with the adapters on it."""
    if recipe.model.precision == "fp8":
        LOG.info("%d frozen linear layers compute in fp8", to_fp8(model))
    return model


def trains_in_bfloat16(recipe: Recipe, model: PreTrainedModel) -> bool:
    """Whether training computes in bfloat16 on the model's device."""
    wanted = recipe.model.precision
    return computes_bfloat16(model.device) if wanted == "auto" else wanted != "float32"


def save_tokenizer(lab: Lab, folder: Path) -> None:
    """Save the tokenizer beside a trained model; its template writes what it wrote in the run: the day of the run, and
    no thinking when the run had it off.
    """
    template = lab.tokenizer.chat_template
    if lab.policy.thinking == "off":
        pin_thinking_off(lab.tokenizer)
    pin_date(lab.tokenizer, lab.policy.date)
    try:
        lab.tokenizer.save_pretrained(folder)
    finally:
        lab.tokenizer.chat_template = template
