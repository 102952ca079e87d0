from __future__ import annotations

import os
import random
import socket
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tests.conftest import toy_model

from graft.errors import ConfigError, TrainError
from graft.models.adapters import add_lora
from graft.models.forward import answer_hidden, answer_logits, head_of, pad_rows
from graft.runs.manifest import MARKER
from graft.train.engine import fit
from graft.train.layout import Layout, by_budget
from graft.train.loss import head_loss
from graft.train.plan import Hooks, Plan, StepReport
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAD = 4090
PLAN = Plan(
    steps=4, batch_size=6, token_budget=64, learning_rate=1e-2, optimizer="adamw", schedule="linear", warmup_steps=1,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None, keep_last=2,
)  # fmt: skip


def some_rows(count: int, seed: int = 0) -> list[TokenRow]:
    rng = random.Random(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4000) for _ in range(rng.randint(low, high)))

    return [TokenRow(ids(0 if index % 5 == 0 else 3, 12), (*ids(1, 9), 4093)) for index in range(count)]


def plain_gradients(model: torch.nn.Module, rows: list[TokenRow]) -> dict[str, torch.Tensor]:
    """The textbook way: one padded batch with an attention mask, full logits, mean loss over the trained tokens."""
    ids_BT, labels_BT = pad_rows(rows, PAD)
    mask_BT = torch.tensor([[1] * len(row) + [0] * (ids_BT.shape[1] - len(row)) for row in rows])
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT).logits
    loss = torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten())
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def engine_gradients(model: torch.nn.Module, rows: list[TokenRow], budget: int) -> dict[str, torch.Tensor]:
    trained = sum(int((pad_rows(group, PAD)[1] != -100).sum()) for group in by_budget(rows, budget))
    for group in by_budget(rows, budget):
        logits_NV, targets_N = answer_logits(model, *pad_rows(group, PAD))
        (torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum") / trained).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2", "qwen3-moe"])
@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_the_layout_of_a_step_never_changes_its_gradient(architecture: str, budget: int) -> None:
    rows = some_rows(12)
    plain = plain_gradients(toy_model(architecture), rows)
    ours = engine_gradients(toy_model(architecture), rows, budget)
    assert plain.keys() == ours.keys()
    for name, gradient in plain.items():
        error = (gradient - ours[name]).norm() / gradient.norm().clamp_min(1e-12)
        assert error < 1e-5, name


def test_one_step_of_the_engine_is_one_step_of_plain_adamw(tmp_path: Path) -> None:
    rows = some_rows(6)
    plan = replace(PLAN, steps=1, warmup_steps=0, schedule="constant", max_grad_norm=1e9)
    trained = toy_model()
    fit(trained, rows, plan, pad_id=PAD, folder=tmp_path)
    reference = toy_model()
    plain_gradients(reference, rows)
    torch.optim.AdamW(reference.parameters(), lr=plan.learning_rate, betas=(0.9, 0.95), weight_decay=0.0).step()
    for (name, ours), theirs in zip(trained.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3, msg=name)


def test_micro_batches_keep_every_row_and_respect_the_budget() -> None:
    rows = some_rows(50)
    groups = by_budget(rows, 60)
    assert sorted(map(hash, (row for group in groups for row in group))) == sorted(map(hash, rows))
    assert all(len(group) * max(map(len, group)) <= 60 for group in groups if len(group) > 1)


def test_only_the_completion_and_its_end_carry_loss() -> None:
    _, labels = pad_rows([TokenRow((5, 6, 7), (8, 4093)), TokenRow((), (1, 2, 3))], PAD)
    assert labels.tolist() == [[-100, -100, -100, 8, 4093], [-100, 2, 3, -100, -100]]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first, second = toy_model(), toy_model()
    for number, model in enumerate((first, second)):
        fit(model, some_rows(24), PLAN, pad_id=PAD, folder=tmp_path / str(number))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_training_on_few_rows_learns_them(tmp_path: Path) -> None:
    reports: list[StepReport] = []
    rows = some_rows(6) * 30
    model = toy_model()
    result = fit(
        model, rows, replace(PLAN, steps=30), pad_id=PAD, folder=tmp_path, hooks=Hooks(on_report=reports.append)
    )
    assert reports[-1].loss < 0.3 * reports[0].loss
    assert (result.steps, result.tokens) == (30, sum(map(len, rows)))
    assert not model.training


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adamw_torch"])
@pytest.mark.parametrize("adapted", [False, True])
def test_a_training_cut_short_ends_in_the_same_weights_when_continued(
    tmp_path: Path, optimizer: str, adapted: bool
) -> None:
    def model() -> torch.nn.Module:
        toy = toy_model()
        return add_lora(toy, r=4, alpha=8, dropout=0.1, targets="all-linear", seed=0) if adapted else toy

    plan = replace(PLAN, steps=6, save_steps=2, optimizer=optimizer)
    rows = some_rows(36)
    whole, begun, continued = model(), model(), model()
    fit(whole, rows, plan, pad_id=PAD, folder=tmp_path / "whole")

    def stop_at(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(begun, rows, plan, pad_id=PAD, folder=tmp_path / "cut", hooks=Hooks(on_step=stop_at))
    (tmp_path / "cut" / "checkpoint-9").mkdir()  # a checkpoint that was being written: no marker, never resumed from
    steps: list[int] = []
    fit(continued, rows, plan, pad_id=PAD, folder=tmp_path / "cut", hooks=Hooks(on_step=steps.append))
    assert steps == [5, 6]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), continued.parameters(), strict=True))


