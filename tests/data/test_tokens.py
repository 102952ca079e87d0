from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from graft.data.chat import ChatPolicy, render_prompt
from graft.data.mixture import draw_order
from graft.data.pieces import example_pieces
from graft.data.sources import narrowed, tokenizer_words
from graft.data.tokens import _both, _joint, encode, word_pieces
from graft.errors import DataError
from graft.models.loading import load_tokenizer
from graft.tasks.position import PositionTask
from graft.tasks.words.split import package_sets
from graft.types import Example

ALPHABET = sorted(ByteLevel.alphabet())
ASK = Example("spelling/straw", "spelling", "Spell the word straw.", "s-t-r-a-w", cluster="straw")
TEXT = Example("prose/1", "prose", None, "It was a bright cold day.")


def test_white_space_that_begins_an_answer_is_trained_after_the_prompts_own_tokens() -> None:
    backend = Tokenizer(BPE({byte: index for index, byte in enumerate([*ALPHABET, "ĊĠ", "</s>"])}, [("Ċ", "Ġ")]))
    backend.pre_tokenizer, backend.decoder = ByteLevel(add_prefix_space=False, use_regex=False), ByteLevelDecoder()
    melting = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    example = Example("a", "t", "def f():", "  return 1")
    policy = ChatPolicy(template="{prompt}\n")
    [row] = encode(melting, [example], max_length=100, policy=policy).rows
    assert list(row.prompt) == melting.encode("def f():\n")
    assert melting.decode(row.prompt + row.completion[:-1]) == "def f():\n  return 1"
    assert melting.encode("def f():\n  return 1")[: len(row.prompt)] != list(row.prompt)  # read as one they melt
    prompt, pieces = example_pieces(melting, example, policy)
    assert "".join(piece.text for piece in pieces if not piece.trained) == prompt == "def f():\n"
    assert "".join(piece.text for piece in pieces if piece.trained) == "  return 1</s>"


def test_prompt_and_completion_join_to_the_chat_that_the_template_renders(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encode(tokenizer, [ASK], max_length=100).rows[0]
    turns = [{"role": "user", "content": ASK.prompt}, {"role": "assistant", "content": ASK.gold}]
    whole = tokenizer.apply_chat_template(turns, tokenize=False, enable_thinking=False)
    assert tokenizer.decode(row.prompt + row.completion) + "\n" == whole
    assert row.completion[-1] == tokenizer.eos_token_id


def test_the_empty_thinking_block_belongs_to_the_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encode(tokenizer, [ASK], max_length=100).rows[0]
    assert tokenizer.decode(row.prompt).endswith("<think>\n\n</think>\n\n")
    assert "think" not in tokenizer.decode(row.completion)


def test_plain_text_is_trained_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encode(tokenizer, [TEXT], max_length=100).rows[0]
    assert row.prompt == ()
    assert tokenizer.decode(row.completion) == TEXT.gold + tokenizer.eos_token


def test_a_row_that_is_too_long_is_dropped_whole_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    long = Example("prose/2", "prose", None, "word " * 200)
    encoded = encode(tokenizer, [ASK, long], max_length=100)
    assert (encoded.kept, encoded.dropped, len(encoded.rows)) == ((0,), (1,), 1)


def test_when_nothing_fits_the_error_names_the_limit_and_the_need(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(DataError, match=r"data\.max_length is 8, but the shortest of 1 rows has \d+ tokens"):
        encode(tokenizer, [ASK], max_length=8)


def test_an_empty_answer_is_refused_by_name(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(DataError, match="spelling/straw has an empty answer"):
        encode(tokenizer, [Example("spelling/straw", "spelling", "Spell.", "")], max_length=100)


def test_pieces_are_the_words_tokens_inside_the_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    quoted = Example("x", "spelling", 'Spell "straw".', "s", cluster="straw")
    (bare, in_quotes) = word_pieces(tokenizer, [ASK, quoted])
    assert "".join(bare) == "".join(in_quotes) == "straw"
    prompt = render_prompt(tokenizer, ASK.prompt or "")
    cut = [piece.strip("Ġ") for piece in tokenizer.tokenize(prompt) if piece.strip("Ġ") in bare]
    assert tuple(cut) == bare


def test_every_prefix_of_a_mixture_holds_the_rates_to_within_one_example() -> None:
    rates = [0.5, 0.3, 0.15, 0.05]
    order = draw_order(rates, 1000)
    for length in range(1, 1001):
        for source, rate in enumerate(rates):
            assert abs(order[:length].count(source) - rate * length) <= 1


def test_the_share_of_made_up_words_is_what_the_source_says() -> None:
    words = package_sets(train=300, eval=50, seed=0)
    chosen = narrowed(words, most=200, pseudo=0.5, seed=0)
    examples = list(PositionTask(chosen).examples("train", limit=400, seed=0))
    assert sum(bool(example.strata["pseudo"]) for example in examples) == 200
    assert len({e.cluster for e in examples if not e.strata["pseudo"]}) == 200


def test_the_tokenizers_own_words_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    words = tokenizer_words(tokenizer)
    assert len(words) > 100
    assert all(len(tokenizer.encode(f" {word.text}", add_special_tokens=False)) == 1 for word in words)


@settings(max_examples=200, deadline=None)
@given(prompt=st.text(), answer=st.text(min_size=1), template=st.sampled_from(["chat", "plain", "glued"]))
def test_tokenising_in_pieces_gives_the_ids_of_the_whole_text(prompt: str, answer: str, template: str) -> None:
    data = os.environ.get("GRAFT_TEST_DATA")
    tokenizer = _loaded(str(Path(data) / "qwen3_tokenizer") if data and len(prompt) % 2 else "sprout")
    shape = {
        "chat": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "plain": "Question: {}\nAnswer:\n",
        "glued": "{}<|im_end|>",
    }[template]
    text = shape.format(prompt)
    prompts, wholes = _both(tokenizer, [(text, answer), ("", answer)], _joint(tokenizer, len(tokenizer)))
    assert wholes == [tokenizer.encode(text + answer, add_special_tokens=False), tokenizer.encode(answer)]
    assert prompts[0] == tokenizer.encode(text, add_special_tokens=False)


@cache
def _loaded(name: str) -> PreTrainedTokenizerBase:
    return load_tokenizer(name)
