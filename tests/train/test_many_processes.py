"""Two gloo processes on the CPU against one: same gradients, same checkpoints, and each goes on from the other."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import toy_model
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from graft.errors import ConfigError, TrainError
from graft.models.adapters import add_lora
from graft.models.forward import pad_rows
from graft.train import processes
from graft.train.backends import fit_with
from graft.train.checkpoints import WEIGHTS, list_checkpoints
from graft.train.engine import fit
from graft.train.memory import Memory
from graft.train.plan import Hooks, Plan, StepReport
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAD = 4090
ARCHITECTURES = ("qwen3", "llama", "gpt2", "qwen3-moe")
BUDGETS = (1, 40, 10_000)
QUICK = (("ddp", "qwen3", 40), ("ddp", "qwen3-moe", 40), ("fsdp", "qwen3", 40))
THOROUGH = tuple(
    (parallel, name, budget)
    for parallel in ("ddp", "fsdp")
    for name in (ARCHITECTURES if parallel == "ddp" else ("qwen3", "llama"))
    for budget in BUDGETS
    if (parallel, name, budget) not in QUICK
)
SECONDS = 240
PLAN = Plan(
    steps=4, batch_size=6, token_budget=64, learning_rate=1e-2, optimizer="adamw", schedule="linear", warmup_steps=1,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=2, keep_last=9,
    parallel="ddp",
)  # fmt: skip
MASTERS = replace(PLAN, parallel="fsdp", bfloat16=True, learning_rate=1e-4)
ONE_STEP = replace(PLAN, steps=1, max_grad_norm=1e9, save_steps=None)


def some_rows(count: int, seed: int = 0) -> list[TokenRow]:
    rng = random.Random(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4000) for _ in range(rng.randint(low, high)))

    return [TokenRow(ids(0 if index % 5 == 0 else 3, 12), (*ids(1, 9), 4093)) for index in range(count)]


def gradients(model: PreTrainedModel, rows: list[TokenRow], plan: Plan, folder: Path) -> dict[str, torch.Tensor]:
    """The gradients that the optimizer gets in a training of one step."""
    found: dict[str, torch.Tensor] = {}

    def note(*_: Any) -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                grad = parameter.grad.full_tensor() if isinstance(parameter.grad, DTensor) else parameter.grad
                found[name] = grad.clone()

    hook = register_optimizer_step_pre_hook(note)
    try:
        fit(model, rows, replace(plan, batch_size=len(rows)), pad_id=PAD, folder=folder)
    finally:
        hook.remove()
    return found


def plain_gradients(model: torch.nn.Module, rows: list[TokenRow]) -> dict[str, torch.Tensor]:
    """The textbook way: one padded batch with an attention mask, full logits, mean loss over the trained tokens."""
    ids_BT, labels_BT = pad_rows(rows, PAD)
    mask_BT = torch.tensor([[1] * len(row) + [0] * (ids_BT.shape[1] - len(row)) for row in rows])
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT).logits
    torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def adapted() -> PreTrainedModel:
    return add_lora(toy_model(), r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0)


def train(folder: Path, plan: Plan = PLAN, model: PreTrainedModel | None = None, until: int | None = None) -> Any:
    """Train in a folder, from its newest checkpoint; the reports and the model."""
    reports: list[StepReport] = []

    def stop(step: int) -> None:
        if step == until:
            raise StopEarlyError

    model = model or toy_model()
    rows = some_rows(plan.rows)
    try:
        result = fit(model, rows, plan, pad_id=PAD, folder=folder, hooks=Hooks(on_report=reports.append, on_step=stop))
    except StopEarlyError:
        result = None
    return reports, model, result


class StopEarlyError(Exception):
    pass


# What the pair does; every function leaves files below a folder, written by the first process.


def pair_gradients(folder: Path) -> None:
    leave_gradients(folder, QUICK)
    leave_gradients_of_one_row(folder, "ddp")


def slow_pair_gradients(folder: Path) -> None:
    leave_gradients(folder, THOROUGH)
    leave_gradients_of_one_row(folder, "fsdp")


def leave_gradients(folder: Path, cases: tuple[tuple[Any, str, int], ...]) -> None:
    for parallel, architecture, budget in cases:
        plan = replace(ONE_STEP, token_budget=budget, parallel=parallel)
        found = gradients(toy_model(architecture), some_rows(12), plan, folder / "none")
        keep(found, folder / f"{parallel}-{architecture}-{budget}.pt")


def leave_gradients_of_one_row(folder: Path, parallel: Any) -> None:
    found = gradients(toy_model(), some_rows(1), replace(ONE_STEP, parallel=parallel), folder / "none")
    keep(found, folder / f"{parallel}-one-row.pt")


def pair_checkpoints(folder: Path) -> None:
    leave_checkpoints(folder, "ddp")
    leave_checkpoints(folder, "fsdp")


def leave_checkpoints(folder: Path, parallel: Any) -> None:
    reports, model, result = train(folder / parallel, replace(PLAN, parallel=parallel))
    facts = {key: result.facts[key] for key in ("processes", "parallel")} | {"type": type(model).__name__}
    facts |= {"dtensors": sum(isinstance(p, DTensor) for p in model.parameters())}
    keep([vars_of(report) for report in reports], folder / f"{parallel}-reports.pt")
    keep(facts, folder / f"{parallel}-facts.pt")
    keep(model.state_dict(), folder / f"{parallel}-weights.pt")
    if processes.is_first():
        assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def pair_resumes(folder: Path) -> None:
    leave_resumed(folder, "ddp")


def slow_pair_resumes(folder: Path) -> None:
    leave_resumed(folder, "fsdp")


def leave_resumed(folder: Path, parallel: Any) -> None:
    """Go on from what one process left, and leave something to go on from."""
    plan = replace(PLAN, parallel=parallel)
    reports, _, _ = train(folder / f"one-to-{parallel}", plan)
    keep([vars_of(report) for report in reports], folder / f"one-to-{parallel}.pt")
    processes.wait_for_all()
    train(folder / f"{parallel}-to-one", plan, until=3)
    processes.wait_for_all()


def slow_pair_adapters(folder: Path) -> None:
    for parallel in ("ddp", "fsdp"):
        model = adapted()
        reports, _, _ = train(folder / f"lora-{parallel}", replace(PLAN, parallel=parallel), model)  # type: ignore[arg-type]
        keep([vars_of(report) for report in reports], folder / f"lora-{parallel}.pt")


def slow_pair_masters(folder: Path) -> None:
    reports, model, _ = train(folder / "masters", MASTERS, toy_model().to(torch.bfloat16))
    keep([vars_of(report) for report in reports], folder / "masters-reports.pt")
    keep(model.state_dict(), folder / "masters-weights.pt")


def pair_memory(folder: Path) -> None:
    """Only the second process runs out of memory, once."""
    model, done = toy_model(), []
    memory = Memory(model, 64, "off", processes.any_process, processes.least)

    def attempt(tokens: int) -> int:
        done.append(tokens)
        if processes.rank() == 1 and len(done) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return tokens

    memory.run(attempt, some_rows(12))
    keep(processes.all_of(done), folder / "budgets.pt")


def pair_agrees(folder: Path) -> None:
    mine = processes.rank()
    told = (processes.most(mine), processes.least(mine), processes.from_first(mine), processes.any_process(mine == 1))
    keep(processes.all_of(told), folder / "agreed.pt")


def vars_of(report: StepReport) -> dict[str, float]:
    return {name: getattr(report, name) for name in ("step", "loss", "grad_norm", "accuracy")}


def keep(value: Any, path: Path) -> None:
    if processes.is_first():
        torch.save(value, path)


PAIR = (pair_agrees, pair_memory, pair_gradients, pair_checkpoints, pair_resumes)
SLOW_PAIR = (slow_pair_gradients, slow_pair_resumes, slow_pair_adapters, slow_pair_masters)


def in_a_group(rank: int, folder: str, port: int, works: tuple[Callable[[Path], None], ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "1", "TRANSFORMERS_VERBOSITY": "error"}  # fmt: skip
    torch.set_num_threads(1)
    processes.join()
    for work in works:
        work(Path(folder))
    processes.tell(None) if rank == 0 else list(processes.orders())
    processes.leave()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_pair(folder: Path, works: tuple[Callable[[Path], None], ...]) -> None:
    """Start two processes and wait for their end, but not for ever."""
    context = torch.multiprocessing.spawn(in_a_group, (str(folder), free_port(), works), nprocs=2, join=False)
    until = time.monotonic() + SECONDS
    try:
        while not context.join(timeout=1.0):
            assert time.monotonic() < until, "the two processes hang"
    finally:
        for process in context.processes:
            process.kill()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left; they start once, from what one process left here before."""
    folder = tmp_path_factory.mktemp("pair")
    train(folder / "one-to-ddp", until=3)
    run_pair(folder, PAIR)
    return folder


