"""The packaged tokenizer and chat template, and that they can be rebuilt."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from graft import sprout
from graft.errors import DataError
from graft.sprout.tokenizer import ORDINALS, VOCABULARY_SIZE, build_tokenizer
from graft.tasks.words.pool import package_words


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(sprout.path())


def test_it_has_exactly_the_entries_of_the_embedding_table(tokenizer: Any) -> None:
    assert len(tokenizer) == VOCABULARY_SIZE
    assert sorted(tokenizer.get_vocab().values()) == list(range(VOCABULARY_SIZE))


@pytest.mark.parametrize("mark", ["-", " "])
def test_a_letter_after_a_separator_is_one_token(tokenizer: Any, mark: str) -> None:
    for letter in ascii_lowercase:
        assert tokenizer.tokenize(f"x{mark}{letter}")[1:] == [tokenizer.tokenize(f"{mark}{letter}")[0]]


def test_a_spelled_word_has_one_token_a_letter(tokenizer: Any) -> None:
    assert tokenizer.tokenize("s-t-r-a-w") == ["s", "-t", "-r", "-a", "-w"]


def test_ordinals_and_their_suffixes_are_single_entries(tokenizer: Any) -> None:
    assert all(len(tokenizer.tokenize(f" {word}")) == 1 for word in ORDINALS.split())
    assert tokenizer.tokenize("12th")[-1] == "th"
    assert [tokenizer.tokenize(text)[1:] for text in ("1st", "2nd", "3rd")] == [["st"], ["nd"], ["rd"]]


@pytest.mark.parametrize(
    "text", ["naïve café – “quoted” 北京 🙂", "a\n\n b\r\n\tc  ", "I'LL say it's 2026", "<think>\nx</think>"]
)
def test_any_normalised_text_comes_back_unchanged(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_composed_and_decomposed_letters_give_the_same_tokens(tokenizer: Any) -> None:
    assert tokenizer("cafe\u0301").input_ids == tokenizer("caf\u00e9").input_ids


def test_the_end_of_turn_ends_an_answer_and_padding_is_another_token(tokenizer: Any) -> None:
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"


def test_thoughts_survive_decoding_without_special_tokens(tokenizer: Any) -> None:
    ids = tokenizer("<|im_start|><think>so</think>yes<|im_end|>").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>so</think>yes"


def test_thinking_off_puts_an_empty_block_into_the_prompt(tokenizer: Any) -> None:
    turn = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    head = "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    render = tokenizer.apply_chat_template
    assert render(turn, tokenize=False, add_generation_prompt=True) == head
    off = render(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert off == head + "<think>\n\n</think>\n\n"


def test_a_trained_answer_continues_the_prompt_that_evaluation_uses(tokenizer: Any) -> None:
    turn = [{"role": "user", "content": "Spell the word straw."}]
    prompt = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    whole = tokenizer.apply_chat_template([*turn, {"role": "assistant", "content": "s-t"}], tokenize=False)
    assert whole == prompt + "s-t<|im_end|>\n"


def test_only_the_last_answer_keeps_a_think_block(tokenizer: Any) -> None:
    user = {"role": "user", "content": "Hi"}
    earlier = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}
    text = tokenizer.apply_chat_template([user, earlier, user, {"role": "assistant", "content": "Bye"}], tokenize=False)
    assert "<|im_start|>assistant\nHello<|im_end|>" in text
    assert text.count("<think>") == 1
    assert text.endswith("<think>\n\n</think>\n\nBye<|im_end|>\n")


def test_an_unknown_role_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="role must be system, user or assistant, but got tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_the_same_words_give_the_same_bytes_and_order_does_not_matter(tmp_path: Path) -> None:
    words = [word.text for word in package_words("base")]
    first = build_tokenizer([], words, tmp_path / "first")
    second = build_tokenizer([], reversed(words), tmp_path / "second")
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()


def test_the_loaded_class_cuts_as_the_saved_file_does(tokenizer: Any) -> None:
    saved = Tokenizer.from_file(str(sprout.path() / "tokenizer.json"))
    for text in ("Spell the word straw-berry!\n\n1st", "  they'll  say “no”  ", "-a-b\n"):
        assert tokenizer(text).input_ids == saved.encode(text).ids


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must have 4096 entries"):
        build_tokenizer(["a few words"], ["straw"], tmp_path)
