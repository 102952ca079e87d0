"""The two stages of a branch: train it, score it. Each leaves its result in the run directory and is done once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config.schema import Recipe
from graft.data.mixture import Drawn
from graft.errors import RunError
from graft.evals.scoring import Items, prepare_items, score_items
from graft.evals.thinking import score_with_thinking
from graft.models.adapters import add_lora, count_parameters, load_adapter
from graft.models.backends.base import Backend
from graft.models.devices import pick_device
from graft.models.fp8 import check_fp8, to_fp8
from graft.models.loading import computes_bfloat16, load_model
from graft.models.style import load_styled
from graft.pipeline.backends import open_backend, subset_ids
from graft.pipeline.branches import Branch
from graft.pipeline.corpora import corpus_records
from graft.pipeline.crew import Order
from graft.pipeline.grpo import fit_by_reward
from graft.pipeline.lab import CALIBRATION, Lab
from graft.pipeline.labels import calibration_records, label_records, with_labels
from graft.pipeline.measure import HELD_OUT, held_out_measure, stopping_of
from graft.pipeline.progress import Progress, SilentProgress
from graft.pipeline.replies import own_replies
from graft.pipeline.rows import TrainingRows, training_rows
from graft.pipeline.style import save_trained_model, with_style_rows
from graft.pipeline.thinking import save_tokenizer, thinking_items, used_sampling, ways
from graft.runs.directory import RunDirectory
from graft.runs.files import is_committed, replacing_folder
from graft.runs.metrics import MetricsLog
from graft.runs.samples import samples_name, write_samples
from graft.tasks.words.controls import spell_first
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


def final_folder(run: RunDirectory, branch: Branch) -> Path:
    """Where the trained weights or adapter of a branch are."""
    return run.checkpoints / branch.label / "final"


def samples_path(run: RunDirectory, branch: Branch, task: str) -> Path:
    """Where the scored items of a branch and task are."""
    return run.samples_file(samples_name(branch.label, task))


def train_branch(
    run: RunDirectory, lab: Lab, branch: Branch, metrics: MetricsLog, progress: Progress
) -> PreTrainedModel:
    """Train one branch, continuing from its newest complete checkpoint, and save it.

    Returns:
        The trained model, ready to be scored.
    """
    recipe = lab.recipe
    processes.tell(Order(recipe, run.path, branch))
    model = _untrained(recipe, branch)
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
    model = _untrained(lab.recipe, branch)
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


def score_branch(
    run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel | None, progress: Progress
) -> None:
    """Score all items of the run under one branch, in each way the thinking policy asks for, and store every one.

    Texts of corpora are read once, whatever that policy says, and not by the prompted arm, which they do not prompt.

    Args:
        run: where the scored items go.
        lab: the items and texts.
        branch: whose model it is.
        model: the model; ``None`` when it is behind a server.
        progress: what is told.
    """
    recipe = lab.recipe
    scored = list(ways(recipe, branch))
    texts = sum(map(len, lab.corpora)) if branch.arm != "prompted" else 0
    bar = progress.task(f"score {branch.label}", texts + len(scored) * sum(len(items) for items in lab.items))
    with run.stage(f"score-{branch.label}") as outputs:
        for way, thinks in scored:
            with closing(open_backend(recipe, lab.tokenizer, model, thinking=thinks)) as backend:
                for task in dict.fromkeys(items.task.card.name for items in lab.items):
                    records = score_task(lab, way, task, backend, thinks=thinks, on_done=bar.advance)
                    outputs[f"{task}-thinking" if way.thinking else task] = write_samples(
                        samples_path(run, way, task), records
                    )
                    LOG.info("%s scored on %s: %d items", way.label, task, len(records))
                if not thinks:
                    _score_calibration(run, lab, way, backend)
        if model is not None and texts:
            outputs.update(_score_corpora(run, lab, branch, model, bar.advance))
    bar.finish()


def _score_corpora(
    run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, on_done: Callable[[int], None]
) -> dict[str, int]:
    """Store how well a branch predicts every text; the number of texts by task."""
    counts = {}
    for corpus in lab.corpora:
        found = corpus_records(
            model,
            lab.tokenizer,
            corpus,
            max_length=lab.recipe.data.max_length,
            batch_size=lab.recipe.eval.batch_size,
            on_done=on_done,
        )
        records = ({"arm": branch.label, "seed": branch.seed, **record} for record in found)
        counts[corpus.task] = write_samples(samples_path(run, branch, corpus.task), records)
        LOG.info("%s scored on %s: %d texts", branch.label, corpus.task, counts[corpus.task])
    return counts


def calibration_path(run: RunDirectory, branch: Branch, task: str) -> Path:
    """Where the items are that the temperature of a branch and task is fitted on."""
    return run.path / CALIBRATION / f"{samples_name(branch.label, task)}.jsonl"


def _score_calibration(run: RunDirectory, lab: Lab, way: Branch, backend: Backend) -> None:
    """Label probabilities of the items that are not scored."""
    for items in lab.calibration:
        records = calibration_records(backend, items, way=lab.recipe.eval.labels)
        write_samples(calibration_path(run, way, items.task.card.name), records)


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
            scored = with_labels(scored, label_records(backend, shown, way=recipe.eval.labels))
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
    if recipe.style.tokens:
        return load_styled(folder, _load(recipe, branch.seed)).model
    if recipe.adapter.kind == "lora":
        return _in_precision(recipe, load_adapter(_load(recipe, branch.seed), folder))
    return _load(recipe, branch.seed, folder=folder)


def load_untouched(recipe: Recipe) -> PreTrainedModel:
    """The recipe's model as it came."""
    return with_style_rows(recipe, _load(recipe, seed=0))


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
        bfloat16=_bfloat16(recipe, model),
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


def prompted_items(lab: Lab, items: Items) -> Items:
    """The same items with the instruction to spell the word first."""
    examples = [spell_first(example) for example in items.examples]
    length = lab.recipe.data.max_length
    return prepare_items(
        lab.tokenizer, items.task, items.split, examples, max_length=length, policy=lab.policy, think=items.think
    )


def _load(recipe: Recipe, seed: int, folder: Path | None = None) -> PreTrainedModel:
    section = recipe.model
    if section.precision == "fp8":
        check_fp8(pick_device(section.device))
    return load_model(
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


def _untrained(recipe: Recipe, branch: Branch) -> PreTrainedModel:
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


def _bfloat16(recipe: Recipe, model: PreTrainedModel) -> bool:
    wanted = recipe.model.precision
    return computes_bfloat16(model.device) if wanted == "auto" else wanted != "float32"


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
