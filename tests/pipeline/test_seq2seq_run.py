"""A sequence-to-sequence model loads, but a run with it ends in one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM, PreTrainedTokenizerBase, T5Config

from graft.config.loading import load_recipe
from graft.errors import ModelError
from graft.pipeline.branches import Branch
from graft.pipeline.stages import load_branch
from graft.runs.directory import RunDirectory


def test_a_run_with_a_seq2seq_model_says_what_it_lacks(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    folder = tmp_path / "t5"
    config = T5Config(vocab_size=4096, d_model=32, d_ff=64, d_kv=8, num_layers=1, num_heads=4)
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    recipe = load_recipe(None, [f"model.id={folder}", f"runs={tmp_path / 'runs'}", "model.device=cpu"]).recipe
    run = RunDirectory.create(recipe.runs, "t5")
    with pytest.raises(ModelError, match="only causal models can be trained and scored yet"):
        load_branch(run, recipe, Branch("base"))
