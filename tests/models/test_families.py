"""Each architecture: what trains, writes and adapts it is held against the model's own code."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tests.models.families import COMMON, OTHERS, PACKING, VOCABULARY, toy_of

from graft.errors import ModelError
from graft.models.adapters import add_lora, load_adapter, require_loadable, save_adapter
from graft.models.attention import packed_attention, why_not_packed
from graft.models.decoding import decode
from graft.models.forward import Reading, answer_hidden, head_of, reading_of, rows_batch, start_id
from graft.models.loading import load_model
from graft.models.selftest import check_cached_decoding, habits_of
from graft.train.engine import choose_layout
from graft.train.layout import Layout
from graft.train.loss import head_loss
from graft.train.plan import Plan
from graft.types import Sampling, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAMES = [*COMMON, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
PROMPTS = ((5, 9, 12), (100, 7, 8, 9, 11, 30, 20, 25, 31), (17,), (44, 45, 46), (6, 7, 8, 9, 10))
PLAN = Plan(
    steps=1, batch_size=7, token_budget=90, learning_rate=1e-3, optimizer="adamw", schedule="constant", warmup_steps=0,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None, keep_last=1,
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_the_models_own_loss_row_by_row(name: str) -> None:
    model, rows = toy_of(name), some_rows(7)
    layout = choose_layout(model, rows, PLAN, pad_id=0)
    assert name not in COMMON or (layout.kind == "packed") == (name in PACKING)
    assert gradient_error(model, rows, layout) <= 2e-5


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gemma3_text", {"sliding_window": 8}),
        ("mistral", {"sliding_window": 8}),
        ("phimoe", {"sliding_window": 8}),  # its attention is not told of the window
        ("llama4_text", {"attention_chunk_size": 8}),
    ],
)
def test_a_row_longer_than_a_window_is_padded_and_trains_the_same(name: str, settings: dict[str, int]) -> None:
    model, rows = toy_of(name, **settings), some_rows(7)
    layout = choose_layout(model, rows, PLAN, pad_id=0)
    assert layout.kind == "padded"
    assert gradient_error(model, rows, layout) <= 2e-5


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cohere", {"logit_scale": 0.3}),
        ("falcon_h1", {"lm_head_multiplier": 3.0}),
        ("gemma2", {"final_logit_softcapping": 2.0}),
        ("granite", {"logits_scaling": 4.0}),
        ("hyperclovax", {"logits_scaling": 5.0}),
        ("minicpm3", {"dim_model_base": 8}),
        ("modernbert-decoder", {}),
        ("recurrent_gemma", {"logits_soft_cap": 2.0}),
        ("switch_transformers", {"tie_word_embeddings": True}),
        ("umt5", {"tie_word_embeddings": True}),
        ("xlstm", {"output_logit_soft_cap": 2.0}),
    ],
)
def test_a_head_that_is_more_than_a_layer_is_used_as_the_model_does(name: str, settings: dict[str, float]) -> None:
    model, row = toy_of(name, **settings), TokenRow((5, 9, 12), (100, 7, 8, 9))
    with torch.no_grad():
        found_NV = head_of(model)(answer_hidden(model, rows_batch(model, [row], 0)))
        torch.testing.assert_close(found_NV, logits(model, row.prompt, row.completion))
    assert reading_of(model) is Reading.OWN


def scaled(kind: str) -> PreTrainedModel:
    """A model whose positions change from 16 tokens on."""
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10_000.0, "factor": 4.0}
    if kind == "longrope":
        rope |= {"original_max_position_embeddings": 16, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
        return toy_of("phi3", rope_parameters=rope, max_position_embeddings=64, original_max_position_embeddings=16)
    return toy_of("llama", rope_parameters=rope, max_position_embeddings=16)


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_a_text_that_scales_positions_changes_no_other(kind: str) -> None:
    model, rows = scaled(kind), some_rows(7)
    assert max(map(len, rows)) > 16 > min(map(len, rows))
    layout = choose_layout(model, rows, PLAN, pad_id=0)
    assert layout.kind == "padded"
    right = [own_loss(scaled(kind), row).item() for row in rows]
    with torch.no_grad():
        batch = rows_batch(model, rows, 0)
        losses_N = torch.nn.functional.cross_entropy(
            head_of(model)(answer_hidden(model, batch)), batch.targets_N, reduction="none"
        )
    found = [part.sum().item() for part in torch.split(losses_N, [len(row.completion) for row in rows])]
    assert found == pytest.approx(right, rel=1e-5)
    replies: list[list[int]] = [[] for _ in rows]
    prompts = [row.prompt for row in rows]
    for step in decode(model, prompts, Sampling(max_new_tokens=8), pad_id=0, end_ids=frozenset(), streams=range(7)):
        for index, token in step:
            replies[index].append(token)
    assert replies == [generated(scaled(kind), prompt, frozenset({511})) for prompt in prompts]


@pytest.mark.parametrize("name", ["lfm2", "falcon_h1", "mamba2", "qwen3_next"])
def test_states_that_leak_are_found_in_half_precision_too(name: str) -> None:
    assert why_not_packed(toy_of(name)) is not None
    assert why_not_packed(toy_of(name).bfloat16()) is not None


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gemma3_text"])
def test_documents_pack_in_half_precision_too(name: str) -> None:
    assert why_not_packed(toy_of(name).bfloat16()) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_writes_what_generate_writes_for_each_prompt(name: str) -> None:
    model = toy_of(name)
    replies: list[list[int]] = [[] for _ in PROMPTS]
    ends = frozenset(range(0, VOCABULARY, 7))  # rows end at different steps and leave the batch
    sampling = Sampling(max_new_tokens=8)
    for step in decode(model, PROMPTS, sampling, pad_id=0, end_ids=ends, streams=range(len(PROMPTS))):
        for row, token in step:
            replies[row].append(token)
    # RecurrentGemma's own code begins a one-token prompt with the state that it was left with
    fresh = [toy_of(name) if len(prompt) == 1 else model for prompt in PROMPTS]
    assert replies == [generated(each, prompt, ends) for each, prompt in zip(fresh, PROMPTS, strict=True)]
    assert (check_cached_decoding(model, PROMPTS[1]) is None) == habits_of(model).cached == (name != "xlstm")


@pytest.mark.parametrize("name", NAMES)
def test_peft_alone_loads_an_adapter_to_the_same_logits(name: str, tmp_path: Path) -> None:
    from peft import PeftModel

    toy_of(name).save_pretrained(tmp_path / "base")
    adapted = add_lora(load_model(str(tmp_path / "base")), r=2, alpha=4, dropout=0.0, targets="all-linear", seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
    save_adapter(adapted, tmp_path / "adapter")
    again = PeftModel.from_pretrained(
        type(toy_of(name)).from_pretrained(tmp_path / "base"), tmp_path / "adapter"
    ).eval()
    with torch.no_grad():
        ours, theirs, plain = (logits(each, PROMPTS[1]) for each in (adapted, again, toy_of(name)))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (ours - plain).abs().max() > 1e-3


def gradient_error(model: PreTrainedModel, rows: list[TokenRow], layout: Layout) -> float:
    """Relative error of the engine's gradient against that of the model's own loss, row by row."""
    trained = sum(len(row.completion) for row in rows)
    for row in rows:
        (own_loss(model, row) / trained).backward()
    right = gradients(model)
    with packed_attention(model) if layout.kind == "packed" else nullcontext():
        for batch in layout.micro_batches(rows, 90):
            loss, _ = head_loss(head_of(model), answer_hidden(model, batch), batch.targets_N)
            (loss / trained).backward()
    found = gradients(model)
    assert found.keys() == right.keys()
    squares = [(float((found[key] - grad).norm()) ** 2, float(grad.norm()) ** 2) for key, grad in right.items()]
    return (sum(a for a, _ in squares) / sum(b for _, b in squares)) ** 0.5


def test_the_page_of_architectures_has_a_line_for_each() -> None:
    page = (Path(__file__).parents[2] / "docs/architectures.md").read_text(encoding="utf-8")
    listed = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")][1:]
    assert listed == sorted((*COMMON, *OTHERS))


def test_an_adapter_of_which_peft_finds_a_part_is_refused(tmp_path: Path) -> None:
    adapted = add_lora(toy_of("laguna"), r=2, alpha=4, dropout=0.0, targets="all-linear", seed=0)
    save_adapter(adapted, tmp_path)  # transformers renames the shared experts of this one on the way back
    with pytest.raises(ModelError, match=r"cannot put the adapter .* missing adapter keys .*shared_experts"):
        load_adapter(toy_of("laguna"), tmp_path)


def test_an_adapter_that_could_not_be_loaded_again_is_refused_before_it_is_trained() -> None:
    options = {"r": 2, "alpha": 4, "dropout": 0.0, "targets": "all-linear", "seed": 0}
    with pytest.raises(ModelError, match=r"an adapter on laguna could not be loaded again.*shared_experts"):
        require_loadable(add_lora(toy_of("laguna"), **options))
    for name in ("gpt2", "qwen3_moe", "t5"):
        with torch.device("meta"):
            model = add_lora(toy_of(name), **options)
        require_loadable(model)


def some_rows(count: int) -> list[TokenRow]:
    rng = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 500) for _ in range(rng.randint(low, high)))

    return [TokenRow(ids(2, 25), ids(1, 9)) for _ in range(count)]


def logits(model: Any, prompt: tuple[int, ...], completion: tuple[int, ...] = (3, 4)) -> torch.Tensor:
    """Logits of shape (tokens of the completion, V) by the model's own forward pass."""
    if model.config.is_encoder_decoder:
        written = torch.tensor([[start_id(model, 0), *completion[:-1]]])
        found = model(input_ids=torch.tensor([prompt]), decoder_input_ids=written, use_cache=False).logits
    else:
        found = model(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits[:, len(prompt) - 1 : -1]
    return torch.as_tensor(found[0])


def own_loss(model: PreTrainedModel, row: TokenRow) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(
        logits(model, row.prompt, row.completion), torch.tensor(row.completion), reduction="sum"
    )


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The gradients, which are forgotten."""
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def generated(model: Any, prompt: tuple[int, ...], ends: frozenset[int]) -> list[int]:
    """What `generate` writes, with the end; xLSTM's own cache fails on toy sizes, so there it goes without."""
    model.generation_config.forced_eos_token_id = None  # BART's last token is another matter
    mask = torch.ones((1, len(prompt)), dtype=torch.long)
    written = model.generate(
        torch.tensor([prompt]), attention_mask=mask, max_new_tokens=8, do_sample=False, eos_token_id=sorted(ends),
        pad_token_id=0, use_cache=model.config.model_type != "xlstm",
    )[0].tolist()  # fmt: skip
    return [int(token) for token in written[1 if model.config.is_encoder_decoder else len(prompt) :]]
