"""Rounding that is right on average, and the AdamW that uses it."""

from __future__ import annotations

import pytest
import torch

from graft.train.rounding import RoundedAdamW, round_stochastically


def test_the_mean_of_many_roundings_is_the_number_itself() -> None:
    noise = torch.Generator().manual_seed(0)
    exact = torch.tensor([1.001, -3.0001, 1e-20, 0.0, 7.0])
    drawn = torch.stack([round_stochastically(exact, noise).double() for _ in range(4000)])
    torch.testing.assert_close(drawn.mean(0), exact.double(), rtol=3e-4, atol=0)
    below, above = torch.tensor(1.0), torch.tensor(1.0078125)
    assert set(drawn[:, 0].tolist()) == {float(below), float(above)}


def test_what_is_no_number_stays_so() -> None:
    exact = torch.tensor([torch.inf, -torch.inf, torch.nan])
    rounded = round_stochastically(exact, torch.Generator().manual_seed(0))
    torch.testing.assert_close(rounded.float(), exact, equal_nan=True)


def test_in_float32_it_is_plain_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(3, 5)) for _ in range(2))
    options = {"lr": 1e-2, "betas": (0.9, 0.95), "weight_decay": 0.1}
    pair = RoundedAdamW([ours], **options), torch.optim.AdamW([theirs], **options)
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(3, 5)
        for optimizer in pair:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("rate", [1e-5, 1e-3])
def test_steps_that_nearest_rounding_loses_add_up(rate: float) -> None:
    weight = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
    optimizer = RoundedAdamW([weight], lr=rate, betas=(0.9, 0.95))
    for _ in range(20):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert float(weight.detach().float().mean()) == pytest.approx(1 - 20 * rate, abs=4e-4 * rate / 1e-3 + 5e-5)
