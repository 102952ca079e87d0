"""Merging: the plain model says what the adapted one said, whatever carries the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import toy_model
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from graft.errors import ModelError
from graft.export.agreement import compare, greedy_rows, read, require_agreement
from graft.models.adapters import add_lora
from graft.models.merge import merge
from graft.models.style import add_style_rows, add_style_tokens, delta_rows

PROMPTS = ((11, 12, 13, 14), (901, 7, 3000), (5,))


def adapted(architecture: str, targets: Any = "all-linear", **options: Any) -> PreTrainedModel:
    """A toy model with adapters that change something."""
    model = add_lora(toy_model(architecture), r=4, alpha=8.0, dropout=0.0, targets=targets, seed=0, **options)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    return model.eval()


def reload(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    model.save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32", attn_implementation="eager").eval()


@pytest.mark.parametrize(
    ("architecture", "targets", "options"),
    [
        ("qwen3", "all-linear", {}),
        ("qwen3", "all-linear", {"rslora": True}),
        ("llama", "all-linear", {"dora": True}),
        ("gpt2", "all-linear", {}),
        ("qwen3-moe", "all-linear", {}),
        ("qwen3", ("q_proj", "lm_head"), {}),
    ],
    ids=["tied", "rslora", "dora", "transposed", "experts", "tied-head"],
)
def test_a_merged_model_says_what_the_branch_says(
    architecture: str, targets: Any, options: dict[str, Any], tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = adapted(architecture, targets, **options)
    rows = greedy_rows(model, tokenizer, PROMPTS)
    before = read(model, rows)
    with model.disable_adapter():
        changed = compare(before, read(model, rows))
    plain, notes = merge(model, torch.float32)
    after = reload(plain, tmp_path)
    found = compare(before, read(after, rows))
    require_agreement(found, torch.float32, changed)
    assert found.max_difference < 1e-4 and found.same_replies == len(PROMPTS)
    assert changed.divergence > 1e-3, "the adapter changes nothing, so this test shows nothing"
    tied = after.get_output_embeddings().weight is after.get_input_embeddings().weight
    assert tied == (architecture in ("qwen3", "gpt2") and "lm_head" not in targets)
    assert bool(notes) == ("lm_head" in targets)


def test_rows_of_control_tokens_are_folded_in_and_the_head_keeps_its_own(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    import copy

    own = copy.deepcopy(tokenizer)
    ids = add_style_tokens(own, ["<STYLE_TERSE>", "<STYLE_VERBOSE>"])
    model = add_style_rows(adapted("qwen3"), own, ids)
    with torch.no_grad():
        delta_rows(model).normal_()
    rows = greedy_rows(model, own, [(ids[0], 11, 12), (ids[1], 11, 12), (11, 12)])
    before = read(model, rows)
    plain, notes = merge(model, torch.float32)
    found = compare(before, read(reload(plain, tmp_path), rows))
    assert found.max_difference < 1e-4 and found.same_replies == 3
    assert "control tokens" in notes[0]


def test_a_weight_is_rounded_once(tokenizer: PreTrainedTokenizerBase) -> None:
    exact, rounded = adapted("qwen3"), adapted("qwen3")
    for name, weight in rounded.named_parameters():  # a base that is stored in few bits
        if "lora" not in name:
            weight.data = weight.data.bfloat16()
    for name, weight in exact.named_parameters():
        if "lora" not in name:
            weight.data = weight.data.bfloat16().float()
    right = {name: weight.to(torch.float16) for name, weight in merge(exact, torch.float32)[0].named_parameters()}
    found = dict(merge(rounded, torch.float16)[0].named_parameters())
    assert all(torch.equal(found[name], weight) for name, weight in right.items())


def test_a_weight_that_does_not_fit_is_refused() -> None:
    model = toy_model("qwen3")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(ModelError, match=r"--dtype is float16, but model.layers.0.mlp.up_proj.weight holds"):
        merge(model, torch.float16)


def test_a_dropped_adapter_is_refused_even_where_its_change_is_within_the_bound(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    model = adapted("qwen3")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.mul_(0.05)
    rows = greedy_rows(model, tokenizer, PROMPTS)
    branch = read(model, rows)
    with model.disable_adapter():
        base = read(model, rows)
    changed = compare(branch, base)
    assert 1e-4 < changed.divergence < 2e-2
    with pytest.raises(ModelError, match="undoes what was trained"):
        require_agreement(compare(branch, base), torch.bfloat16, changed)
    with pytest.raises(ModelError, match=r"nats per token from the branch, but rounding to float32 explains at most"):
        require_agreement(compare(branch, base), torch.float32, changed)


def test_a_comparison_counts_replies_by_their_first_difference(tokenizer: PreTrainedTokenizerBase) -> None:
    model, other = toy_model("qwen3"), toy_model("qwen3", seed=1)
    rows = greedy_rows(model, tokenizer, PROMPTS)
    found = compare(read(model, rows), read(other, rows))
    assert found.same_replies == 0 and found.margin > 0 and found.divergence > 0
    same = compare(read(model, rows), read(model, rows))
    assert (same.max_difference, same.divergence, same.same_replies) == (0.0, 0.0, 3)