@pytest.fixture(scope="module")
def slow_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More of the same."""
    folder = tmp_path_factory.mktemp("slow-pair")
    train(folder / "one-to-fsdp", until=3)
    run_pair(folder, SLOW_PAIR)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StepReport], PreTrainedModel]:
    """The training of one process."""
    folder = tmp_path_factory.mktemp("alone")
    reports, model, _ = train(folder)
    return folder, reports, model


def assert_same_gradients(ours: dict[str, torch.Tensor], plain: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == plain.keys()
    for name, gradient in plain.items():
        assert (gradient - ours[name]).norm() / gradient.norm().clamp_min(1e-12) <= 1e-5, name


def assert_plain(folder: Path, parallel: str, architecture: str, budget: int) -> None:
    plain = plain_gradients(toy_model(architecture), some_rows(12))
    assert_same_gradients(torch.load(folder / f"{parallel}-{architecture}-{budget}.pt"), plain)


@pytest.mark.parametrize(("parallel", "architecture", "budget"), QUICK)
def test_two_processes_have_the_gradient_of_the_plain_batch(
    pair: Path, parallel: str, architecture: str, budget: int
) -> None:
    assert_plain(pair, parallel, architecture, budget)


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "architecture", "budget"), THOROUGH)
def test_no_budget_changes_the_gradient_of_two_processes(
    slow_pair: Path, parallel: str, architecture: str, budget: int
) -> None:
    assert_plain(slow_pair, parallel, architecture, budget)


def test_a_process_without_a_row_of_the_step_adds_nothing(pair: Path) -> None:
    assert_same_gradients(torch.load(pair / "ddp-one-row.pt"), plain_gradients(toy_model(), some_rows(1)))


@pytest.mark.slow
def test_a_process_without_a_row_passes_through_a_spread_model(slow_pair: Path) -> None:
    assert_same_gradients(torch.load(slow_pair / "fsdp-one-row.pt"), plain_gradients(toy_model(), some_rows(1)))


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_reports_are_those_of_one_process(pair: Path, parallel: str, alone: Any) -> None:
    reports = torch.load(pair / f"{parallel}-reports.pt")
    for ours, theirs in zip(reports, map(vars_of, alone[1]), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    facts = torch.load(pair / f"{parallel}-facts.pt")
    assert facts == {"processes": 2, "parallel": parallel, "type": "Qwen3ForCausalLM", "dtensors": 0}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_checkpoints_are_those_of_one_process(pair: Path, parallel: str, alone: Any) -> None:
    folder = alone[0]
    names = [path.name for path in list_checkpoints(folder)]
    assert [path.name for path in list_checkpoints(pair / parallel)] == names == ["checkpoint-4", "checkpoint-2"]
    for name in names:
        ours, theirs = pair / parallel / name, folder / name
        assert sorted(p.name for p in ours.iterdir()) == sorted(p.name for p in theirs.iterdir())
        close(load_file(ours / WEIGHTS), load_file(theirs / WEIGHTS))
        record, other = (json.loads((path / "graft.json").read_text()) for path in (ours, theirs))
        assert (record["model"], record["step"], record["rows_read"]) == (
            other["model"],
            other["step"],
            other["rows_read"],
        )
        states = [torch.load(path / "optimizer.pt", weights_only=True)["state"] for path in (ours, theirs)]
        assert states[0].keys() == states[1].keys()
        for index, state in states[1].items():
            close(states[0][index], state)
    close(torch.load(pair / f"{parallel}-weights.pt"), alone[2].state_dict())


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-4, rtol=1e-4, msg=name)


RESUMED = ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)]


def left_by(parallel: str, request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue("pair" if parallel == "ddp" else "slow_pair")
    return folder


@pytest.mark.parametrize("parallel", RESUMED)
def test_two_processes_go_on_where_one_stopped(request: pytest.FixtureRequest, parallel: str, alone: Any) -> None:
    reports = torch.load(left_by(parallel, request) / f"one-to-{parallel}.pt")
    assert [report["step"] for report in reports] == [3, 4]
    assert [report["loss"] for report in reports] == pytest.approx([r.loss for r in alone[1][2:]], rel=1e-5)


@pytest.mark.parametrize("parallel", RESUMED)
def test_one_process_goes_on_where_two_stopped(
    request: pytest.FixtureRequest, tmp_path: Path, parallel: str, alone: Any
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(left_by(parallel, request) / f"{parallel}-to-one", folder)
    assert [path.name for path in list_checkpoints(folder)] == ["checkpoint-2"]
    reports, _, _ = train(folder)
    assert [report.loss for report in reports] == pytest.approx([r.loss for r in alone[1][2:]], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_adapters_train_as_with_one_process(slow_pair: Path, tmp_path: Path, parallel: str) -> None:
    reports, _, _ = train(tmp_path, model=adapted())
    ours = torch.load(slow_pair / f"lora-{parallel}.pt")
    assert [report["loss"] for report in ours] == pytest.approx([report.loss for report in reports], rel=1e-5)


@pytest.mark.slow
def test_a_spread_model_in_bfloat16_moves_by_float32_masters(slow_pair: Path, tmp_path: Path) -> None:
    reports, model, _ = train(tmp_path, MASTERS, toy_model().to(torch.bfloat16))
    ours = torch.load(slow_pair / "masters-reports.pt")
    assert [report["loss"] for report in ours] == pytest.approx([report.loss for report in reports], rel=2e-3)
    stored = load_file(slow_pair / "masters" / "checkpoint-4" / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    weights = torch.load(slow_pair / "masters-weights.pt")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    start = toy_model().to(torch.bfloat16).state_dict()
    steps = [torch.cat([(found[name].double() - start[name].double()).flatten() for name in start])
             for found in (weights, model.state_dict())]  # fmt: skip
    assert float(steps[0] @ steps[1] / (steps[1] @ steps[1])) == pytest.approx(1.0, abs=0.1)


def test_all_halve_when_one_runs_out_of_memory(pair: Path) -> None:
    assert torch.load(pair / "budgets.pt") == [[64, 32], [64, 32]]


def test_processes_agree(pair: Path) -> None:
    assert torch.load(pair / "agreed.pt") == [[1, 0, 0, True]] * 2


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_shares_hold_every_row_once_and_are_balanced(count: int) -> None:
    rows = some_rows(30)
    shares = [processes.share_of(rows, index, count) for index in range(count)]
    assert sorted(id(row) for share in shares for row in share) == sorted(map(id, rows))
    tokens = [sum(map(len, share)) for share in shares]
    assert max(tokens) - min(tokens) <= max(map(len, rows))


def test_a_process_that_was_told_too_little_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set.*torchrun"):
        processes.join()


@pytest.mark.parametrize("engine", ["trl"])
def test_other_engines_refuse_many_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"engine\.name is trl.*2 processes.*engine\.name: native"):
        fit_with(engine, toy_model(), some_rows(24), PLAN, pad_id=PAD, folder=tmp_path)


def test_a_sharded_step_without_memory_is_refused_with_what_to_do() -> None:
    from graft.train.engine import _cannot_repeat

    assert not _cannot_repeat(False)
    with pytest.raises(TrainError, match=r"engine\.parallel: fsdp.*lower engine\.token_budget"):
        _cannot_repeat(True)


def fails_in_one(folder: Path) -> None:
    """The second process fails where the first one waits for it."""
    with processes.failing_together():
        if processes.rank() == 1:
            raise TrainError("no luck")
        try:
            processes.wait_for_all()
        except RuntimeError as error:
            (folder / "noticed").write_text(type(error).__name__)
            raise


@pytest.mark.slow
def test_the_failure_of_one_ends_all_soon(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="no luck"):
        run_pair(tmp_path, (fails_in_one,))
    assert time.monotonic() - began < 60
    assert timedelta(minutes=1) < processes.LONGEST_WAIT
