"""Training one branch: its model is loaded, fitted, saved, and what came of it is written down."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from graft.models.adapters import count_parameters
from graft.pipeline.branches import Branch
from graft.pipeline.places import controls_path, final_folder
from graft.pipeline.prepare.boundary import prove_decoding
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.prepare.number_formats import settled
from graft.pipeline.prepare.plan import make_plan
from graft.pipeline.prepare.stopping import stopping_of
from graft.pipeline.prepare.subset import subset_ids
from graft.pipeline.progress import Progress, SilentProgress
from graft.pipeline.train.measure import held_out_measure
from graft.pipeline.train.modes import begin
from graft.pipeline.train.order import Order
from graft.pipeline.train.replies import manifest_path
from graft.pipeline.train.style import save_trained_model
from graft.pipeline.train.telling import Telling
from graft.pipeline.train.weights import save_tokenizer, trains_in_bfloat16, untrained_model
from graft.runs.directory import RunDirectory
from graft.runs.files import replacing_folder
from graft.runs.manifest import MARKER
from graft.runs.markers import Leaves
from graft.runs.metrics import MetricsLog
from graft.train import processes
from graft.train.checkpoints import newest_sound, remove_unfinished
from graft.train.plan import FitResult, Hooks, Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LOG = logging.getLogger(__name__)


def train_branch(
    run: RunDirectory, lab: Lab, branch: Branch, metrics: MetricsLog, progress: Progress
) -> PreTrainedModel:
    """Train one branch, continuing from its newest complete checkpoint, and save it.

    Returns:
        The trained model, ready to be scored.
    """
    recipe, folder = lab.recipe, run.checkpoints / branch.label
    processes.tell(Order(recipe, run.path, branch).to_json())
    model = untrained_model(settled(run, recipe), branch)
    prove_decoding(run, lab, model)
    training = begin(run, lab, branch, model, progress)
    plan = _plan(run, lab, branch, model, steps=training.steps)
    log, bar = metrics.labelled(arm=branch.label), progress.task(f"train {branch.label}", plan.steps)
    telling = Telling(branch.label, training, plan.steps, log, bar)
    with run.stage(f"train-{branch.label}", _leaves(run, branch)) as outputs, processes.failing_together():
        for sentence in newest_sound(folder)[1]:
            progress.warn(sentence)
        total, trainable = count_parameters(model)
        result = training.fit(model, plan, folder, telling.hooks(partial(held_out_measure, lab, model)))
        _save(run, lab, branch, model)
        remove_unfinished(folder)
        facts, setup = _facts(result, total, trainable), _setup(result, model, plan)
        _tell_result(branch, log, result.steps, facts, setup)
        outputs.update(facts | setup | {"epochs": {one.source: one.epochs for one in training.drawn}})
    bar.finish()
    return model


def help_train(run: RunDirectory, lab: Lab, branch: Branch) -> None:
    """What every process but the first does of `train_branch`: the same training, of which nothing is written."""
    model = untrained_model(settled(run, lab.recipe), branch)
    training = begin(run, lab, branch, model, SilentProgress())
    plan = _plan(run, lab, branch, model, steps=training.steps)
    measure = held_out_measure(lab, model, lambda figures: None)
    training.fit(model, plan, run.checkpoints / branch.label, Hooks(evaluate=measure))


def _leaves(run: RunDirectory, branch: Branch) -> Leaves:
    """The weights by their marker, which lists them; the replies trained on; the log, which others go on with."""
    replies = controls_path(run, branch)
    return Leaves((final_folder(run, branch) / MARKER, replies, manifest_path(replies)), grows=(run.metrics,))


def _save(run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel) -> None:
    with replacing_folder(final_folder(run, branch)) as final:
        save_trained_model(lab.recipe, lab.tokenizer, model, final)
        save_tokenizer(lab, final)


def _tell_result(
    branch: Branch, log: MetricsLog, step: int, facts: dict[str, int | float], setup: dict[str, str]
) -> None:
    LOG.info("%s trained: %s", branch.label, facts | setup)
    log.log(step=step, event="trained", **facts)
    log.log(step=step, event="setup", **setup)
    log.text("setup", "\n".join(f"- {name}: {value}" for name, value in (facts | setup).items()))


def _plan(run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, *, steps: int) -> Plan:
    """The plan of a branch, as this model computes and as its vocabulary is restricted."""
    return make_plan(
        lab,
        branch,
        steps=steps,
        stopping=stopping_of(lab.recipe),
        bfloat16=trains_in_bfloat16(settled(run, lab.recipe), model),
        allowed_ids=subset_ids(lab.recipe.train.restrict_to, lab.tokenizer, model),
    )


def _facts(result: FitResult, total: int, trainable: int) -> dict[str, int | float]:
    """What a training came to, in numbers."""
    return {
        "steps": result.steps,
        "rows": result.rows,
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
