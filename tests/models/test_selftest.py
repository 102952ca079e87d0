"""What a model's decoding bears is found out, and what it does not bear is not done."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.conftest import toy_model
from tests.models.families import toy_of

from graft.models.backends.transformers import TransformersBackend
from graft.models.selftest import Habits, check_cached_decoding, habits_of
from graft.types import Prompt, Sampling

PROMPTS = [Prompt((), ids) for ids in ((5, 9, 12), (100, 7, 8, 9, 11, 30, 2), (44, 45), (6, 7, 8, 9, 10))]


def test_attention_bears_everything() -> None:
    assert habits_of(toy_model()) == habits_of(toy_of("t5")) == Habits(cached=True, together="any", leaves=True)


@pytest.mark.parametrize(
    ("name", "habits"),
    [("mamba", Habits()), ("jamba", Habits()), ("rwkv", Habits(together="none", leaves=False)),
     ("minimax", Habits(leaves=False))],
)  # fmt: skip
def test_recurrent_models_get_what_they_bear(name: str, habits: Habits) -> None:
    assert habits_of(toy_of(name)) == habits


def forgetful(model: Any) -> Any:
    """The model with a cache that loses what was read, as with a cache of a class that it does not know."""
    plain = model.prepare_inputs_for_generation

    def prepare(ids: torch.Tensor, **inputs: Any) -> dict[str, Any]:
        ready = dict(plain(ids, **inputs))
        if not inputs["is_first_iteration"] and inputs["use_cache"]:
            ready |= {"past_key_values": None, "attention_mask": None}
        return ready

    model.prepare_inputs_for_generation = prepare
    return model


def test_a_cache_that_forgets_is_told_and_not_used(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    right = TransformersBackend(toy_of("qwen3", vocab_size=4096), tokenizer).generate(
        PROMPTS, Sampling(max_new_tokens=6)
    )
    model = forgetful(toy_of("qwen3", vocab_size=4096))
    said = check_cached_decoding(model, PROMPTS[1].ids)
    assert said is not None
    assert said.startswith("decoding with a cache is not decoding without: of 8 tokens token ")
    assert not habits_of(model).cached
    assert "replies are written without a cache, which is slower" in caplog.text
    found = TransformersBackend(model, tokenizer).generate(PROMPTS, Sampling(max_new_tokens=6))
    assert [reply.token_ids for reply in found] == [reply.token_ids for reply in right]


def test_eight_tokens_with_the_cache_are_those_without() -> None:
    for model in (toy_model(), toy_model("gpt2"), toy_of("qwen3_next"), toy_of("t5"), toy_of("mamba")):
        assert check_cached_decoding(model, (5, 9, 12, 7)) is None
