"""The choice of a token against transformers' own processors, and the loop against one prompt at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import toy_model
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    SwitchTransformersConfig,
    T5Config,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from graft.models.backends.transformers import TransformersBackend
from graft.models.decoding import choose
from graft.types import Prompt, Sampling

PROMPTS = [Prompt((), ids) for ids in ((5, 9, 12), (100, 7, 8, 9, 11, 30, 2), (1,), (44, 45), (6, 7, 8, 9, 10))]
DRAWN = Sampling(temperature=1.0, max_new_tokens=12)
NOTHING_SEEN = torch.full((1, 1), -1)


def peaked_logits() -> torch.Tensor:
    return torch.randn(1, 200, generator=torch.Generator().manual_seed(1)) * 3


def reference(logits: torch.Tensor, sampling: Sampling, seen: torch.Tensor) -> torch.Tensor:
    """Probabilities by transformers' processors."""
    chain = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    chain.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        chain.append(TopKLogitsWarper(sampling.top_k))
    chain += [TopPLogitsWarper(sampling.top_p), MinPLogitsWarper(sampling.min_p)]
    return torch.softmax(chain(seen, logits), -1)[0]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7, top_p=0.8, top_k=20),
        Sampling(temperature=1.5, top_p=0.95),
        Sampling(temperature=1.0, top_k=5, min_p=0.2),
        Sampling(temperature=0.6, top_p=0.9, top_k=50, min_p=0.05, repetition_penalty=1.4),
    ],
)
def test_tokens_are_drawn_with_the_probabilities_of_transformers(sampling: Sampling) -> None:
    logits, seen = peaked_logits(), torch.tensor([[3, 17, 17, 60]])
    expected = reference(logits.clone(), sampling, seen)
    places = [(step + 0.5) / 4000 for step in range(4000)]  # an even comb through [0, 1) measures each share exactly
    drawn = choose(logits.expand(4000, -1), seen.expand(4000, -1), sampling, places)
    shares = torch.bincount(drawn, minlength=200) / 4000
    assert (shares - expected).abs().max() < 1 / 3000
    assert not (shares[expected == 0] > 0).any()


def test_a_draw_just_below_one_stays_among_the_kept_tokens() -> None:
    logits = peaked_logits()
    kept = set(logits.topk(3).indices[0].tolist())
    last = choose(logits, NOTHING_SEEN, Sampling(temperature=1.0, top_k=3), [float(np.nextafter(1.0, 0.0))])
    assert int(last) in kept


def test_top_p_zero_and_top_k_one_leave_the_most_probable_token() -> None:
    logits = peaked_logits()
    for sampling in (Sampling(temperature=2.0, top_p=0.0), Sampling(temperature=2.0, top_k=1)):
        assert int(choose(logits, NOTHING_SEEN, sampling, [0.999])) == int(logits.argmax())


def test_padding_is_not_penalised() -> None:
    logits = peaked_logits()
    best = int(logits.argmax())
    sampling = Sampling(repetition_penalty=2.0)
    assert int(choose(logits, NOTHING_SEEN, sampling, [0.0])) == best
    assert int(choose(logits, torch.tensor([[-1, best]]), sampling, [0.0])) != best


def texts(tokenizer: PreTrainedTokenizerBase, sampling: Sampling, batch_size: int = 3) -> list[tuple[int, ...]]:
    backend = TransformersBackend(toy_model(), tokenizer, batch_size=batch_size)
    return [reply.token_ids for reply in backend.generate(PROMPTS, sampling)]


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 0.3},
        {"top_p": 0.3},
        {"top_k": 3},
        {"min_p": 0.9},
        {"repetition_penalty": 2.0},
        {"seed": 1},
        {"max_new_tokens": 5},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_each_setting_changes_what_is_written(changed: dict[str, float], tokenizer: PreTrainedTokenizerBase) -> None:
    assert texts(tokenizer, replace(DRAWN, **changed)) != texts(tokenizer, DRAWN)


def test_temperature_zero_is_greedy_whatever_stands_beside_it(tokenizer: PreTrainedTokenizerBase) -> None:
    greedy = texts(tokenizer, Sampling(max_new_tokens=12))
    assert texts(tokenizer, replace(DRAWN, temperature=0.0, top_k=5, seed=9)) == greedy
    assert texts(tokenizer, replace(DRAWN, top_k=1)) == greedy
    assert texts(tokenizer, DRAWN) != greedy


def test_a_seed_draws_the_same_replies_in_any_batch(tokenizer: PreTrainedTokenizerBase) -> None:
    assert texts(tokenizer, DRAWN) == texts(tokenizer, DRAWN, batch_size=1) == texts(tokenizer, DRAWN, batch_size=5)


def test_the_same_prompt_twice_gets_two_draws(tokenizer: PreTrainedTokenizerBase) -> None:
    first, second = TransformersBackend(toy_model(), tokenizer).generate([PROMPTS[0]] * 2, DRAWN)
    assert first.token_ids != second.token_ids


def test_only_allowed_tokens_and_the_end_are_written(tokenizer: PreTrainedTokenizerBase) -> None:
    backend = TransformersBackend(toy_model(), tokenizer, allowed_ids=range(100, 120))
    for sampling in (DRAWN, Sampling(max_new_tokens=12)):
        written = {token for reply in backend.generate(PROMPTS, sampling) for token in reply.token_ids}
        assert written <= {*range(100, 120), 4093}


def seq2seq_config(name: str) -> PreTrainedConfig:
    sizes = {"vocab_size": 4096, "d_model": 32, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    if name == "bart":
        layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
        return BartConfig(**sizes, **layers, encoder_ffn_dim=64, decoder_ffn_dim=64, forced_eos_token_id=None)
    shape = {"d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    if name == "t5":
        return T5Config(**sizes, **shape)
    return SwitchTransformersConfig(**sizes, **shape, num_decoder_layers=2, num_experts=4)


@pytest.mark.parametrize("architecture", ["t5", "bart", "switch"])
def test_sequence_to_sequence_models_write_what_transformers_writes(
    architecture: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    torch.manual_seed(3)
    model = AutoModelForSeq2SeqLM.from_config(seq2seq_config(architecture)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # else the random model writes one token over and over
    replies = TransformersBackend(model, tokenizer, batch_size=3).generate(PROMPTS, Sampling(max_new_tokens=6))
    alone = [
        model.generate(input_ids=torch.tensor([p.ids]), max_new_tokens=6, do_sample=False)[0, 1:].tolist()
        for p in PROMPTS
    ]
    assert [list(reply.token_ids) for reply in replies] == alone
