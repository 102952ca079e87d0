"""Documents in one row: they never see each other, and the gradient is that of the plain padded batch."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import toy_model
from torch.nn.attention import varlen
from torch.utils._python_dispatch import TorchDispatchMode

from graft.models import attention
from graft.models.adapters import add_lora
from graft.models.attention import (
    Documents,
    _by_group,
    _causal,
    group_documents,
    packed_attention,
    why_not_packed,
)
from graft.models.forward import answer_hidden, head_of, pad_rows, padded_batch
from graft.train import engine
from graft.train.layout import Layout, joined
from graft.train.loss import head_loss
from graft.train.plan import Hooks, Plan
from graft.types import TokenRow

PAD = 4090
PLAN = Plan(
    steps=2, batch_size=6, token_budget=64, learning_rate=1e-3, optimizer="adamw", schedule="constant", warmup_steps=0,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=True, seed=0, logging_steps=1, save_steps=None, keep_last=1,
)  # fmt: skip
ARCHITECTURES = ("qwen3", "llama", "gpt2", "qwen3-moe")


def some_rows(count: int, seed: int = 0) -> list[TokenRow]:
    rng = random.Random(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4000) for _ in range(rng.randint(low, high)))

    return [TokenRow(ids(0 if index % 5 == 0 else 3, 25), (*ids(1, 9), 4093)) for index in range(count)]


def model(architecture: str, kind: str = "full") -> torch.nn.Module:
    toy = toy_model(architecture)
    if kind == "full":
        return toy
    adapted = add_lora(toy, r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)  # as after some training; zero factors would hide errors
    return adapted


def plain_gradients(model: torch.nn.Module, rows: list[TokenRow]) -> dict[str, torch.Tensor]:
    """The textbook way: one padded batch with an attention mask, full logits, mean loss over the trained tokens."""
    ids_BT, labels_BT = pad_rows(rows, PAD)
    mask_BT = torch.tensor([[1] * len(row) + [0] * (ids_BT.shape[1] - len(row)) for row in rows])
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT).logits
    torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def conversation(turns: int, seed: int) -> list[TokenRow]:
    """A row for each answer, each with all turns before it as its prompt."""
    rng = random.Random(seed)
    rows: list[TokenRow] = []
    said: tuple[int, ...] = ()
    for _ in range(turns):
        prompt = (*said, *(rng.randrange(4000) for _ in range(rng.randint(3, 9))))
        rows.append(TokenRow(prompt, (*(rng.randrange(4000) for _ in range(rng.randint(1, 6))), 4093)))
        said = rows[-1].prompt + rows[-1].completion
    return rows


@pytest.mark.parametrize("kind", ["packed", "padded"])
def test_a_conversation_is_read_once_and_its_gradient_is_that_of_a_row_for_each_answer(kind: str) -> None:
    rows = [*conversation(3, 0), *some_rows(2), *conversation(2, 1), conversation(1, 2)[0]]
    apart, once = (Layout(kind, PAD, joins=joins) for joins in (False, True))  # type: ignore[arg-type]
    toy = model("qwen3")
    expected = laid_out_gradients(toy, rows, apart, 4096)
    toy.zero_grad()
    found = laid_out_gradients(toy, rows, once, 4096)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-7), name
    sizes = [sum(batch.targets_N.numel() for batch in layout.micro_batches(rows, 4096)) for layout in (apart, once)]
    assert sizes[0] == sizes[1] == sum(len(row.trained()) for row in rows)


def test_rows_are_joined_where_one_begins_another_and_nowhere_else() -> None:
    first, second, third = conversation(3, 0)
    other = conversation(2, 1)[0]
    whole = joined([first, other, second, third])
    assert len(whole) == 2 and whole[1] == other
    assert whole[0].prompt == first.prompt and whole[0].prompt + whole[0].completion == third.prompt + third.completion
    trained = {place for row in (first, second, third) for place in row.trained()}
    assert set(whole[0].trained()) == trained
    assert joined([first, first, second]) == [first, *joined([first, second])]  # each is trained as often as drawn
    text = TokenRow((), first.prompt)
    assert joined([text, first]) == [text, first]
    assert joined([second, first]) == [second, first]


def laid_out_gradients(
    model: torch.nn.Module, rows: list[TokenRow], layout: Layout, budget: int
) -> dict[str, torch.Tensor]:
    trained = sum(len(row.completion) - (not row.prompt) for row in rows)
    with packed_attention(model):
        for batch in layout.micro_batches(rows, budget):
            loss, _ = head_loss(head_of(model), answer_hidden(model, batch), batch.targets_N)
            (loss / trained).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packing_never_changes_the_gradient(architecture: str, kind: str, fixed: bool) -> None:
    rows = some_rows(14)
    plain = plain_gradients(model(architecture, kind), rows)
    layout = Layout("packed", PAD, fixed=fixed, longest=max(map(len, rows)), step_rows=len(rows))
    for budget in (1, 70, 10_000):
        ours = laid_out_gradients(model(architecture, kind), rows, layout, budget)
        assert plain.keys() == ours.keys()
        for name, gradient in plain.items():
            error = (gradient - ours[name]).norm() / gradient.norm().clamp_min(1e-12)
            assert error <= 1e-5, (budget, name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_documents_never_see_each_other(architecture: str) -> None:
    toy = model(architecture)
    rows = some_rows(4)
    other = [rows[0], TokenRow(rows[1].prompt, tuple(4001 + token % 80 for token in rows[1].completion)), *rows[2:]]
    layout = Layout("packed", PAD)
    with torch.no_grad(), packed_attention(toy):
        (before,), (after,) = (layout.micro_batches(each, 1000) for each in (rows, other))
        hidden = [toy.base_model(input_ids=b.ids_BT, position_ids=b.positions_BT, use_cache=False,
                                 **b.documents.arguments()).last_hidden_state[0] for b in (before, after)]  # fmt: skip
    touched = (before.ids_BT != after.ids_BT)[0]
    borders = before.documents.borders.tolist()
    (changed,) = {i for i in range(4) if touched[borders[i] : borders[i + 1]].any()}
    own = torch.zeros_like(touched)
    own[borders[changed] : borders[changed + 1]] = True
    assert (hidden[0] - hidden[1])[~own].abs().max() <= 1e-6
    assert (hidden[0] - hidden[1])[own].abs().max() > 1e-3


def test_positions_restart_and_only_answers_are_trained() -> None:
    rows = [TokenRow((5, 6, 7), (8, 4093)), TokenRow((), (1, 2, 4093))]
    (batch,) = Layout("packed", PAD).micro_batches(rows, 100)
    assert batch.ids_BT.tolist() == [[5, 6, 7, 8, 4093, 1, 2, 4093]]
    assert batch.positions_BT is not None
    assert batch.positions_BT.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    assert batch.where_N.tolist() == [2, 3, 5, 6]
    assert batch.targets_N.tolist() == [8, 4093, 2, 4093]  # the end of each turn among them
    assert batch.documents is not None
    assert batch.documents.borders.tolist() == [0, 5, 8]


def test_packed_and_padded_batches_train_the_same_tokens() -> None:
    rows = some_rows(9)
    ordered = sorted(rows, key=len, reverse=True)
    (packed,) = Layout("packed", PAD).micro_batches(rows, 10_000)
    assert packed.targets_N.tolist() == padded_batch(ordered, PAD).targets_N.tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_known_architectures_are_found_to_pack(architecture: str) -> None:
    assert why_not_packed(model(architecture, "lora")) is None


def test_what_sees_its_neighbours_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Documents, "arguments", lambda self: {})  # an architecture that loses the borders on the way
    toy = model("qwen3").train()
    assert "changes a document" in (why_not_packed(toy) or "")
    assert toy.training
    assert toy.config._attn_implementation == "eager"


def test_a_window_shorter_than_a_document_is_refused_and_a_longer_one_is_not() -> None:
    from transformers import AutoModelForCausalLM, MistralConfig

    def windowed(window: int) -> torch.nn.Module:
        config = MistralConfig(vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                               num_attention_heads=4, num_key_value_heads=2, sliding_window=window)  # fmt: skip
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager")

    assert why_not_packed(windowed(64)) is None
    assert "sliding window of 3 tokens" in (why_not_packed(windowed(3)) or "")


def test_an_encoder_decoder_does_not_pack() -> None:
    from transformers import AutoModelForSeq2SeqLM, T5Config

    config = T5Config(vocab_size=64, d_model=16, d_ff=32, d_kv=4, num_layers=1, num_heads=2)
    assert why_not_packed(AutoModelForSeq2SeqLM.from_config(config)) == "it is an encoder-decoder"


def test_groups_of_documents_give_what_each_gives_alone() -> None:
    torch.manual_seed(0)
    lengths = [9, 8, 7, 3, 1]
    states = [torch.randn(1, heads, sum(lengths), 8) for heads in (4, 2, 2)]
    together = _by_group(group_documents(lengths), states, None, 0.0)
    start = 0
    for length in lengths:
        alone = _causal(*(state[:, :, start : start + length] for state in states), None, 0.0).transpose(1, 2)
        torch.testing.assert_close(together[:, start : start + length], alone)
        start += length


def kernel_stand_in(
    query_THE: torch.Tensor, key_TKE: torch.Tensor, value_TKE: torch.Tensor, borders: torch.Tensor, *_: object,
    scale: float, window_size: tuple[int, int], enable_gqa: bool = False,
) -> torch.Tensor:  # fmt: skip
    """What the CUDA kernel computes, document by document, in the 16 bits that it takes alone."""
    assert {query_THE.dtype, key_TKE.dtype, value_TKE.dtype} == {torch.bfloat16}
    parts = []
    for start, stop in zip(borders.tolist(), borders.tolist()[1:], strict=False):
        states = [state[start:stop].transpose(0, 1)[None] for state in (query_THE, key_TKE, value_TKE)]
        if stop > start:
            seen = torch.nn.functional.scaled_dot_product_attention(
                *states, is_causal=True, scale=scale, enable_gqa=enable_gqa
            )
            parts.append(seen[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """This device has the kernel."""
    monkeypatch.setattr(varlen, "varlen_attn", kernel_stand_in)
    for module in (attention, engine):
        monkeypatch.setattr(module, "has_kernel", lambda device: True)


def test_float32_weights_pack_for_the_kernel_where_products_are_cast_to_its_type(kernel: None) -> None:
    rows = some_rows(12)
    packed = engine.choose_layout(model("qwen3"), rows, replace(PLAN, bfloat16=True), PAD)
    assert (packed.kind, packed.kernel, packed.fixed) == ("packed", True, True)
    exact = engine.choose_layout(model("qwen3"), rows, replace(PLAN, bfloat16=False), PAD)
    assert exact.kind == "padded"  # the kernel would round what is asked for in float32


def test_a_training_by_the_kernel_has_the_losses_of_the_plain_one(kernel: None, tmp_path: Path) -> None:
    losses: dict[str, list[float]] = {}
    for layout in ("packed", "padded"):
        told: list[float] = []
        hooks = Hooks(on_report=lambda report, told=told: told.append(report.loss))
        plan = replace(PLAN, layout=layout, bfloat16=True)  # type: ignore[arg-type]
        result = engine.fit(model("qwen3", "lora"), some_rows(12), plan, pad_id=PAD, folder=tmp_path, hooks=hooks)
        assert result.facts["layout"] == layout
        losses[layout] = told
    assert losses["packed"] == pytest.approx(losses["padded"], rel=2e-3)


class Waits(TorchDispatchMode):
    """Notes what would have the processor wait for a GPU: numbers read from tensors, shapes that depend on them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique_dim", "_unique2"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_a_pass_by_the_kernel_never_has_the_processor_wait(kernel: None) -> None:
    rows, adapted = some_rows(12), model("qwen3", "lora")
    layout = engine.choose_layout(adapted, rows, PLAN, PAD)
    batches = layout.micro_batches(rows, 64)
    with packed_attention(adapted), Waits() as waits:
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16):
                loss, _ = head_loss(head_of(adapted), answer_hidden(adapted, batch), batch.targets_N)
            loss.backward()
    assert waits.found == []
