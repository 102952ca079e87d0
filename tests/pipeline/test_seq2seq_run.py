"""A run with an encoder-decoder: it is trained, saved, scored and loaded like any other model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM, PreTrainedTokenizerBase, T5Config

from graft.cli.main import main
from graft.config.loading import load_recipe
from graft.pipeline.branches import Branch
from graft.pipeline.train.weights import load_branch
from graft.runs.directory import RunDirectory


@pytest.fixture
def t5_folder(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> Path:
    folder = tmp_path / "t5"
    config = T5Config(vocab_size=4096, d_model=32, d_ff=64, d_kv=8, num_layers=1, num_heads=4,
                      decoder_start_token_id=4090, pad_token_id=4090, eos_token_id=4093)  # fmt: skip
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_an_encoder_decoder_loads_for_a_run(t5_folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe(None, [f"model.id={t5_folder}", f"runs={tmp_path / 'runs'}", "model.device=cpu"]).recipe
    model = load_branch(RunDirectory.create(recipe.runs, "t5"), recipe, Branch("base"))
    assert model.config.is_encoder_decoder


def test_an_encoder_decoder_is_trained_and_scored(t5_folder: Path, tmp_path: Path) -> None:
    settings = [f"model.id={t5_folder}", f"runs={tmp_path / 'runs'}", "model.device=cpu", "data.train=spelling",
                "words.train=40", "words.eval=8", "train.max_steps=2", "train.batch_size=4", "eval.items=8",
                "sampling.max_new_tokens=4", "study.arms=[base,trained]"]  # fmt: skip
    assert main(["train", *settings]) == 0
    (metrics,) = (tmp_path / "runs").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert any(line.get("event") == "trained" for line in lines)
