"""The two stages of a branch: train it, score it. Each leaves its result in the run directory and is done once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config.schema import Recipe
from graft.errors import ModelError, RunError
from graft.evals.scoring import Items, prepare_items, score_items
from graft.evals.thinking import score_with_thinking
from graft.models.adapters import add_lora, count_parameters, load_adapter
from graft.models.backends.base import Backend
from graft.models.loading import computes_bfloat16, kind_of, load_model
from graft.pipeline.backends import open_backend, subset_ids
from graft.pipeline.branches import Branch
from graft.pipeline.lab import Lab
from graft.pipeline.progress import Progress
from graft.pipeline.replies import own_replies
from graft.pipeline.thinking import save_tokenizer, thinking_items, used_sampling, ways
from graft.runs.directory import RunDirectory
from graft.runs.files import is_committed, replacing_folder
from graft.runs.metrics import MetricsLog
from graft.runs.samples import write_samples
from graft.tasks.words.controls import spell_first
from graft.train.backends import fit_with
from graft.train.engine import FitResult, Plan, StepReport
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LOG = logging.getLogger(__name__)

TOKEN_BUDGETS = {"cpu": 1_700, "cuda": 16_384}
"""Automatic token budgets by kind of device."""


def final_folder(run: RunDirectory, branch: Branch) -> Path:
    """Where the trained weights or adapter of a branch are."""
    return run.checkpoints / branch.label / "final"


def samples_path(run: RunDirectory, branch: Branch, task: str) -> Path:
    """Where the scored items of a branch and task are."""
    return run.samples_file(f"{branch.label}.{task}")


def train_branch(
    run: RunDirectory, lab: Lab, branch: Branch, metrics: MetricsLog, progress: Progress
) -> PreTrainedModel:
    """Train one branch, continuing from its newest complete checkpoint, and save it.

    Returns:
        The trained model, ready to be scored.
    """
    recipe = lab.recipe
    model = _untrained(recipe, branch)
    rows = _training_rows(run, lab, branch, model, progress)
    total, trainable = count_parameters(model)
    plan = make_plan(lab, branch, model)
    log = metrics.labelled(arm=branch.label)
    bar = progress.task(f"train {branch.label}", plan.steps)

    done = 0

    def count(step: int) -> None:
        nonlocal done
        bar.advance(step - done)
        done = step

    def report(step: StepReport) -> None:
        log.log(step=step.step, loss=step.loss, learning_rate=step.learning_rate, grad_norm=step.grad_norm)
        LOG.info("%s step %d of %d: loss %.4f", branch.label, step.step, plan.steps, step.loss)
        bar.advance(0, loss=step.loss)

    with run.stage(f"train-{branch.label}") as outputs:
        result = fit_with(
            recipe.train.engine,
            model,
            rows,
            plan,
            pad_id=int(lab.tokenizer.pad_token_id),
            folder=run.checkpoints / branch.label,
            on_report=report,
            on_step=count,
        )
        with replacing_folder(final_folder(run, branch)) as folder:
            model.save_pretrained(folder)
            save_tokenizer(lab, folder)
        for unfinished in (run.checkpoints / branch.label).glob("checkpoint-*"):
            shutil.rmtree(unfinished)
        facts = _facts(result, total, trainable)
        LOG.info("%s trained: %s", branch.label, facts)
        log.log(step=result.steps, event="trained", **facts)
        outputs.update(facts, precision="bfloat16" if plan.bfloat16 else "float32")
    bar.finish()
    return model


def score_branch(
    run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel | None, progress: Progress
) -> None:
    """Score all items of the run under one branch, in each way the thinking policy asks for, and store every one.

    Args:
        run: where the scored items go.
        lab: the items.
        branch: whose model it is.
        model: the model; ``None`` when it is behind a server.
        progress: what is told.
    """
    recipe = lab.recipe
    scored = list(ways(recipe, branch))
    bar = progress.task(f"score {branch.label}", len(scored) * sum(len(items) for items in lab.items))
    with run.stage(f"score-{branch.label}") as outputs:
        for way, thinks in scored:
            with closing(open_backend(recipe, lab.tokenizer, model, thinking=thinks)) as backend:
                for task in recipe.eval.tasks:
                    records = score_task(lab, way, task, backend, thinks=thinks, on_done=bar.advance)
                    outputs[f"{task}-thinking" if way.thinking else task] = write_samples(
                        samples_path(run, way, task), records
                    )
                    LOG.info("%s scored on %s: %d items", way.label, task, len(records))
    bar.finish()


def score_task(
    lab: Lab, way: Branch, task: str, backend: Backend, *, thinks: bool, on_done: Callable[[int], None]
) -> list[dict[str, Any]]:
    """The records of one branch and task, held-out items first."""
    recipe = lab.recipe
    sampling = used_sampling(recipe, thinks=thinks)
    records: list[dict[str, Any]] = []
    for items in (part for part in lab.items if part.task.card.name == task):
        shown = prompted_items(lab, items) if way.arm == "prompted" else items
        if thinks:
            shown, samples = thinking_items(lab, shown), recipe.eval.thinking_samples
            scored = score_with_thinking(backend, lab.tokenizer, shown, sampling, samples=samples, on_done=on_done)
        else:
            scored = score_items(backend, shown, sampling, on_batch=on_done)
        records += [{"arm": way.label, "seed": way.seed, **record} for record in scored]
    return records


def load_branch(run: RunDirectory, recipe: Recipe, branch: Branch) -> PreTrainedModel:
    """The model of a branch as it is to be scored: as it came, or as it was trained in this run.

    Raises:
        RunError: the branch has not been trained to its end.
    """
    if branch.seed is None:
        return load_untouched(recipe)
    folder = final_folder(run, branch)
    if not is_committed(folder):
        raise RunError(f"{run.name} holds no trained {branch.label}; train it first: graft run --resume {run.name}")
    if recipe.adapter.kind == "lora":
        return load_adapter(_load(recipe, branch.seed), folder)
    return _load(recipe, branch.seed, folder=folder)


def load_untouched(recipe: Recipe) -> PreTrainedModel:
    """The recipe's model as it came."""
    return _load(recipe, seed=0)


