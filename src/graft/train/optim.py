"""Optimizers by name: AdamW, and Muon for the matrices with AdamW for everything else, behind one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from graft.config.optimization import GRAFT_OPTIMIZERS
from graft.errors import ConfigError, choices

BETAS: Final = (0.9, 0.95)
MOMENTUM: Final = 0.95

_NOT_MUON: Final = ("embed_tokens", "lm_head", "lora_", "style_delta")
"""Matrices that are tables or low-rank factors: orthogonal updates suit neither."""


def build_optimizer(
    model: nn.Module,
    name: str,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = BETAS,
    momentum: float = MOMENTUM,
) -> Optimizer:
    """Build the optimizer of a model's trainable parameters.

    ``adamw`` updates everything by AdamW. ``muon`` updates the matrices of the hidden linear layers by Muon and the
    rest by AdamW: embeddings, head, norms, biases, LoRA factors. Muon's step is scaled to AdamW's root mean square, so
    both share one learning rate. Decay never touches vectors (norms, biases).

    Args:
        model: its parameters with ``requires_grad`` are trained.
        name: ``adamw`` or ``muon``.
        learning_rate: peak rate, above 0; a scheduler scales both parts alike.
        weight_decay: decoupled decay of matrices and tables.
        betas: AdamW's decay rates of the two moments, each in [0, 1).
        momentum: Muon's momentum (Nesterov), in [0, 1).

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
    matrices = [weight for key, weight in trained if name == "muon" and _is_hidden_matrix(key, weight)]
    taken = {id(weight) for weight in matrices}
    rest = [parameter for _, parameter in trained if id(parameter) not in taken]
    groups = [
        {"params": [parameter for parameter in rest if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in rest if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not matrices:
        return AdamW(groups, lr=learning_rate, betas=betas)
    muon = Muon(
        matrices, lr=learning_rate, weight_decay=weight_decay, momentum=momentum, adjust_lr_fn="match_rms_adamw"
    )
    return MuonAdamW(muon, AdamW(groups, lr=learning_rate, betas=betas)) if groups else muon


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


def _is_hidden_matrix(key: str, weight: nn.Parameter) -> bool:
    return weight.ndim == 2 and not any(part in key for part in _NOT_MUON)
