from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from tests.conftest import toy_model
from transformers import T5Config, T5ForConditionalGeneration

from graft.evals import held_out
from graft.evals.exact import read_answers
from graft.evals.held_out import HeldOut, measure_rows
from graft.types import TokenRow

PAD = 4090


def some_rows(count: int = 23) -> list[TokenRow]:
    rng = random.Random(1)
    return [
        TokenRow(tuple(rng.randrange(4000) for _ in range(rng.randint(1, 9))), (*rng.sample(range(4000), 3), 4093))
        for _ in range(count)
    ]


def learned(model: torch.nn.Module, rows: list[TokenRow]) -> list[TokenRow]:
    """The same prompts with what the model itself would write, so that some rows match."""
    found = []
    for index, row in enumerate(rows):
        ids = list(row.prompt)
        for _ in row.completion:
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        found.append(TokenRow(row.prompt, tuple(ids[len(row.prompt) :])) if index % 3 == 0 else row)
    return found


@pytest.mark.parametrize("architecture", ["qwen3", "gpt2"])
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_one_pass_measures_what_a_row_at_a_time_measures(architecture: str, batch_size: int) -> None:
    model = toy_model(architecture)
    rows = learned(model, some_rows())
    nats, right, tokens = 0.0, 0, 0
    with torch.no_grad():
        for row in rows:
            logits_TV = model(input_ids=torch.tensor([row.prompt + row.completion])).logits[0]
            logits_TV, targets_T = logits_TV[len(row.prompt) - 1 : -1], torch.tensor(row.completion)
            nats += torch.nn.functional.cross_entropy(logits_TV, targets_T, reduction="sum").item()
            right += int((logits_TV.argmax(-1) == targets_T).sum())
            tokens += len(row.completion)
    found = measure_rows(model, rows, pad_id=PAD, batch_size=batch_size)
    assert (found.rows, found.tokens, found.right) == (len(rows), tokens, right)
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.exact == sum(one.exact for one in read_answers(model, rows, pad_id=PAD, batch_size=batch_size)) == 8
    assert found.exact_match == pytest.approx(8 / 23)


def test_a_large_vocabulary_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = toy_model(), some_rows()
    whole = measure_rows(model, rows, pad_id=PAD, batch_size=100)
    largest: list[int] = []
    forward = torch.nn.functional.cross_entropy

    def noted(logits_nV: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        largest.append(logits_nV.numel())
        return forward(logits_nV, *arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", noted)
    monkeypatch.setattr(held_out, "LOGITS_AT_ONCE", 4096 * 9)
    again = measure_rows(model, rows, pad_id=PAD, batch_size=100)
    assert max(largest) <= 4096 * 9 and len(largest) > 5
    assert (again.exact, again.right, again.tokens) == (whole.exact, whole.right, whole.tokens)
    assert again.loss == pytest.approx(whole.loss, rel=1e-5)


def test_a_restricted_softmax_is_measured_as_it_is_trained() -> None:
    model, rows = toy_model(), some_rows()
    some = torch.zeros(4096, dtype=torch.bool)
    some[[token for row in rows for token in row.completion]] = True
    free = measure_rows(model, rows, pad_id=PAD, batch_size=8)
    restricted = measure_rows(model, rows, pad_id=PAD, batch_size=8, trained=some)
    assert restricted.loss < free.loss
    some[rows[0].completion[0]] = False
    assert measure_rows(model, rows, pad_id=PAD, batch_size=8, trained=some).loss == math.inf


def test_an_encoder_decoder_is_measured_on_the_same_grounds() -> None:
    torch.manual_seed(0)
    config = T5Config(vocab_size=4096, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                      decoder_start_token_id=PAD, pad_token_id=PAD, eos_token_id=4093)  # fmt: skip
    model, rows = T5ForConditionalGeneration(config).eval(), some_rows(5)
    nats = 0.0
    with torch.no_grad():
        for row in rows:
            labels = torch.tensor([row.completion])
            nats += model(input_ids=torch.tensor([row.prompt]), labels=labels).loss.item() * len(row.completion)
    found = measure_rows(model, rows, pad_id=PAD, batch_size=3)
    assert found.tokens == sum(len(row.completion) for row in rows)
    assert found.nats == pytest.approx(nats, rel=1e-4)


def test_nothing_measured_is_undefined() -> None:
    empty = measure_rows(toy_model(), [], pad_id=PAD, batch_size=4)
    assert empty == HeldOut()
    assert all(math.isnan(value) for value in (empty.loss, empty.accuracy, empty.exact_match))
