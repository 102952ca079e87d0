"""Runs that hold a trained branch, made in a moment: its adapters are drawn at random, and large."""

from __future__ import annotations

import torch

from graft.config.loading import Resolved
from graft.config.writing import to_yaml
from graft.data.chat import pin_thinking_off
from graft.pipeline.branches import Branch
from graft.pipeline.places import final_folder
from graft.pipeline.prepare.lab import recipe_tokenizer
from graft.pipeline.train.style import save_trained_model
from graft.pipeline.train.weights import untrained_model
from graft.runs.directory import RunDirectory
from graft.runs.files import replacing_folder, write_text

BRANCH = Branch("trained", 0)


def trained_run(resolved: Resolved, spread: float = 0.1) -> RunDirectory:
    """A run of a recipe whose first trained branch is there, as training leaves it.

    Args:
        resolved: the recipe.
        spread: standard deviation of what is added to trained weights that start at zero, or to all of them.
    """
    recipe = resolved.recipe
    run = RunDirectory.create(recipe.runs, "made")
    write_text(run.recipe, to_yaml(resolved))
    model = untrained_model(recipe, BRANCH)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name or "style_delta" in name:
                weight.normal_(std=spread)
            elif recipe.adapter.kind == "none":
                weight.add_(torch.randn_like(weight) * 0.01)
    tokenizer = recipe_tokenizer(recipe)
    with replacing_folder(final_folder(run, BRANCH)) as final:
        save_trained_model(recipe, tokenizer, model, final)
        pin_thinking_off(tokenizer)
        tokenizer.save_pretrained(final)
    return run
