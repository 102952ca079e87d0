"""Training through Unsloth: its loading, its adapters, its kernels, then TRL's loop with Graft's rows and callbacks.

Unsloth rewrites a model while it loads it, so a model that another loader made cannot be trained by it: `load` and
`add_lora` stand in for those of the models room. `backends` makes sure of CUDA and imports Unsloth before this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unsloth import FastLanguageModel

from graft.errors import ModelError
from graft.models.source import resolve
from graft.train import trl_engine
from graft.train.plan import SILENT, FitResult, Hooks, Plan, StepReport
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load(
    model_id: str, *, revision: str | None, max_length: int, full: bool, quantize: str = "none"
) -> PreTrainedModel:
    """Load a causal language model in bfloat16 the way Unsloth can train it.

    Args:
        model_id: ``sprout``, a folder or a hub id.
        revision: branch, tag or commit on the hub.
        max_length: longest row in tokens.
        full: every weight will be trained, not adapters.
        quantize: ``none``, ``nf4`` or ``int8``.

    Raises:
        ModelError: Unsloth cannot load it.
    """
    try:
        model, _ = FastLanguageModel.from_pretrained(
            resolve(model_id),
            revision=revision,
            max_seq_length=max_length,
            load_in_4bit=quantize == "nf4",
            load_in_8bit=quantize == "int8",
            load_in_16bit=quantize == "none" and not full,
            full_finetuning=full,
            use_exact_model_name=True,  # it would otherwise take a copy of its own for known hub ids
            use_gradient_checkpointing=False,
        )
    except Exception as error:  # it raises types of its own and of every library beneath it
        raise ModelError(f"Unsloth cannot load {model_id!r}: {error}; use engine.name: native") from error
    return model


def add_lora(
    model: PreTrainedModel, *, r: int, alpha: float, dropout: float, targets: Sequence[str] | str, seed: int
) -> PreTrainedModel:
    """Freeze the model and add trainable adapters; arguments as in `graft.models.adapters.add_lora`."""
    return FastLanguageModel.get_peft_model(
        model,
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        random_state=seed,
        use_gradient_checkpointing=False,
    )


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
    """Train a model that `load` made. Arguments, result and errors are those of `graft.train.trl_engine.fit`."""
    FastLanguageModel.for_training(model, use_gradient_checkpointing=False)
    try:
        return trl_engine.fit(
            model,
            rows,
            replace(plan, self_check=False),  # its models have another forward pass than the one to compare with
            pad_id=pad_id,
            folder=folder,
            hooks=hooks,
            padding_free=padding_free,
        )
    finally:
        FastLanguageModel.for_inference(model)
