"""AdamW on bfloat16 weights without float32 copies: what is written is rounded up or down at random, by nearness.

A step much smaller than the distance of two bfloat16 numbers then moves a weight seldom, but by the right amount on
average; rounding to the nearest would never move it. Weight and both moments take 6 bytes per number together, where
float32 masters take 12.

Source: Zamirai et al. 2020, "Revisiting BFloat16 Training", section 3; the update: Loshchilov and Hutter 2019,
"Decoupled Weight Decay Regularization", algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

CHUNK = 2**22
"""Numbers that are held in float32 at once."""

_LOST_BITS = 16
"""Bits of a float32 that bfloat16 lacks."""


class RoundedAdamW(Optimizer):
    """AdamW whose bfloat16 weights and moments are rounded stochastically.

    The noise follows from the number of the step alone: a resumed training repeats it, and all processes draw the same.

    Args:
        params: parameters or groups of them; those of other types are updated the same way without rounding.
        lr: learning rate.
        betas: decay rates of the two moments, each in [0, 1).
        eps: added to the root of the second moment.
        weight_decay: decoupled decay.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float],
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters once.

        Args:
            closure: recomputes the loss and its gradients, once, before the update.

        Returns:
            The closure's loss, if any.
        """
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        noises: dict[torch.device, torch.Generator] = {}
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state |= {"step": 0, "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
                state["step"] += 1
                if weight.device not in noises:
                    noises[weight.device] = torch.Generator(weight.device).manual_seed(int(state["step"]))
                _update(weight, state, group, noises[weight.device])
        return loss


def _update(weight: torch.Tensor, state: dict[str, Any], group: dict[str, Any], noise: torch.Generator) -> None:
    """Move one tensor, piece by piece."""
    (first, second), rate, step = group["betas"], group["lr"], state["step"]
    assert weight.grad is not None
    tensors = (weight, weight.grad, state["exp_avg"], state["exp_avg_sq"])
    for own, gradient, mean, square in zip(*(t.view(-1).split(CHUNK) for t in tensors), strict=True):
        slope = gradient.float()
        exact_mean = mean.float().lerp_(slope, 1 - first)
        exact_square = square.float().mul_(second).addcmul_(slope, slope, value=1 - second)
        root = (exact_square / (1 - second**step)).sqrt_().add_(group["eps"])
        moved = own.float().mul_(1 - rate * group["weight_decay"])
        moved.addcdiv_(exact_mean, root, value=-rate / (1 - first**step))
        for place, exact in ((own, moved), (mean, exact_mean), (square, exact_square)):
            place.copy_(round_stochastically(exact, noise) if place.dtype == torch.bfloat16 else exact)


def round_stochastically(exact: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Round float32 to bfloat16, to either neighbour with the probability of its nearness.

    Args:
        exact: float32 of any shape.
        noise: what draws.

    Returns:
        bfloat16 of the same shape; its mean over draws is ``exact``. Infinities and NaN stay.
    """
    drawn = torch.randint(0, 2**_LOST_BITS, exact.shape, dtype=torch.int32, device=exact.device, generator=noise)
    bits = (exact.view(torch.int32) + drawn) & -(2**_LOST_BITS)
    return torch.where(exact.isfinite(), bits.view(torch.float32), exact).to(torch.bfloat16)
