from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vocab_parts import Parts, parts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@pytest.fixture(scope="session")
def test_data() -> Path:
    if "GRAFT_TEST_DATA" not in os.environ:
        pytest.skip("needs real files: GRAFT_TEST_DATA is unset")
    return Path(os.environ["GRAFT_TEST_DATA"])


@pytest.fixture(scope="session")
def qwen(test_data: Path) -> Parts:
    """The real Qwen3 tokenizer: 151,669 entries."""
    from transformers import AutoTokenizer

    return parts(AutoTokenizer.from_pretrained(test_data / "qwen3_tokenizer"))


@pytest.fixture(scope="session")
def gpt2(test_data: Path) -> Parts:
    """The real GPT-2 tokenizer: 50,257 entries, the last of them special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = json.loads((test_data / "gpt2_tokenizer" / "encoder.json").read_text(encoding="utf-8"))
    lines = (test_data / "gpt2_tokenizer" / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    merges = [tuple(line.split(" ")) for line in lines if line]
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    end = "<|endoftext|>"
    return parts(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token=end, pad_token=end))


@pytest.fixture(scope="session")
def sprout_parts(tokenizer: PreTrainedTokenizerBase) -> Parts:
    return parts(tokenizer)


@pytest.fixture(scope="session")
def mixed_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Path:
    """A toy model whose small vocabulary holds English, Russian and code; more rows than entries, as Qwen3 has."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    from graft.tasks.words.split import sample_words

    words = [f" {word.text}" for word in sample_words("base", 300, seed=0)]
    russian = " Это совсем другой текст, и слова его другие: дом, мир, вода, город, человек, время."
    code = " self.getItem(); foo_bar(nIndex) != xrange[kFoo]->ptr\n"
    small = tokenizer.train_new_from_iterator([*words, russian, code] * 5, vocab_size=1100)
    folder = tmp_path_factory.mktemp("mixed")
    end = int(small.eos_token_id)
    config = Qwen3Config(
        vocab_size=1152, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=end, pad_token_id=int(small.pad_token_id),
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    small.save_pretrained(folder)
    return folder
