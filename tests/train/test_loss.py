"""The loss in chunks is the plain cross-entropy, and so is its gradient."""

from __future__ import annotations

import pytest
import torch

from graft.errors import DataError
from graft.models.head import Head
from graft.train import loss as losses
from graft.train.loss import head_loss

N, D, V = 23, 8, 50


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(N, D), torch.randint(V, (N,))


def head(bias: bool = False, softcap: float | None = None) -> Head:
    torch.manual_seed(1)
    layer = torch.nn.Linear(D, V, bias=bias)
    return Head(layer, None if softcap is None else lambda hidden_ND: softcap * torch.tanh(layer(hidden_ND) / softcap))


@pytest.fixture(params=[1, 7, 1000])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(losses, "chunk_size", lambda vocabulary: request.param)
    return int(request.param)


def both(made: Head, allowed: tuple[int, ...] | None = None) -> list[tuple[torch.Tensor, ...]]:
    """Loss, number right and gradients, in chunks and the plain way."""
    results = []
    for plain in (False, True):
        hidden_ND, targets_N = tensors()
        hidden_ND.requires_grad_()
        if allowed:
            targets_N = torch.tensor(allowed)[targets_N % len(allowed)]
        made.module.zero_grad()
        if plain:
            logits_NV = made(hidden_ND)
            if allowed:
                outside = torch.ones(V, dtype=torch.bool)
                outside[list(allowed)] = False
                logits_NV = logits_NV.masked_fill(outside, -torch.inf)
            total = torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum")
            right = (logits_NV.argmax(-1) == targets_N).sum()
        else:
            total, right = head_loss(made, hidden_ND, targets_N, allowed=allowed)
        (total / 3).backward()
        assert hidden_ND.grad is not None
        results.append((total.detach(), right, hidden_ND.grad, *(p.grad.clone() for p in made.module.parameters())))
    return results


@pytest.mark.parametrize("options", [{}, {"bias": True}, {"softcap": 2.0}, {"bias": True, "softcap": 3.0}])
@pytest.mark.usefixtures("chunk")
def test_chunks_give_the_plain_loss_and_gradient(options: dict[str, float]) -> None:
    ours, plain = both(head(**options))  # type: ignore[arg-type]
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("options", [{}, {"bias": True}, {"softcap": 2.0}])
@pytest.mark.usefixtures("chunk")
def test_chunks_over_allowed_ids_give_the_plain_loss_and_gradient(options: dict[str, float]) -> None:
    ours, plain = both(head(**options), allowed=(0, 3, 4, 11, 49))  # type: ignore[arg-type]
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_a_frozen_head_gets_no_gradient() -> None:
    made = head()
    made.module.requires_grad_(False)
    hidden_ND, targets_N = tensors()
    total, _ = head_loss(made, hidden_ND.requires_grad_(), targets_N)
    total.backward()
    assert made.module.weight.grad is None
    assert hidden_ND.grad is not None
    assert hidden_ND.grad.abs().sum() > 0


def test_bfloat16_stays_close() -> None:
    hidden_ND, targets_N = tensors()
    exact, _ = head_loss(head(), hidden_ND, targets_N)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = head_loss(head(), hidden_ND, targets_N)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=1e-2)


def test_a_target_outside_the_allowed_ids_is_refused() -> None:
    hidden_ND, targets_N = tensors()
    with pytest.raises(DataError, match="lie outside the restricted vocabulary"):
        head_loss(head(), hidden_ND, targets_N, allowed=(1, 2))


def test_logits_of_all_positions_never_exist() -> None:
    seen: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[name-defined, misc]
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                seen.append(result.numel())
            return result

    torch.manual_seed(0)
    rows = 4 * losses.chunk_size(4096)
    hidden_ND, made = torch.randn(rows, 4, requires_grad=True), Head(torch.nn.Linear(4, 4096, bias=False))
    targets_N = torch.randint(4096, (rows,))
    with Watch():
        head_loss(made, hidden_ND, targets_N)[0].backward()
    assert max(seen) <= losses.CHUNK_ENTRIES < rows * 4096