def test_only_complete_checkpoints_carry_the_marker(tmp_path: Path) -> None:
    fit(toy_model(), some_rows(24), replace(PLAN, save_steps=1), pad_id=PAD, folder=tmp_path)
    kept = sorted(path.name for path in tmp_path.glob("checkpoint-*") if (path / MARKER).is_file())
    assert kept == ["checkpoint-3", "checkpoint-4"]


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    model = toy_model()
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(TrainError, match=r"loss became nan at step 1.*lower train\.learning_rate"):
        fit(model, some_rows(24), PLAN, pad_id=PAD, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adamv"}, r"train\.optimizer is 'adamv'.*Did you mean 'adamw'"),
        ({"schedule": "linaer"}, r"train\.schedule is 'linaer'.*Did you mean 'linear'"),
    ],
)
def test_an_unknown_name_lists_the_choices(tmp_path: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(toy_model(), some_rows(24), replace(PLAN, **change), pad_id=PAD, folder=tmp_path)


def test_a_restricted_softmax_trains_as_if_the_rest_of_the_vocabulary_were_not_there(tmp_path: Path) -> None:
    rows = some_rows(6)
    allowed = tuple(sorted({token for row in rows for token in row.completion} | set(range(0, 4000, 7))))
    plan = replace(PLAN, steps=1, warmup_steps=0, schedule="constant", max_grad_norm=1e9, allowed_ids=allowed)
    reports: list[StepReport] = []
    fit(toy_model(), rows, plan, pad_id=PAD, folder=tmp_path, hooks=Hooks(on_report=reports.append))
    logits_NV, targets_N = answer_logits(toy_model(), *pad_rows(rows, PAD))
    outside = torch.ones(4096, dtype=torch.bool)
    outside[list(allowed)] = False
    masked = logits_NV.masked_fill(outside, float("-inf"))
    assert reports[0].loss == pytest.approx(torch.nn.functional.cross_entropy(masked, targets_N).item(), rel=1e-5)


def test_a_wrong_number_of_rows_is_refused(tmp_path: Path) -> None:
    for rows in (18, 25):
        with pytest.raises(TrainError, match=f"4 steps need 19 to 24 rows, but got {rows}"):
            fit(toy_model(), some_rows(rows), PLAN, pad_id=PAD, folder=tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [(TokenRow((1, 2), ()), "row 3 has no trained token: it has no answer"),
     (TokenRow((), (4093,)), "row 3 has no trained token: its only token has none before it")],
)  # fmt: skip
def test_a_row_without_a_trained_token_is_refused_before_training(tmp_path: Path, row: TokenRow, message: str) -> None:
    rows = some_rows(24)
    rows[3] = row
    steps: list[int] = []
    with pytest.raises(TrainError, match=message):
        fit(toy_model(), rows, PLAN, pad_id=PAD, folder=tmp_path, hooks=Hooks(on_step=steps.append))
    assert not steps


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_reports_carry_accuracy_and_the_result_how_it_was_done(tmp_path: Path, layout: Any) -> None:
    rows, reports = some_rows(24), list[StepReport]()
    plan = replace(PLAN, layout=layout, learning_rate=1e-9)
    result = fit(toy_model(), rows, plan, pad_id=PAD, folder=tmp_path, hooks=Hooks(on_report=reports.append))
    logits_NV, targets_N = answer_logits(toy_model(), *pad_rows(rows[:6], PAD))
    assert reports[0].accuracy == pytest.approx((logits_NV.argmax(-1) == targets_N).float().mean().item())
    assert reports[0].tokens_per_second > 0
    facts = {key: result.facts[key] for key in ("layout", "attention", "token_budget", "device", "precision")}
    attention = {"packed": "per-document", "padded": "eager"}[layout]
    assert facts == {"layout": layout, "attention": attention, "token_budget": 64, "device": "cpu",
                     "precision": "float32"}  # fmt: skip


def test_packed_and_padded_layouts_give_the_same_losses(tmp_path: Path) -> None:
    losses = []
    for layout, budget in (("packed", 64), ("padded", 64), ("packed", 10_000), ("padded", 1)):
        reports: list[StepReport] = []
        plan = replace(PLAN, layout=layout, token_budget=budget)
        folder = tmp_path / f"{layout}{budget}"
        fit(toy_model(), some_rows(24), plan, pad_id=PAD, folder=folder, hooks=Hooks(on_report=reports.append))
        losses.append([report.loss for report in reports])
    assert all(other == pytest.approx(losses[0], abs=1e-5) for other in losses[1:])


def seq2seq_model(kind: str) -> PreTrainedModel:
    from transformers import AutoModelForSeq2SeqLM, BartConfig, T5Config

    special = {"pad_token_id": PAD, "eos_token_id": 4093, "decoder_start_token_id": PAD, "vocab_size": 4096}
    configs = {
        "t5": T5Config(d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, dropout_rate=0.0, **special),
        "bart": BartConfig(d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
                           encoder_attention_heads=4, decoder_attention_heads=4, dropout=0.0,
                           max_position_embeddings=64, forced_eos_token_id=None, **special),
    }  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForSeq2SeqLM.from_config(configs[kind], attn_implementation="eager").eval()


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_decoder_gets_the_gradient_of_the_plain_batch(kind: str) -> None:
    rows = [TokenRow(row.prompt or (5, 6), row.completion) for row in some_rows(8)]
    plain, ours = seq2seq_model(kind), seq2seq_model(kind)
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.prompt) for row in rows], True, PAD)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row.prompt), dtype=torch.long) for row in rows], True, 0)
    labels = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.completion) for row in rows], True, -100)
    plain(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    trained = sum(len(row.completion) for row in rows)
    for batch in Layout("seq2seq", PAD, start_id=PAD).micro_batches(rows, 60):
        (head_loss(head_of(ours), answer_hidden(ours, batch), batch.targets_N)[0] / trained).backward()
    for (name, a), b in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None and b.grad is not None and a.grad.norm() > 1e-7:
            assert (a.grad - b.grad).norm() / a.grad.norm() < 2e-5, name


def test_an_encoder_decoder_learns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [TokenRow(row.prompt or (5, 6), row.completion) for row in some_rows(6)] * 20
    reports: list[StepReport] = []
    plan = replace(PLAN, steps=20, layout="packed")
    model = seq2seq_model("t5")
    fit(model, rows, plan, pad_id=PAD, folder=tmp_path, hooks=Hooks(on_report=reports.append))
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert "padded instead of packed: the model is an encoder-decoder" in caplog.text


def _train_as_one_of_two(rank: int, folder: str) -> None:
    """One process of a training by two; the first one keeps the weights."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": Path(folder, "port").read_text(), "ACCELERATE_USE_CPU": "1"}  # fmt: skip
    torch.set_num_threads(1)
    model = toy_model()
    fit(model, some_rows(14), replace(PLAN, steps=2, batch_size=7), pad_id=PAD, folder=Path(folder) / "run")
    if rank == 0:
        torch.save(model.state_dict(), Path(folder) / "weights.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_end_in_the_weights_of_one(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(listener.getsockname()[1]))
    torch.multiprocessing.spawn(_train_as_one_of_two, (str(tmp_path),), nprocs=2)
    alone = toy_model()
    fit(alone, some_rows(14), replace(PLAN, steps=2, batch_size=7), pad_id=PAD, folder=tmp_path / "alone")
    for name, weight in torch.load(tmp_path / "weights.pt").items():
        torch.testing.assert_close(weight, alone.state_dict()[name], atol=1e-4, rtol=1e-4, msg=name)


def test_the_engine_is_ready_within_seconds(tmp_path: Path) -> None:
    first: list[float] = []
    began = process_time()
    fit(toy_model(), some_rows(6), replace(PLAN, steps=1), pad_id=PAD, folder=tmp_path,
        hooks=Hooks(on_step=lambda step: first.append(process_time() - began)))  # fmt: skip
    assert first[0] < 5.0
