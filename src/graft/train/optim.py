"""Optimizers by name: AdamW, and Muon for the matrices with AdamW for everything else, behind one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from transformers.pytorch_utils import Conv1D

from graft.config.optimization import GRAFT_OPTIMIZERS
from graft.errors import ConfigError, choices
from graft.train.rounding import RoundedAdamW

BETAS: Final = (0.9, 0.95)
MOMENTUM: Final = 0.95


def build_optimizer(
    model: nn.Module,
    name: str,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = BETAS,
    momentum: float = MOMENTUM,
    rounded: bool = False,
) -> Optimizer:
    """Build the optimizer of a model's trainable parameters.

    ``adamw`` updates everything by AdamW. ``muon`` updates the matrices of the hidden linear layers by Muon and the
    rest by AdamW: embeddings, head, norms, biases, convolutions, experts that are one tensor, LoRA factors. Muon's step
    is scaled to AdamW's root mean square, so both share one learning rate. Decay never touches vectors (norms, biases).
    On CUDA AdamW is PyTorch's fused kernel, which needs no memory beside its state; elsewhere its plain loop, whose
    digits earlier trainings have.

    Args:
        model: its parameters with ``requires_grad`` are trained.
        name: ``adamw`` or ``muon``.
        learning_rate: peak rate, above 0; a scheduler scales both parts alike.
        weight_decay: decoupled decay of matrices and tables.
        betas: AdamW's decay rates of the two moments, each in [0, 1).
        momentum: Muon's momentum (Nesterov), in [0, 1).
        rounded: bfloat16 weights and moments are rounded stochastically; ``adamw`` only.

    Returns:
        One optimizer; its `state_dict` holds both parts.

    Raises:
        ConfigError: there is no optimizer of that name.

    Source: Muon: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the scale: Liu et al.
    2025, "Muon is Scalable for LLM Training", section 2.2.
    """
    if name not in GRAFT_OPTIMIZERS:
        raise ConfigError(f"unknown optimizer '{name}'. {choices(name, GRAFT_OPTIMIZERS)}")
    trained = [(key, parameter) for key, parameter in model.named_parameters() if parameter.requires_grad]
    hidden = _hidden_matrices(model) if name == "muon" else set()
    matrices = [weight for _, weight in trained if id(weight) in hidden]
    rest = [parameter for _, parameter in trained if id(parameter) not in hidden]
    groups = [
        {"params": [parameter for parameter in rest if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in rest if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if rounded:
        return RoundedAdamW(groups, lr=learning_rate, betas=betas)
    fused = True if rest and all(parameter.is_cuda for parameter in rest) else None
    if not matrices:
        return AdamW(groups, lr=learning_rate, betas=betas, fused=fused)
    muon = Muon(
        matrices, lr=learning_rate, weight_decay=weight_decay, momentum=momentum, adjust_lr_fn="match_rms_adamw"
    )
    return MuonAdamW(muon, AdamW(groups, lr=learning_rate, betas=betas, fused=fused)) if groups else muon


class MuonAdamW(Optimizer):
    """Muon and AdamW, each on its own parameters, as one optimizer.

    Schedulers, clipping and checkpoints see one list of parameter groups and one state; the parts work on the same
    objects.

    Args:
        muon: holds the matrices.
        adamw: holds the rest.
    """

    def __init__(self, muon: Muon, adamw: AdamW) -> None:
        self._parts: tuple[Optimizer, Optimizer] = (muon, adamw)
        self._borders = (0, len(muon.param_groups), len(muon.param_groups) + len(adamw.param_groups))
        super().__init__([*muon.param_groups, *adamw.param_groups], {"lr": adamw.defaults["lr"]})
        self._share()

    def _share(self) -> None:
        for part, start, stop in zip(self._parts, self._borders, self._borders[1:], strict=False):
            part.param_groups = self.param_groups[start:stop]
            part.state = self.state

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters once.

        Args:
            closure: recomputes the loss and its gradients, once, before the update.

        Returns:
            The closure's loss, if any.
        """
        loss = closure() if closure is not None else None
        for part in self._parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a saved state; the parts then work on it."""
        super().load_state_dict(state_dict)
        self._share()


def _hidden_matrices(model: nn.Module) -> set[int]:
    """Ids of the matrices that map hidden states to hidden states, by what holds them.

    They are the weights of linear layers that are no head, share none with an embedding, and are no factors of LoRA,
    which are products of two: orthogonal updates suit none of those.
    """
    own: Any = model
    head = own.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    modules = list(model.modules())
    inside = {id(part) for module in modules if isinstance(module, BaseTunerLayer) for part in _factors(module)}
    tables = {id(m.weight) for m in modules if isinstance(m, nn.Embedding) or m is head}
    linear = [m for m in modules if isinstance(m, nn.Linear | Conv1D) and id(m) not in inside]
    return {id(module.weight) for module in linear} - tables


def _factors(layer: Any) -> Iterator[nn.Module]:
    """What PEFT put beside the layer that it adapts."""
    for name in layer.adapter_layer_names:
        part = getattr(layer, name, None)
        if isinstance(part, nn.Module):
            yield from part.modules()
