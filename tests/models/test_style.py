"""Style control tokens on toy models: what is trained, what is saved, and what a load restores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import toy_model

from graft.data.chat import render_prompt
from graft.data.style import check_tokens
from graft.errors import ConfigError, DataError, ModelError
from graft.models.adapters import add_lora
from graft.models.backends.transformers import TransformersBackend
from graft.models.loading import load_model, load_tokenizer
from graft.models.style import (
    FILE,
    PRESETS,
    add_style_rows,
    add_style_tokens,
    delta_rows,
    load_styled,
    save_styled,
    untrained_tokens,
)
from graft.types import Prompt, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS = ("<STYLE_TERSE>", "<STYLE_VERBOSE>")


def styled(architecture: str = "qwen3") -> tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[int, ...]]:
    """A toy model with an adapter and both tokens, untrained."""
    tokenizer = load_tokenizer("sprout")
    ids = add_style_tokens(tokenizer, TOKENS)
    model = add_lora(toy_model(architecture), r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0)
    return add_style_rows(model, tokenizer, ids), tokenizer, ids


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """The model after one step of training everything that can be trained."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def logits(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


def test_only_delta_rows_and_adapters_are_trained_and_the_deltas_begin_at_zero() -> None:
    model, _, ids = styled()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    (delta,) = {name for name in trained if "lora_" not in name}
    assert delta.endswith("embed_tokens.style_delta")
    assert delta_rows(model).shape == (2, 32)
    assert not delta_rows(model).any()
    assert ids == (4096, 4097)


def test_tied_embedding_and_head_stay_one_frozen_tensor() -> None:
    model, tokenizer, ids = styled("qwen3")
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert embedding.weight is head.weight
    assert embedding.weight.shape[0] == len(tokenizer)
    torch.testing.assert_close(embedding.weight[ids[0]], embedding.weight[:4096].mean(dim=0))
    before = embedding.weight.clone()
    model(input_ids=torch.tensor([[5, ids[0], 9]])).logits.sum().backward()
    assert embedding.weight.grad is None
    assert delta_rows(model).grad is not None
    assert delta_rows(model).grad[0].any()
    assert not delta_rows(model).grad[1].any(), "a token that does not stand in the row gets no gradient"
    assert torch.equal(embedding.weight, before)


def test_an_untied_head_gets_a_frozen_row_too() -> None:
    model, _, _ = styled("llama")
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert embedding.weight is not head.weight
    assert head.weight.shape[0] == 4098
    assert not head.weight.requires_grad


def test_a_delta_changes_what_is_read_at_its_token_alone() -> None:
    model, _, (terse, verbose) = styled()
    plain, before = logits(model, [5, 6, 7]), logits(model, [5, terse, 7])
    with torch.no_grad():
        delta_rows(model)[0] += 1.0
    assert torch.equal(logits(model, [5, 6, 7]), plain)
    after = logits(model, [5, terse, 7])
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1:], before[1:])
    with untrained_tokens(model):
        torch.testing.assert_close(logits(model, [5, terse, 7]), before)
        torch.testing.assert_close(logits(model, [5, verbose, 7]), before)
    assert torch.equal(logits(model, [5, terse, 7]), after)


def test_one_call_restores_tokenizer_size_deltas_and_adapter(tmp_path: Path) -> None:
    base = tmp_path / "base"
    toy_model().save_pretrained(base)
    load_tokenizer("sprout").save_pretrained(base)
    tokenizer = load_tokenizer(str(base))
    ids = add_style_tokens(tokenizer, TOKENS)
    model = add_lora(load_model(str(base), device="cpu"), r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0)
    model = moved(add_style_rows(model, tokenizer, ids)).eval()
    folder = tmp_path / "trained"
    save_styled(model, tokenizer, TOKENS, folder)
    tokenizer.save_pretrained(folder)

    tensors = load_file(folder / FILE) | load_file(folder / "adapter_model.safetensors")
    assert {name for name in tensors if "lora_" not in name} == {"delta"}
    again = load_styled(folder, load_model(str(base), device="cpu"))
    assert again.tokens == TOKENS
    assert again.tokenizer("<STYLE_VERBOSE>Why?")["input_ids"][0] == ids[1]
    torch.testing.assert_close(logits(again.model, [5, *ids, 7]), logits(model, [5, *ids, 7]))
    assert again.model.get_input_embeddings().weight is again.model.get_output_embeddings().weight


