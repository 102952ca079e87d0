"""The two stages of a branch: train it, score it. Each leaves its result in the run directory and is done once."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from graft.data.mixture import Drawn
from graft.models.adapters import count_parameters
from graft.pipeline.branches import Branch
from graft.pipeline.places import final_folder
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.prepare.stopping import stopping_of
from graft.pipeline.prepare.subset import subset_ids
from graft.pipeline.progress import Progress, SilentProgress
from graft.pipeline.train.grpo import fit_by_reward
from graft.pipeline.train.measure import HELD_OUT, held_out_measure
from graft.pipeline.train.order import Order
from graft.pipeline.train.replies import own_replies
from graft.pipeline.train.rows import TrainingRows, training_rows
from graft.pipeline.train.style import save_trained_model
from graft.pipeline.train.weights import save_tokenizer, trains_in_bfloat16, untrained_model
from graft.runs.directory import RunDirectory
from graft.runs.files import replacing_folder
from graft.runs.metrics import MetricsLog
from graft.train import processes
from graft.train.backends import fit_with
from graft.train.checkpoints import newest_sound, remove_unfinished
from graft.train.plan import FitResult, Measurement, Plan, StepReport
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LOG = logging.getLogger(__name__)

LOGGING_STEPS = 10
"""Steps between two lines of metrics when the recipe says nothing."""


def train_branch(
    run: RunDirectory, lab: Lab, branch: Branch, metrics: MetricsLog, progress: Progress
) -> PreTrainedModel:
    """Train one branch, continuing from its newest complete checkpoint, and save it.

    Returns:
        The trained model, ready to be scored.
    """
    recipe = lab.recipe
    processes.tell(Order(recipe, run.path, branch))
    model = untrained_model(recipe, branch)
    by_reward = recipe.mode == "grpo"
    with processes.first_goes_first(f"rows of {branch.label}"):
        rows, drawn = ((), ()) if by_reward else _training_rows(run, lab, branch, model, progress)
    total, trainable = count_parameters(model)
    plan = make_plan(lab, branch, model, steps=lab.steps if by_reward else len(rows) // lab.per_step)
    log = metrics.labelled(arm=branch.label)
    bar = progress.task(f"train {branch.label}", plan.steps)

    done = 0

    def count(step: int) -> None:
        nonlocal done
        bar.advance(step - done)
        done = step

    def report(step: StepReport) -> None:
        log.log(step=step.step, **_numbers(step))
        LOG.info("%s step %d of %d: loss %.4f", branch.label, step.step, plan.steps, step.loss)
        bar.advance(0, loss=step.loss)

    def measured(figures: Measurement) -> None:
        log.log(step=done, **{f"{HELD_OUT}/{name}": value for name, value in figures.items()})
        bar.advance(0, held_out_loss=figures["loss"], exact=figures["exact"])

    with run.stage(f"train-{branch.label}") as outputs, processes.failing_together():
        folder = run.checkpoints / branch.label
        for sentence in newest_sound(folder)[1]:
            progress.warn(sentence)
        evaluate = held_out_measure(lab, model, measured)
        if by_reward:
            result = fit_by_reward(
                lab, branch, model, plan, folder=folder, log=log, bar=bar, on_step=count, evaluate=evaluate
            )
        else:
            result = fit_with(
                recipe.engine.name,
                model,
                rows,
                plan,
                pad_id=int(lab.tokenizer.pad_token_id),
                folder=folder,
                on_report=report,
                on_step=count,
                evaluate=evaluate,
            )
        with replacing_folder(final_folder(run, branch)) as final:
            save_trained_model(recipe, lab.tokenizer, model, final)
            save_tokenizer(lab, final)
        remove_unfinished(folder)
        facts, setup = _facts(result, total, trainable), _setup(result, model, plan)
        LOG.info("%s trained: %s", branch.label, facts | setup)
        log.log(step=result.steps, event="trained", **facts)
        log.log(step=result.steps, event="setup", **setup)
        log.text("setup", "\n".join(f"- {name}: {value}" for name, value in (facts | setup).items()))
        outputs.update(facts | setup | {"epochs": {one.source: one.epochs for one in drawn}})
    bar.finish()
    return model


def help_train(run: RunDirectory, lab: Lab, branch: Branch) -> None:
    """What every process but the first does of `train_branch`: the same training, of which nothing is written."""
    model = untrained_model(lab.recipe, branch)
    with processes.first_goes_first(f"rows of {branch.label}"):
        rows, _ = _training_rows(run, lab, branch, model, SilentProgress())
    fit_with(
        lab.recipe.engine.name,
        model,
        rows,
        make_plan(lab, branch, model, steps=len(rows) // lab.per_step),
        pad_id=int(lab.tokenizer.pad_token_id),
        folder=run.checkpoints / branch.label,
        evaluate=held_out_measure(lab, model, lambda figures: None),
    )


def _training_rows(
    run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, progress: Progress
) -> tuple[Sequence[TokenRow], tuple[Drawn, ...]]:
    """The rows of a branch and what each source gave; the format control's are answered by the model as it came."""
    bar = progress.task(f"tokenise {branch.label}", lab.steps * lab.per_step)
    found = training_rows(lab, branch, on_rows=bar.advance)
    bar.finish()
    _tell_rows(lab, branch, found, progress)
    if branch.arm != "format":
        return found.table, found.drawn
    replies = own_replies(
        model,
        lab.tokenizer,
        found.table,
        run.path / "controls" / f"{branch.label}.jsonl",
        progress,
        max_new_tokens=lab.recipe.sampling.max_new_tokens,
        batch_size=lab.recipe.eval.batch_size,
    )
    return replies, found.drawn


