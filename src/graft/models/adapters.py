"""Low-rank adapters (Hu et al. 2022, "LoRA") on a frozen model, through PEFT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graft.errors import ModelError
from graft.models.loading import kind_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_lora(
    model: PreTrainedModel, *, r: int, alpha: float, dropout: float, targets: Sequence[str] | str, seed: int
) -> PreTrainedModel:
    """Freeze the model and add trainable adapters; the model's function is unchanged until they are trained.

    Args:
        model: a model without adapters.
        r: rank, at least 1.
        alpha: the adapters' output is multiplied by alpha / r.
        dropout: probability in [0, 1) of dropping an adapter's input.
        targets: module names, or ``all-linear`` for every linear layer but the head.
        seed: seeds the adapters' initial weights.

    Raises:
        ModelError: no module has one of these names.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    modules = targets if isinstance(targets, str) else list(targets)
    task = "SEQ_2_SEQ_LM" if kind_of(model) == "seq2seq" else "CAUSAL_LM"
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=modules, task_type=task)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        linear = sorted(
            {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        )
        raise ModelError(
            f"adapter.targets is {modules!r}, but the model's linear layers are named {', '.join(linear)}"
        ) from error


def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put a saved adapter onto its base model.

    Raises:
        ModelError: the adapter is damaged or was trained on a model of another shape.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(folder)).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"cannot put the adapter {folder} onto {model.name_or_path}: {error}") from error


def count_parameters(model: PreTrainedModel) -> tuple[int, int]:
    """Total and trainable parameters; tied weights count once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
