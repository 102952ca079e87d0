from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import toy_model

from graft.config.optimization import BITSANDBYTES, OPTIMIZERS, SCHEDULES
from graft.errors import ConfigError
from graft.train.engine import fit
from graft.train.loop import optimizer_options, own_optimizer
from graft.train.plan import Hooks, Plan, StepReport
from graft.train.rehearsal import rehearse
from graft.types import TokenRow

PLAN = Plan(
    steps=3, batch_size=2, token_budget=64, learning_rate=1e-3, optimizer="adamw", schedule="linear", warmup_steps=1,
    weight_decay=0.01, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None, keep_last=1,
)  # fmt: skip
ROWS = [TokenRow((5 + index, 9, 7), (3, 4093)) for index in range(6)]
NEEDED: dict[str, dict[str, Any]] = {
    "cosine_with_min_lr": {"min_lr": 1e-4},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 1},
}
CPU = torch.device("cpu")


def plan_of(optimizer: str, schedule: str, **changes: Any) -> Plan:
    warmup = 0 if schedule == "constant" else 1
    args = NEEDED.get(schedule, {})
    return replace(PLAN, optimizer=optimizer, schedule=schedule, schedule_args=args, warmup_steps=warmup, **changes)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_takes_every_schedule_to_its_peak(optimizer: str) -> None:
    if optimizer in BITSANDBYTES:
        pytest.importorskip("bitsandbytes")
    for schedule in SCHEDULES:
        if optimizer.startswith("paged_ademamix"):  # bitsandbytes has it for GPUs alone
            with pytest.raises(ConfigError, match=r"optimizer paged_ademamix_.* cannot be built for 3 steps: .*CPU"):
                rehearse(plan_of(optimizer, schedule), CPU)
        else:
            rehearse(plan_of(optimizer, schedule), CPU)


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [*((name, "linear") for name in OPTIMIZERS if not name.startswith("paged_ademamix")),
     *((name, schedule) for name in ("adamw", "muon", "sgd") for schedule in SCHEDULES)],
)  # fmt: skip
def test_every_optimizer_and_every_schedule_trains(optimizer: str, schedule: str, tmp_path: Path) -> None:
    if optimizer in BITSANDBYTES:
        pytest.importorskip("bitsandbytes")
    model = toy_model()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    reports: list[StepReport] = []
    fit(model, ROWS, plan_of(optimizer, schedule), pad_id=0, folder=tmp_path, hooks=Hooks(on_report=reports.append))
    assert len(reports) == 3
    assert max(report.learning_rate for report in reports) == pytest.approx(1e-3)
    assert any(not torch.equal(before[name], value) for name, value in model.named_parameters())


def test_settings_reach_the_optimizer_and_the_schedule(tmp_path: Path) -> None:
    floor = replace(plan_of("adamw", "cosine_with_min_lr"), schedule_args={"min_lr": "5e-4"}, steps=30, warmup_steps=0)
    options = optimizer_options(replace(floor, optimizer="sgd", optimizer_args={"momentum": 0.9, "nesterov": "true"}))
    assert options["optim_args"] == "momentum=0.9,nesterov=True"
    assert options["lr_scheduler_kwargs"] == {"min_lr": 5e-4}
    optimizer = own_optimizer(toy_model(), replace(PLAN, optimizer="adamw", optimizer_args={"beta1": 0.5}))
    assert optimizer is not None and optimizer.param_groups[0]["betas"] == (0.5, 0.95)
    reports: list[StepReport] = []
    fit(toy_model(), ROWS * 10, floor, pad_id=0, folder=tmp_path, hooks=Hooks(on_report=reports.append))
    assert reports[-1].learning_rate == pytest.approx(5e-4, rel=0.02)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"schedule": "warmup_stable_decay", "schedule_args": {"num_decay_steps": 9}},
            "to 0.117 times train.learning_rate instead of to 1",
        ),
        ({"schedule": "polynomial", "schedule_args": {"lr_end": 1.0}}, "must be smaller than initial lr"),
        ({"warmup_steps": 3}, "0 to 0.667 times train.learning_rate instead of to 1"),
        ({"optimizer": "sgd", "optimizer_args": {"nesterov": "true"}}, "Nesterov momentum requires a momentum"),
        ({"optimizer": "lomo"}, "Known: adafactor, adagrad, adamw"),
        ({"schedule": "greedy"}, "train.schedule is 'greedy'. Known: constant"),
    ],
)
def test_what_would_fail_after_the_base_was_scored_is_refused_before(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        rehearse(replace(PLAN, **change), CPU)
