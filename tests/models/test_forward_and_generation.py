from __future__ import annotations

import pytest
import torch
from tests.conftest import toy_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from graft.evals.exact import read_answers
from graft.models.backends.transformers import TransformersBackend
from graft.types import Completion, Prompt, Sampling, TokenRow

PAD = 4090
PROMPTS = [[5, 9, 12], [100, 7, 8, 9, 11, 30, 2], [1], [44, 45]]


def replies_to(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limit: int, size: int) -> list[Completion]:
    backend = TransformersBackend(model, tokenizer, batch_size=size)
    return backend.generate([Prompt((), tuple(ids)) for ids in PROMPTS], Sampling(max_new_tokens=limit))


def greedy_alone(model: torch.nn.Module, prompt: list[int], limit: int) -> list[int]:
    """One prompt at a time, one token at a time, no cache and no padding."""
    ids = list(prompt)
    for _ in range(limit):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] == 4093:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2", "qwen3-moe"])
def test_batches_of_mixed_lengths_generate_what_each_prompt_gives_alone(
    architecture: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = toy_model(architecture)
    replies = replies_to(model, tokenizer, 6, 3)
    assert [list(reply.token_ids) for reply in replies] == [greedy_alone(model, p, 6) for p in PROMPTS]


def test_a_reply_cut_at_the_limit_is_not_called_finished(tokenizer: PreTrainedTokenizerBase) -> None:
    replies = replies_to(toy_model(), tokenizer, 2, 4)
    assert [reply.finished for reply in replies] == [reply.token_ids[-1] == 4093 for reply in replies]
    assert not all(reply.finished for reply in replies)


def test_one_pass_exact_match_says_what_generation_does() -> None:
    model = toy_model()
    right = [TokenRow(tuple(p), tuple(greedy_alone(model, p, 5))) for p in PROMPTS]
    wrong = [TokenRow(row.prompt, (*row.completion[:-1], (row.completion[-1] + 1) % 4000)) for row in right]
    verdicts = [one.exact for one in read_answers(model, [*right, *wrong], pad_id=PAD, batch_size=3)]
    assert verdicts == [True] * 4 + [False] * 4


def test_padding_never_reaches_a_real_token() -> None:
    model = toy_model()
    row = TokenRow((3, 4), tuple(greedy_alone(model, [3, 4], 3)))
    long = TokenRow(tuple(range(60)), (1, 2))
    assert read_answers(model, [row, long], pad_id=PAD, batch_size=2)[0].exact
