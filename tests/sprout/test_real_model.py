"""A real pretrained model, where `make real-model` has put it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "real-model" / "smollm2"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("real_model", ROOT / "scripts" / "real_model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_order_of_rotary_rows_is_undone() -> None:
    heads, size, columns = 3, 8, 5
    weight = torch.randn(heads * size, columns)
    # what llama.cpp's converter does to q and k of a Llama
    permuted = weight.reshape(heads, 2, size // 2, columns).swapaxes(1, 2).reshape(heads * size, columns)
    assert not torch.equal(permuted, weight)
    assert torch.equal(script().unpermuted(permuted, heads), weight)


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
