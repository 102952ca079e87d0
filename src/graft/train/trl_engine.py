"""The same training through TRL's `SFTTrainer`: the reference that Graft's engine is compared with.

Rows come tokenised and masked, so TRL neither renders, truncates, packs nor drops any. A step is cut into equal parts
of rows, padded to the longest of the part, whose gradients TRL accumulates; it divides by the trained tokens of the
whole step, so the gradient is that of Graft's engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from graft.errors import ConfigError, TrainError
from graft.models.forward import pad_rows
from graft.train.loop import GraftLoop, Watcher, check_rows, loop_options, own_optimizer, run_loop
from graft.train.memory import token_budget
from graft.train.plan import SILENT, FitResult, Hooks, Plan, StepReport
from graft.train.precision import Arithmetic, arithmetic
from graft.train.self_check import check_losses
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROUTER_SETTINGS = ("output_router_logits", "router_aux_loss_coef")


def fit(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    plan: Plan,
    *,
    pad_id: int,
    folder: Path,
    hooks: Hooks[StepReport] = SILENT,
    padding_free: bool = False,
) -> FitResult:
    """Train by TRL. Arguments, result and errors are those of `graft.train.backends.Fit`; one argument is its own:
    ``padding_free`` lays the rows of each pass end to end, as TRL's packing does, instead of padding them.

    Raises:
        TrainError: also when TRL refuses the model or the machine.
    """
    check_rows(rows, plan)
    watcher = Watcher(hooks.on_report, hooks.on_step)
    with as_it_was(model), arithmetic(model, plan, folder) as types:
        config, optimizer = _config(plan, model, folder, rows, types), own_optimizer(model, plan, types.weights)
        try:
            trainer = _TrlLoop(
                model=model,
                args=config,
                train_dataset=as_dataset(rows),
                data_collator=DataCollatorForLanguageModeling(pad_token_id=pad_id, padding_free=padding_free),
                processing_class=PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE())),
                callbacks=[watcher],
                optimizers=(optimizer, None),
            )
        except ValueError as error:
            raise TrainError(f"TRL refuses this training: {error}; use engine.name: native") from error
        trainer.processing_class = None  # demanded, but there is no text: it would only overwrite the end-of-turn ids
        trainer.model_accepts_loss_kwargs = True  # the mean is over the step's tokens for every architecture
        checked = check_losses(
            types, rows, plan, partial(fused_losses, model, pad_id=pad_id), pad_id=pad_id, whose="TRL"
        )
        evaluate = types.as_scored(hooks.evaluate)
        result = run_loop(trainer, model, rows, watcher, folder, plan=plan, evaluate=evaluate)
    return replace(result, facts={**result.facts, **checked})


def as_dataset(rows: Sequence[TokenRow]) -> Dataset:
    """Rows with labels, -100 wherever a token is not trained."""
    return Dataset.from_dict(
        {
            "input_ids": [[*row.prompt, *row.completion] for row in rows],
            "labels": [_labels(row) for row in rows],
        }
    )


def fused_losses(model: PreTrainedModel, rows: Sequence[TokenRow], *, pad_id: int) -> torch.Tensor:
    """The sum of the losses of padded rows by the head that TRL put on a model, which it guesses from its config."""
    ids_BT, labels_BT = (table.to(model.device) for table in pad_rows(rows, pad_id))
    lengths_B1 = torch.tensor([[len(row)] for row in rows], device=model.device)
    mask_BT = (torch.arange(ids_BT.shape[1], device=model.device) < lengths_B1).long()
    outputs = model(
        input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT, use_cache=False, fused_lm_head=True
    )  # fmt: skip
    losses: torch.Tensor = -outputs.log_probs.sum()
    return losses


def rows_at_once(rows: Sequence[TokenRow], plan: Plan, budget: int) -> int:
    """Rows of one forward pass: the largest equal part of a step that stays within the token budget."""
    longest = max(map(len, rows))
    parts = (size for size in range(plan.batch_size, 0, -1) if plan.batch_size % size == 0)
    return next((size for size in parts if size * longest <= budget), 1)


class _TrlLoop(GraftLoop, SFTTrainer):  # type: ignore[misc]
    """TRL's loss in the order of the rows, with Graft's checkpoints, without model cards and without reports home."""

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Graft writes its own."""


def _labels(row: TokenRow) -> list[int]:
    labels = [-100] * len(row.prompt) + list(row.completion)
    return [-100, *labels[1:]]  # nothing precedes the first token, so nothing predicts it


def _config(plan: Plan, model: PreTrainedModel, folder: Path, rows: Sequence[TokenRow], types: Arithmetic) -> SFTConfig:
    size = rows_at_once(rows, plan, token_budget(model, plan))
    options = loop_options(plan, model, folder) | {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": plan.batch_size // size,
    }
    return SFTConfig(
        **options,
        **mixed_precision(plan, types),
        gradient_checkpointing=False,
        max_length=None,
        packing=False,
        router_aux_loss_coef=0.0,  # the loss is that of the tokens alone
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def mixed_precision(plan: Plan, types: Arithmetic) -> dict[str, bool]:
    """The types as settings of transformers' trainer, which scales the loss itself.

    Raises:
        ConfigError: it has to be scaled on a CPU, which that trainer refuses.
    """
    if types.scales and types.model.device.type == "cpu":
        raise ConfigError(
            "the model computes in float16, which TRL trains on GPUs only; set model.dtype: float32, or use "
            "engine.name: native"
        )
    raised = bool(types.came_in) and types.half is torch.bfloat16
    return {"bf16": plan.bfloat16 or raised, "fp16": types.scales}


@contextmanager
def as_it_was(model: PreTrainedModel) -> Iterator[None]:
    """Undo what TRL does to a model beside training it: another forward pass, settings of the router, mixed precision.

    Graft scores and saves the model afterwards, whichever engine trained it.
    """
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    forwards = [(module, vars(module).get("forward")) for module in (model, bare)]
    text_config = bare.config.get_text_config()
    settings = {name: getattr(text_config, name) for name in _ROUTER_SETTINGS if hasattr(text_config, name)}
    try:
        yield
    finally:
        for module, forward in forwards:
            vars(module).pop("_original_forward", None)
            vars(module).pop("forward", None)
            if forward is not None:
                module.forward = forward
        for name, value in settings.items():
            setattr(text_config, name, value)
