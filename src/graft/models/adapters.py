"""Low-rank adapters (Hu et al. 2022, "LoRA") on a frozen model, through PEFT.

The factors are kept in float32, where small updates are not lost, and compute in the type of what flows through them:
on a bfloat16 model nothing is cast up. PEFT alone would keep them in bfloat16 or cast every activation to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError
from graft.models.loading import kind_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROUTERS = ("router", "gate", "shared_expert_gate")
"""Last names of the modules that choose the experts of a mixture."""


def add_lora(
    model: PreTrainedModel,
    *,
    r: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str] | str,
    seed: int,
    rslora: bool = False,
    dora: bool = False,
) -> PreTrainedModel:
    """Freeze the model and add trainable adapters; the model's function is unchanged until they are trained.

    Args:
        model: a model without adapters.
        r: rank, at least 1.
        alpha: the adapters' output is multiplied by alpha / r.
        dropout: probability in [0, 1) of dropping an adapter's input.
        targets: module names, or ``all-linear`` for every linear layer but the head and what `linear_layers` leaves.
        seed: seeds the adapters' initial weights.
        rslora: multiply by alpha / √r instead.
        dora: train the magnitude of each weight's rows beside the direction.

    Raises:
        ModelError: no module has one of these names, or PEFT cannot adapt one that has.

    Source: Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", equation 6; Liu et al.
        2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", equation 5.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(seed)
    modules = linear_layers(model) if targets == "all-linear" else [targets] if isinstance(targets, str) else targets
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(modules),
        task_type="SEQ_2_SEQ_LM" if kind_of(model) == "seq2seq" else "CAUSAL_LM",
        use_rslora=rslora,
        use_dora=dora,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    try:
        return keep_masters(get_peft_model(model, config))
    except ValueError as error:
        known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear_layers(model)}))
        why = "" if "not found" in str(error) else f" and PEFT refuses: {error}"
        raise ModelError(
            f"adapter.targets is {targets!r}, but the model's linear layers are named {known}{why}"
        ) from error


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers that get adapters, whole or of few bits, in the model's order.

    Left out are the output head and, in a mixture of experts, its routers: a router that moves re-assigns tokens, and
    experts that are fused into one tensor are no linear layers; PEFT's ``all-linear`` wraps both and then refuses
    dropout, DoRA and a bias.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    from graft.models.facts import expert_counts

    mixture = expert_counts(model.config.to_dict())[0] > 0
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not head
        and not (mixture and name.rsplit(".", 1)[-1] in ROUTERS)
    ]


def keep_masters(model: PreTrainedModel) -> PreTrainedModel:
    """Let the adapters hold float32 and compute in the type of their input, in place.

    Names in the state dict and saved files stay PEFT's. Where the input is float32 nothing changes, to the bit.

    Args:
        model: has PEFT's LoRA layers.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if not isinstance(layer, LoraLayer):
            continue
        layer.cast_input_dtype_enabled = False
        for factor in (*layer.lora_A.values(), *layer.lora_B.values()):
            if type(factor) is torch.nn.Linear:
                factor.float()
                factor.__class__ = master_linear()
        for magnitude in layer.lora_magnitude_vector.values():
            magnitude.float()
    return model


@cache
def master_linear() -> Any:
    """The class of a linear layer whose weight is cast to the type of the input, and its gradient back.

    It is made on the first call because torch loads late; there is one.
    """
    import torch

    class MasterLinear(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            bias = None if self.bias is None else self.bias.to(input.dtype)
            return torch.nn.functional.linear(input, self.weight.to(input.dtype), bias)

    return MasterLinear


def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put a saved adapter onto its base model.

    Raises:
        ModelError: the adapter is damaged or was trained on a model of another shape.
    """
    from peft import PeftModel

    try:
        return keep_masters(PeftModel.from_pretrained(model, str(folder))).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"cannot put the adapter {folder} onto {model.name_or_path}: {error}") from error


def count_parameters(model: PreTrainedModel) -> tuple[int, int]:
    """Total and trainable parameters; tied weights count once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
