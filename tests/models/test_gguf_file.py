"""A GGUF file as a base: what was exported comes back, and what cannot be read is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.export.test_gguf_architectures import CONFIGS, lively
from transformers import PreTrainedTokenizerBase

from graft.data.chat import ChatPolicy, render_prompt
from graft.errors import ModelError
from graft.export.certificate import TEXTS
from graft.export.folder import save_model
from graft.export.gguf.write import write_gguf
from graft.models.gguf_file import unpermuted
from graft.models.loading import load_model, load_tokenizer
from graft.models.source import locate
from graft.types import Sampling

pytest.importorskip("gguf", reason="needs the extra export")


def written(name: str, tokenizer: PreTrainedTokenizerBase, folder: Path, mixture: str = "f32") -> Path:
    save_model(lively(CONFIGS[name]), tokenizer, ChatPolicy(), Sampling(), folder)
    write_gguf(folder, folder / f"{name}.gguf", mixture, name="toy")
    return folder / f"{name}.gguf"


@pytest.mark.parametrize(
    "name", ["llama", *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen3", "qwen2", "llama-linear"))]
)
def test_what_was_exported_comes_back_to_the_bit(name: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    path = written(name, tokenizer, tmp_path)
    model = load_model(str(path), device="cpu", dtype="float32")
    right = dict(lively(CONFIGS[name]).named_parameters())
    found = dict(model.named_parameters())
    assert found.keys() == right.keys()
    assert all(torch.equal(found[key], weight) for key, weight in right.items())
    ids = torch.tensor([[5, 6, 7, 800]])
    assert torch.equal(model(ids).logits, lively(CONFIGS[name])(ids).logits)
    assert model.generation_config.eos_token_id == [4093]


def test_its_tokenizer_cuts_and_renders_as_the_original(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    source = locate(str(written("qwen3", tokenizer, tmp_path)))
    assert "was dequantised into" in source.notes[0]
    found = load_tokenizer(str(tmp_path / "qwen3.gguf"))
    for text in (*TEXTS, "e\u0301", render_prompt(tokenizer, "Spell the word apple.")):
        right = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert found(text, add_special_tokens=False)["input_ids"] == right
    assert render_prompt(found, "Spell the word apple.") == render_prompt(tokenizer, "Spell the word apple.")
    assert (found.eos_token_id, found.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


@pytest.mark.slow
def test_a_file_of_few_bits_becomes_float32_and_a_half_one_keeps_its_type(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    import json

    for mixture, dtype in (("q8_0", "float32"), ("f16", "float16")):
        (tmp_path / mixture).mkdir()
        place = locate(str(written("qwen3", tokenizer, tmp_path / mixture, mixture))).place
        assert json.loads((Path(place) / "config.json").read_text())["dtype"] == dtype


@pytest.mark.slow
def test_what_cannot_be_read_is_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    (tmp_path / "torn.gguf").write_bytes(b"GGUF\x03")
    with pytest.raises(ModelError, match=r"torn\.gguf, which is damaged or no GGUF file"):
        locate(str(tmp_path / "torn.gguf"))
    for name, words in (("gemma2", "of the architecture gemma2"), ("llama-3", "whose rotary scaling .* is not read")):
        (tmp_path / name).mkdir()
        with pytest.raises(ModelError, match=words):
            locate(str(written(name, tokenizer, tmp_path / name)))


def test_the_order_of_rotary_rows_is_undone() -> None:
    heads, size, columns = 3, 8, 5
    weight = torch.randn(heads * size, columns)
    # what llama.cpp's converter does to q and k of a Llama
    permuted = weight.reshape(heads, 2, size // 2, columns).swapaxes(1, 2).reshape(heads * size, columns)
    assert not torch.equal(permuted, weight)
    assert torch.equal(unpermuted(permuted, heads), weight)
