"""What a recipe will take: tokens, steps, time, memory, disk and, with a price, money."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graft.config.loading import load_recipe
from graft.config.schema import Recipe
from graft.data.survey import Survey
from graft.errors import GraftError
from graft.models.facts import ModelFacts
from graft.pipeline.branches import branches
from graft.pipeline.prepare.facts import memory_forecast, recipe_facts, trainable_parameters
from graft.pipeline.prepare.lab import Lab
from graft.runs.directory import RunDirectory
from graft.runs.listing import list_runs
from graft.runs.space import free_bytes

ROUGH_SHARE = 0.15
"""Share of the speed of a plain matrix product that a training is taken to reach where none was measured."""

RUNS_ASKED = 20
"""Latest runs that are searched for a measured speed."""

_NUMBERS = {"lora": 2, "none": 3}
"""Numbers stored per trainable parameter in a checkpoint: two moments, and the parameter where it is no adapter."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What training will take, over all branches.

    Attributes:
        branches: trained branches.
        steps: optimizer steps of each.
        tokens: tokens read by all.
        seconds: wall time of training; NaN where nothing is known.
        basis: what the time rests on.
        memory: the memory forecast in words, or why there is none.
        disk_bytes: checkpoints and trained weights.
        free_bytes: what is free where the runs go.
        cost: in the currency of ``check.price_per_hour``; NaN without a price.
    """

    branches: int
    steps: int
    tokens: int
    seconds: float
    basis: str
    memory: str
    disk_bytes: int
    free_bytes: int
    cost: float


def estimate(lab: Lab, surveys: Sequence[Survey]) -> Estimate | None:
    """Forecast the training of a recipe.

    Args:
        lab: its shared parts.
        surveys: what was found in the training examples.

    Returns:
        The forecast; ``None`` when nothing is trained.
    """
    recipe = lab.recipe
    trained = sum(branch.seed is not None for branch in branches(recipe))
    looked = [survey for survey in surveys if survey.part == "train"]
    if not trained or not looked:
        return None
    mean = sum(survey.tokens for survey in looked) / sum(survey.examples for survey in looked)
    tokens = round(trained * lab.examples * mean)
    try:
        facts, _ = recipe_facts(recipe)
    except GraftError as error:
        return _without_facts(lab, trained, tokens, str(error))
    speed, basis = _speed(recipe, facts)
    price, trainable = recipe.check.price_per_hour, trainable_parameters(recipe, facts)
    each = 4 * trainable * (1 + _NUMBERS.get(recipe.adapter.kind, 2) * (recipe.train.save_steps is not None))
    return Estimate(
        branches=trained,
        steps=usable_steps(lab, surveys),
        tokens=tokens,
        seconds=tokens / speed,
        basis=basis,
        memory=_memory(recipe, facts),
        disk_bytes=trained * each,
        free_bytes=free_bytes(recipe.runs),
        cost=float("nan") if price is None else tokens / speed / 3600 * price,
    )


def usable_steps(lab: Lab, surveys: Sequence[Survey]) -> int:
    """Optimizer steps of a branch, without the rows that are known to be left out."""
    looked = [one for one in surveys if one.part == "train" and lab.book.card(one.task).kind != "corpus"]
    seen_all = sum(one.examples for one in looked) == lab.examples
    if lab.recipe.train.max_steps is not None or not seen_all:
        return lab.steps
    return lab.steps_of(max(1, lab.examples - sum(one.too_long for one in looked)))


def _without_facts(lab: Lab, trained: int, tokens: int, why: str) -> Estimate:
    nan = float("nan")
    free = free_bytes(lab.recipe.runs)
    return Estimate(trained, lab.steps, tokens, nan, why, why, 0, free, nan)


def _memory(recipe: Recipe, facts: ModelFacts) -> str:
    try:
        return memory_forecast(recipe, facts)
    except GraftError as error:
        return str(error)


def _speed(recipe: Recipe, facts: ModelFacts) -> tuple[float, str]:
    """Tokens per second and where that is from: an earlier run of the same kind, or this machine's arithmetic."""
    for name, speed in _measured(recipe):
        return speed, f"{speed:,.0f} tokens/s, measured in {name}"
    per_token = (6.0 if recipe.adapter.kind == "none" else 4.0) * facts.active_parameters
    speed = ROUGH_SHARE * _flops_per_second(recipe) / per_token
    return speed, f"{speed:,.0f} tokens/s, a rough guess from this machine's matrix product; the first run will tell"


def _measured(recipe: Recipe) -> Iterator[tuple[str, float]]:
    """Speeds of the latest runs with the same model and the same trained parameters."""
    own = _kind(recipe)
    for summary in [run for run in list_runs(recipe.runs) if run.model == recipe.model.id][:RUNS_ASKED]:
        try:
            run = RunDirectory.open(summary.name, recipe.runs)
            if _kind(before := load_recipe(run.recipe).recipe) != own:
                continue
            for branch in branches(before):
                if branch.seed is not None and run.is_done(f"train-{branch.label}"):
                    yield run.name, float(run.outputs(f"train-{branch.label}")["tokens_per_second"])
        except (GraftError, KeyError):
            continue


def _kind(recipe: Recipe) -> tuple[object, ...]:
    model, adapter, engine = recipe.model, recipe.adapter, recipe.engine
    return model.device, model.precision, model.quantize, adapter.kind, adapter.r, engine.name, recipe.mode


def _flops_per_second(recipe: Recipe, size: int = 1024) -> float:
    """The best of a few products of square matrices on the recipe's device."""
    import torch

    from graft.models.devices import computes_bfloat16, pick_device

    device = pick_device(recipe.model.device)
    dtype = torch.bfloat16 if computes_bfloat16(device) else torch.float32
    left = torch.ones(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        float((left @ left)[0, 0])
        seconds.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(seconds)
