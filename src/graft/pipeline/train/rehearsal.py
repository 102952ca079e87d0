"""One step on the longest row, by the very model and engine, before anything is scored for a training to come."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from graft.models.devices import pick_device
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.prepare.plan import make_plan
from graft.pipeline.prepare.stopping import stopping_of
from graft.pipeline.prepare.subset import subset_ids
from graft.pipeline.progress import Progress
from graft.pipeline.train.rows import training_rows
from graft.pipeline.train.weights import trains_in_bfloat16, untrained_model
from graft.train import processes
from graft.train.backends import fit_with


def rehearse_branch(lab: Lab, branch: Branch, progress: Progress) -> None:
    """Make a branch's rows, and train a copy of its model on the longest of them for one step.

    What would stop the training by its layout, its engine, its memory or its rows stops it here. All random streams
    are as before afterwards. With many processes and with rewards only the rows are made.

    Raises:
        GraftError: whatever would stop the training.
    """
    from graft.train.loop import random_streams, restore_streams

    if lab.recipe.mode == "grpo":
        return
    bar = progress.task(f"try {branch.label}", lab.examples)
    table = training_rows(lab, branch, on_rows=bar.advance).table
    bar.finish()
    if processes.count() > 1:
        return
    device = pick_device(lab.recipe.model.device)
    streams = random_streams(device)
    model = untrained_model(lab.recipe, branch)
    plan = make_plan(
        lab,
        branch,
        steps=1,
        stopping=stopping_of(lab.recipe),
        bfloat16=trains_in_bfloat16(lab.recipe, model),
        allowed_ids=subset_ids(lab.recipe.train.restrict_to, lab.tokenizer, model),
    )
    alone = replace(
        plan, batch_size=1, schedule="constant", schedule_args={}, warmup_steps=0, compile="off", save_steps=None,
        save_minutes=None, eval_steps=None, stopping=None,
    )  # fmt: skip
    longest = table[int(table.lengths.argmax())]
    with TemporaryDirectory() as folder:
        fit_with(
            lab.recipe.engine.name, model, [longest], alone, pad_id=int(lab.tokenizer.pad_token_id), folder=Path(folder)
        )
    restore_streams(streams, device)
    del model
    gc.collect()
