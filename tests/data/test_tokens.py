from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from graft.data.chat import render_prompt
from graft.data.mixture import draw_order
from graft.data.sources import Source, tokenizer_words, training_examples
from graft.data.tokens import encode, word_pieces
from graft.errors import DataError
from graft.tasks.words.split import package_sets
from graft.types import Example

ASK = Example("spelling/straw", "spelling", "Spell the word straw.", "s-t-r-a-w", cluster="straw")
TEXT = Example("prose/1", "prose", None, "It was a bright cold day.")


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
    examples = training_examples([Source("position", pseudo=0.5, words=200)], words, (), count=400, seed=0)
    assert sum(bool(example.strata["pseudo"]) for example in examples) == 200
    assert len({e.cluster for e in examples if not e.strata["pseudo"]}) == 200


def test_the_arms_of_one_seed_see_the_same_examples_and_another_seed_sees_others() -> None:
    words = package_sets(train=300, eval=50, seed=0)
    first, again, other = (
        training_examples([Source("spelling")], words, (), count=50, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert [e.id for e in first] != [e.id for e in other]


def test_the_tokenizers_own_words_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    words = tokenizer_words(tokenizer)
    assert len(words) > 100
    assert all(len(tokenizer.encode(f" {word.text}", add_special_tokens=False)) == 1 for word in words)