def _training_rows(
    run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, progress: Progress
) -> tuple[TokenRow, ...]:
    """The rows a branch is trained on; the format control's are answered by the model as it came."""
    rows = lab.rows(branch)
    if branch.arm != "format":
        return rows
    return own_replies(
        model,
        lab.tokenizer,
        rows,
        run.path / "controls" / f"{branch.label}.jsonl",
        progress,
        max_new_tokens=lab.recipe.sampling.max_new_tokens,
        batch_size=lab.recipe.eval.batch_size,
    )


def make_plan(lab: Lab, branch: Branch, model: PreTrainedModel) -> Plan:
    """Unpack the recipe for the engine, which knows nothing of recipes."""
    recipe, train = lab.recipe, lab.recipe.train
    return Plan(
        steps=lab.steps,
        batch_size=train.batch_size * train.gradient_accumulation,
        token_budget=_token_budget(recipe, model),
        learning_rate=train.learning_rate,
        optimizer=train.optimizer,
        schedule=train.schedule,
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        bfloat16=_bfloat16(recipe, model),
        seed=branch.seed or 0,
        logging_steps=train.logging_steps,
        save_steps=train.save_steps,
        keep_last=train.keep_last,
        allowed_ids=subset_ids(train.restrict_to, lab.tokenizer, model),
    )


def prompted_items(lab: Lab, items: Items) -> Items:
    """The same items with the instruction to spell the word first."""
    examples = [spell_first(example) for example in items.examples]
    length = lab.recipe.data.max_length
    return prepare_items(
        lab.tokenizer, items.task, items.split, examples, max_length=length, policy=lab.policy, think=items.think
    )


def _load(recipe: Recipe, seed: int, folder: Path | None = None) -> PreTrainedModel:
    section = recipe.model
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
    if kind_of(model) != "causal":
        raise ModelError(
            f"model.id is {section.id}, a sequence-to-sequence model; it loads, but only causal models can be trained "
            "and scored yet, so choose one that continues text, such as Qwen3"
        )
    return model


def _untrained(recipe: Recipe, branch: Branch) -> PreTrainedModel:
    assert branch.seed is not None
    if recipe.train.engine == "unsloth":
        return _untrained_by_unsloth(recipe, branch.seed)
    model = _load(recipe, branch.seed)
    adapter = recipe.adapter
    if adapter.kind == "none":
        return model
    return add_lora(
        model,
        r=adapter.r,
        alpha=adapter.alpha,
        dropout=adapter.dropout,
        targets=adapter.targets,
        seed=branch.seed,
    )


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
    if full:
        return model
    return unsloth_engine.add_lora(
        model, r=adapter.r, alpha=adapter.alpha, dropout=adapter.dropout, targets=adapter.targets, seed=seed
    )


def _bfloat16(recipe: Recipe, model: PreTrainedModel) -> bool:
    wanted = recipe.train.precision
    return computes_bfloat16(model.device) if wanted == "auto" else wanted == "bfloat16"


def _token_budget(recipe: Recipe, model: PreTrainedModel) -> int:
    wanted = recipe.train.token_budget
    return TOKEN_BUDGETS.get(model.device.type, TOKEN_BUDGETS["cuda"]) if wanted == "auto" else wanted


def _facts(result: FitResult, total: int, trainable: int) -> dict[str, int | float]:
    return {
        "steps": result.steps,
        "tokens": result.tokens,
        "trained_tokens": result.trained_tokens,
        "seconds": result.seconds,
        "tokens_per_second": result.tokens_per_second,
        "final_loss": result.final_loss,
        "parameters_total": total,
        "parameters_trainable": trainable,
    }
