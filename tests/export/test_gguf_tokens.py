"""Tokenizers in GGUF: a real llama.cpp cuts every text as the original does, or the file is refused."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2TokenizerFast,
    PreTrainedTokenizerBase,
    Qwen3Config,
)

from graft.data.chat import ChatPolicy
from graft.data.tokens import prompt_ids
from graft.errors import ModelError
from graft.export.certificate import Certificate, certify, require_certified
from graft.export.folder import save_model
from graft.export.gguf.vocabulary import read_vocabulary
from graft.export.gguf.write import write_gguf
from graft.export.server import served
from graft.export.template import pinned
from graft.models import pretokenizers
from graft.types import Message, Sampling, TokenRow

pytest.importorskip("xllamacpp", reason="needs the extra export")

VECTORS = "\n__ggml_vocab_test__\n"


@pytest.fixture(scope="session")
def test_data() -> Path:
    if "GRAFT_TEST_DATA" not in os.environ:
        pytest.skip("needs real files: GRAFT_TEST_DATA is unset")
    return Path(os.environ["GRAFT_TEST_DATA"])


def written(tokenizer: PreTrainedTokenizerBase, rows: int, ends: list[int], folder: Path) -> Path:
    """A GGUF file of a tokenizer, with a model that fits it and says nothing."""
    config = Qwen3Config(
        vocab_size=rows, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=512, bos_token_id=None, pad_token_id=None,
        eos_token_id=ends, tie_word_embeddings=True,
    )  # fmt: skip
    save_model(AutoModelForCausalLM.from_config(config), tokenizer, ChatPolicy(), Sampling(), folder)
    write_gguf(folder, folder / "model.gguf", "f16", name="toy")
    return folder / "model.gguf"


def certified(path: Path, ends: list[int]) -> Certificate:
    return certify(path, AutoTokenizer.from_pretrained(path.parent), ends, [TokenRow((10, 11), (5,))])


def test_every_text_and_prompt_of_the_embedded_tokenizer_is_the_same(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    found = certified(written(tokenizer, 4200, [4093, 4092], tmp_path), [4093, 4092])
    assert (found.tokens, found.templates, found.ends) == ((45, 45), (4, 4), (2, 2)), found.wrong
    require_certified(found, exact=False)


@pytest.mark.slow
def test_a_wrong_rule_is_found_by_trying(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = dict.fromkeys(pretokenizers.KNOWN, "gpt-2")
    monkeypatch.setattr(pretokenizers, "KNOWN", wrong)
    found = certified(written(tokenizer, 4096, [4093], tmp_path), [4093])
    assert found.tokens[0] < found.tokens[1]
    with pytest.raises(ModelError, match=r"llama\.cpp reads the file otherwise: the text .* has other tokens"):
        require_certified(found, exact=False)


@pytest.mark.slow
def test_an_end_that_llama_cpp_does_not_know_is_found_by_trying(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    found = certified(written(tokenizer, 4096, [4093], tmp_path), [4093, 500])
    assert found.ends == (1, 2)
    with pytest.raises(ModelError, match="a reply does not stop at"):
        require_certified(found, exact=False)


def test_sentencepiece_is_cut_the_same_and_its_plain_prompt_is_the_run_s(test_data: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(test_data / "stories260k")
    asked = prompt_ids(tokenizer, [Message("user", "Once upon  a time")], ChatPolicy())
    with pinned(tokenizer, ChatPolicy()) as told:
        turns = [{"role": "user", "content": "Once upon  a time"}]
        assert told.apply_chat_template(turns, add_generation_prompt=True)["input_ids"] == list(asked)
    found = certified(written(tokenizer, 512, [2], tmp_path), [2])
    assert (found.tokens, found.templates, found.ends) == ((45, 45), (4, 4), (1, 1)), found.wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2", "gpt-2"])
def test_a_real_tokenizer_holds_every_text_and_llama_cpp_s_own_vectors(
    name: str, test_data: Path, tmp_path: Path
) -> None:
    if name == "qwen2":
        tokenizer, rows, ends = (
            AutoTokenizer.from_pretrained(test_data / "qwen3_tokenizer"),
            151_936,
            [151_645, 151_643],
        )
    else:
        folder = test_data / "gpt2_tokenizer"
        tokenizer = GPT2TokenizerFast(vocab=str(folder / "encoder.json"), merges=str(folder / "vocab.bpe"))
        rows, ends = 50_257, [50_256]
    path = written(tokenizer, rows, ends, tmp_path)
    found = certified(path, ends)
    assert (found.tokens, found.templates, found.ends[0]) == ((45, 45), (4, 4), len(ends)), found.wrong
    stem = test_data / "tokenizer_parity" / f"ggml-vocab-{name}.gguf"
    with Path(f"{stem}.inp").open(newline="") as file:
        texts = file.read().split(VECTORS)
    right = [tuple(map(int, line.split())) for line in Path(f"{stem}.out").read_text().splitlines()]
    with served(path, context=512) as server:
        assert [server.tokens(text, special=False) for text in texts[: len(right)]] == right


def changed(tokenizer: PreTrainedTokenizerBase, change: Callable[[dict[str, Any]], None]) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer

    copied = copy.deepcopy(tokenizer)
    stored = json.loads(copied.backend_tokenizer.to_str())
    change(stored)
    copied._tokenizer = Tokenizer.from_str(json.dumps(stored))
    return copied


def test_unknown_rules_are_refused_by_name_and_hash(tokenizer: PreTrainedTokenizerBase) -> None:
    def split(stored: dict[str, Any]) -> None:
        stored["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\W+"

    with pytest.raises(ModelError, match=r"no type of GGUF is known here \(pre_tokenizer split .* sha256 [0-9a-f]{16}"):
        read_vocabulary(changed(tokenizer, split), 4096)


def test_text_that_is_changed_first_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    def lower(stored: dict[str, Any]) -> None:
        stored["normalizer"] = {"type": "Lowercase"}

    with pytest.raises(ModelError, match=r"changes text first \(Lowercase\), which llama\.cpp does not do"):
        read_vocabulary(changed(tokenizer, lower), 4096)