def _tell_rows(lab: Lab, branch: Branch, found: TrainingRows, progress: Progress) -> None:
    """Say what was passed over and how often each source was gone through."""
    if found.dropped:
        limit = lab.recipe.data.max_length
        progress.note(f"{branch.label}: {found.dropped:,} rows longer than data.max_length={limit} were passed over")
    for drawn in found.drawn:
        LOG.info("%s: %s gave %d rows, %.2f epochs", branch.label, drawn.source, drawn.rows, drawn.epochs)
    if len(found.drawn) > 1:
        given = ", ".join(f"{drawn.source} {drawn.rows:,} rows ({drawn.epochs:.2f} epochs)" for drawn in found.drawn)
        progress.note(f"{branch.label}: {given}")


def make_plan(lab: Lab, branch: Branch, model: PreTrainedModel, steps: int) -> Plan:
    """Unpack the recipe for the engine, which knows nothing of recipes."""
    recipe, train, engine = lab.recipe, lab.recipe.train, lab.recipe.engine
    return Plan(
        steps=steps,
        batch_size=lab.per_step,
        token_budget=None if engine.token_budget == "auto" else engine.token_budget,
        learning_rate=train.learning_rate,
        optimizer=train.optimizer,
        schedule=train.schedule,
        warmup_steps=train.warmup_steps if train.warmup_share is None else round(train.warmup_share * steps),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        bfloat16=trains_in_bfloat16(recipe, model),
        seed=branch.seed or 0,
        logging_steps=train.logging_steps or train.eval_steps or LOGGING_STEPS,
        save_steps=train.save_steps,
        keep_last=train.keep_last,
        allowed_ids=subset_ids(train.restrict_to, lab.tokenizer, model),
        layout=engine.layout,
        compile=engine.compile,
        activation_checkpointing=engine.activation_checkpointing,
        save_minutes=train.save_minutes,
        eval_steps=train.eval_steps,
        stopping=stopping_of(recipe),
        parallel=engine.parallel,
    )


def _numbers(report: StepReport) -> dict[str, float]:
    """A report as values of the log; what is not known is left out."""
    extra = {"accuracy": report.accuracy, "tokens_per_second": report.tokens_per_second}
    return {
        "loss": report.loss,
        "learning_rate": report.learning_rate,
        "grad_norm": report.grad_norm,
        **{name: value for name, value in extra.items() if not math.isnan(value)},
        **({"peak_bytes": report.peak_bytes} if report.peak_bytes else {}),
    }


def _facts(result: FitResult, total: int, trainable: int) -> dict[str, int | float]:
    """What a training came to, in numbers."""
    return {
        "steps": result.steps,
        "tokens": result.tokens,
        "trained_tokens": result.trained_tokens,
        "seconds": result.seconds,
        "tokens_per_second": result.tokens_per_second,
        "final_loss": result.final_loss,
        "parameters_total": total,
        "parameters_trainable": trainable,
        "stopped_early": result.stopped_early,
        **({} if result.best_step is None else {"best_step": result.best_step}),
        **{name: value for name, value in result.facts.items() if not isinstance(value, str)},
    }


def _setup(result: FitResult, model: PreTrainedModel, plan: Plan) -> dict[str, str]:
    """How a training was done, in words."""
    return {
        "device": model.device.type,
        "precision": "bfloat16" if plan.bfloat16 else "float32",
        "attention": str(getattr(model.config, "_attn_implementation", "unknown")),
        **{name: value for name, value in result.facts.items() if isinstance(value, str)},
    }