def test_tokens_are_trained_on_a_model_of_four_bits_and_restored(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="4 bits need the extra quant")
    tokenizer = load_tokenizer("sprout")
    ids = add_style_tokens(tokenizer, TOKENS)
    base = load_model("sprout", device="cpu", quantize="nf4")
    model = add_lora(base, r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0)
    add_style_rows(model, tokenizer, ids)
    model(input_ids=torch.tensor([[5, ids[0], 9]]), labels=torch.tensor([[5, ids[0], 9]])).loss.backward()
    assert delta_rows(model).grad is not None
    assert delta_rows(model).grad[0].any()
    moved(model).eval()
    save_styled(model, tokenizer, TOKENS, tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = load_styled(tmp_path, load_model("sprout", device="cpu", quantize="nf4"))
    torch.testing.assert_close(logits(again.model, [5, *ids, 7]), logits(model, [5, *ids, 7]))


def test_what_does_not_belong_together_is_refused_with_the_next_step(tmp_path: Path) -> None:
    model, tokenizer, _ = styled()
    save_styled(model, tokenizer, TOKENS, tmp_path)
    load_tokenizer("sprout").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has 4,096 entries .* trained with 4,098 entries .* use the tokenizer"):
        load_styled(tmp_path, toy_model())
    tokenizer.save_pretrained(tmp_path)
    other = toy_model()
    other.resize_token_embeddings(5000)
    with pytest.raises(ModelError, match=r"model of 4,098 embeddings .* has 5,000 .*; load the model that it was"):
        load_styled(tmp_path, other)
    (tmp_path / FILE).write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"cannot read the style tokens of .*; train the run again"):
        load_styled(tmp_path, toy_model())


def test_tokens_must_be_new_and_named_once(tokenizer: PreTrainedTokenizerBase) -> None:
    for wrong in (("<|im_end|>", "<A>"), ("<A>", "<A>"), ("", "<A>")):
        with pytest.raises(ConfigError, match=r"style.tokens\[\d\] is .* must be new to the tokenizer and named once"):
            add_style_tokens(load_tokenizer("sprout"), wrong)
    assert "<A>" not in tokenizer.get_vocab()


def test_a_token_is_one_id_before_the_unchanged_ids_of_the_prompt() -> None:
    tokenizer = load_tokenizer("sprout")
    ids = add_style_tokens(tokenizer, TOKENS)
    prompt = "How many letters does strawberry have?"
    plain = tokenizer(render_prompt(tokenizer, prompt), add_special_tokens=False)["input_ids"]
    opened = tokenizer(render_prompt(tokenizer, TOKENS[0] + prompt), add_special_tokens=False)["input_ids"]
    place = opened.index(ids[0])
    assert opened[:place] + opened[place + 1 :] == plain
    assert tokenizer.decode(plain[place:]).startswith("How many")
    check_tokens(tokenizer, TOKENS, prompt)
    with pytest.raises(DataError, match=r"<STYLE_TERSE> before .* does not become one token"):
        check_tokens(load_tokenizer("sprout"), TOKENS, prompt)
    assert json.loads(tokenizer.backend_tokenizer.to_str())["added_tokens"][-1]["special"] is False


def test_the_presets_hold_the_shortest_and_longest_reply() -> None:
    model, tokenizer, _ = styled()
    backend = TransformersBackend(model.eval(), tokenizer)
    anything_ends = frozenset(range(4098)) - {7}
    backend.end_ids = anything_ends
    asked = [Prompt((), (5, 6)), Prompt((), (8,))]
    assert [len(reply.token_ids) for reply in backend.generate(asked, Sampling(max_new_tokens=5))] == [1, 1]
    long = backend.generate(asked, PRESETS["verbose"])
    assert all(30 < len(reply.token_ids) <= 100 for reply in long)
    assert PRESETS["terse"].greedy
    assert (PRESETS["terse"].max_new_tokens, PRESETS["verbose"].temperature) == (20, 0.7)
