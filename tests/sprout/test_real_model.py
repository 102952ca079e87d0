"""A real pretrained model, where `make real-model` has put it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "real-model" / "smollm2"


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no real model here; `make real-model` downloads it")
def test_the_real_model_answers_and_ends_its_turn() -> None:
    from graft.data.chat import ChatPolicy, render_prompt
    from graft.models.backends.transformers import TransformersBackend
    from graft.models.loading import load_model, load_tokenizer
    from graft.types import Prompt, Sampling

    model, tokenizer = load_model(str(FOLDER), device="cpu"), load_tokenizer(str(FOLDER))
    text = render_prompt(tokenizer, "What is the capital of France?", ChatPolicy())
    ids = tuple(tokenizer.encode(text, add_special_tokens=False))
    backend = TransformersBackend(model, tokenizer, batch_size=1)
    (reply,) = backend.generate([Prompt((), ids)], Sampling(max_new_tokens=20))
    assert reply.text == "The capital of France is Paris."
    assert reply.finished
