"""Scoring one branch: every item of the run under one model, stored as it was asked and answered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from graft.evals.items import Items, prepare_items
from graft.evals.scoring import score_items
from graft.evals.thinking import score_with_thinking
from graft.models.backends.base import Backend
from graft.pipeline.branches import Branch
from graft.pipeline.places import calibration_path, journal_path, samples_path, score_leaves, weights_hash
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.prepare.thinking import used_sampling, ways
from graft.pipeline.progress import Progress
from graft.pipeline.score.backends import open_backend
from graft.pipeline.score.corpora import corpus_records
from graft.pipeline.score.field import field_records
from graft.pipeline.score.labels import calibration_records, label_records, with_labels
from graft.pipeline.score.thinking import thinking_items
from graft.runs.directory import RunDirectory
from graft.runs.journal import journal_of
from graft.runs.samples import write_samples
from graft.tasks.controls import spell_first
from graft.tasks.field import FieldTask

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LOG = logging.getLogger(__name__)


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
    leaves = score_leaves(run, branch, [way for way, _ in scored], recipe.eval.tasks)
    with run.stage(f"score-{branch.label}", leaves) as outputs, ExitStack() as stack:
        outputs["scorers"] = {}
        for way, thinks in scored:
            kept = journal_of(journal_path(run, f"score-{way.label}"), weights_hash(run, branch))
            journal = stack.enter_context(kept)
            with closing(open_backend(recipe, lab.tokenizer, model, thinking=thinks, journal=journal)) as backend:
                for task in dict.fromkeys(items.task.card.name for items in lab.items):
                    records = score_task(lab, way, task, backend, thinks=thinks, on_done=bar.advance)
                    outputs[f"{task}-thinking" if way.thinking else task] = write_samples(
                        samples_path(run, way, task), records
                    )
                    if way == branch:
                        outputs["scorers"][task] = lab.book.load(task).scorer
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


def _score_calibration(run: RunDirectory, lab: Lab, way: Branch, backend: Backend) -> None:
    """Label probabilities of the items that are not scored."""
    for items in lab.calibration:
        records = calibration_records(backend, items, way=lab.recipe.eval.labels)
        write_samples(calibration_path(run, way, items.task.card.name), records)


def score_task(
    lab: Lab, way: Branch, task: str, backend: Backend, *, thinks: bool, on_done: Callable[[int], None]
) -> list[dict[str, Any]]:
    """The records of one branch and task, held-out items first; ``right`` is the outcome that the verdict is about.

    The prompted arm answers after a spelling, so the answer is looked for in its reply.
    """
    recipe = lab.recipe
    sampling = used_sampling(recipe, thinks=thinks)
    records: list[dict[str, Any]] = []
    outcome = lab.outcome(task, thinks=thinks) if way.arm != "prompted" else "lenient"
    for items in (part for part in lab.items if part.task.card.name == task):
        shown = prompted_items(lab, items) if way.arm == "prompted" else items
        if thinks:
            shown, samples = thinking_items(lab, shown), recipe.eval.thinking_samples
            scored = score_with_thinking(backend, lab.tokenizer, shown, sampling, samples=samples, on_done=on_done)
        elif isinstance(shown.task, FieldTask):
            scored = field_records(backend, shown, shown.task, on_done)
        else:
            scored = score_items(backend, shown, sampling, on_batch=on_done)
            scored = with_labels(scored, label_records(backend, shown, way=recipe.eval.labels))
        records += [{"arm": way.label, "seed": way.seed, **record, "right": record[outcome]} for record in scored]
    return records


def prompted_items(lab: Lab, items: Items) -> Items:
    """The same items with the instruction to spell the word first."""
    examples = [spell_first(example) for example in items.examples]
    length = lab.recipe.data.max_length
    return prepare_items(
        lab.tokenizer, items.task, items.split, examples, max_length=length, policy=lab.policy, think=items.think
    )
