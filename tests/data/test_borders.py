"""Texts begin as their tokenizer begins them, and answers end as their template ends them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.data.chat_families import TEMPLATES, family, t5
from transformers import PreTrainedTokenizerBase

from graft.data.borders import added_ids, borders_of
from graft.data.chat import NO_THINKING, ChatPolicy, with_date
from graft.data.survey import show, survey
from graft.data.tokens import encode, prompt_ids
from graft.errors import ModelError
from graft.evals.perplexity import windows
from graft.models.loading import load_tokenizer
from graft.types import Example, Message

ASK = Example("colour/1", "colour", "Name a colour.", "blue")
TEXT = Example("text/1", "text", None, "A cold day.")
APART = ChatPolicy(apart=True)


def trained(tokenizer: PreTrainedTokenizerBase, example: Example = ASK, policy: ChatPolicy = NO_THINKING) -> str:
    return str(tokenizer.decode(encode(tokenizer, [example], max_length=500, policy=policy).rows[0].completion))


@pytest.mark.parametrize(
    ("name", "end", "stops"),
    [
        ("phi3", "<|end|>", ("<|end|>", "<|endoftext|>")),
        ("gemma", "<end_of_turn>", ("<end_of_turn>", "<eos>")),
        ("llama3", "<|eot_id|>", ("<|eot_id|>", "<|end_of_text|>")),
        ("qwen-base", "<|im_end|>", ("<|im_end|>", "<|endoftext|>")),
        ("llama3-base", "<|end_of_text|>", ("<|end_of_text|>",)),
    ],
)
def test_an_answer_ends_with_what_the_template_writes_and_nothing_after_it(
    name: str, end: str, stops: tuple[str, ...]
) -> None:
    tokenizer = family(name)
    assert trained(tokenizer) == f"blue{end}"
    assert tuple(tokenizer.convert_ids_to_tokens(list(borders_of(tokenizer).stops))) == stops


def test_white_space_around_an_answer_is_trained_where_the_template_writes_it() -> None:
    """As the templates of Llama 2 and Mistral do: a model writes it too, so without it no reply would be exact."""
    tokenizer = family("llama2")
    (row,) = encode(tokenizer, [ASK], max_length=500).rows
    turns = [{"role": "user", "content": ASK.prompt}, {"role": "assistant", "content": ASK.gold}]
    assert tokenizer.decode(row.prompt) == "<s>[INST] Name a colour. [/INST]"
    assert tokenizer.decode(row.completion) == " blue </s>"
    assert list(row.prompt + row.completion) == tokenizer.apply_chat_template(turns, return_dict=False)


def test_the_next_turn_is_the_end_only_where_the_models_files_say_so() -> None:
    tokenizer = family("glm")
    assert trained(tokenizer) == "blue<|endoftext|>"
    policy = ChatPolicy(stops=(tokenizer.convert_tokens_to_ids("<|user|>"),))
    assert trained(tokenizer, policy=policy) == "blue<|user|>"


@pytest.mark.parametrize("name", ["phi3", "gemma", "llama3", "qwen-base"])
def test_an_answer_that_brings_its_end_gets_no_second_one(name: str) -> None:
    tokenizer = family(name)
    for index in borders_of(tokenizer).stops:
        token = str(tokenizer.convert_ids_to_tokens(index))
        for tail in (token, f"{token}\n"):
            assert trained(tokenizer, replace(ASK, gold=f"blue{tail}")) == trained(tokenizer)
    assert borders_of(tokenizer).without_end("blue") == "blue"


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_prompt_begins_once_and_is_what_the_template_gives(name: str) -> None:
    tokenizer = family(name)
    (row,) = encode(tokenizer, [ASK], max_length=500).rows
    assert row.prompt == prompt_ids(tokenizer, [Message("user", ASK.prompt or "")])
    if tokenizer.chat_template is None:
        assert list(row.prompt) == tokenizer("Question: Name a colour.\nAnswer:\n")["input_ids"]
        assert row.prompt[:1] == added_ids(tokenizer)[0] and row.prompt.count(row.prompt[0]) == 1
    else:
        turns = [{"role": "user", "content": ASK.prompt}]
        theirs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert list(row.prompt) == theirs
        assert tokenizer.bos_token is None or row.prompt.count(tokenizer.bos_token_id) == 1


def test_a_plain_template_that_writes_the_beginning_itself_gets_no_second_one() -> None:
    tokenizer = family("llama3-base")
    policy = ChatPolicy(template="<|begin_of_text|>{prompt}\n")
    assert tokenizer.decode(prompt_ids(tokenizer, [Message("user", "Hi.")], policy)) == "<|begin_of_text|>Hi.\n"


def test_plain_text_is_trained_and_measured_after_the_same_beginning() -> None:
    tokenizer = family("llama3-base")
    (row,) = encode(tokenizer, [TEXT], max_length=500).rows
    assert row.prompt == added_ids(tokenizer)[0] == (tokenizer.bos_token_id,)
    assert tokenizer.decode(row.completion) == "A cold day.<|end_of_text|>"
    (piece,) = windows(tokenizer, [TEXT.gold], max_length=100)
    assert (piece.row.prompt, piece.row.completion) == (row.prompt, row.completion[:-1])


def test_where_the_tokenizer_begins_nothing_a_text_is_trained_as_before() -> None:
    (row,) = encode(family("qwen-base"), [TEXT], max_length=500).rows
    assert row.prompt == ()
    assert trained(family("qwen-base"), TEXT) == "A cold day.<|endoftext|>"


def test_an_encoder_reads_the_end_of_its_text_and_a_decoder_writes_a_text_of_its_own() -> None:
    tokenizer, policy = t5(), ChatPolicy(template="{prompt}", apart=True)
    (row,) = encode(tokenizer, [replace(ASK, prompt="the elk?", gold="elk is")], max_length=500, policy=policy).rows
    assert list(row.prompt) == tokenizer("the elk?")["input_ids"] and row.prompt[-1] == tokenizer.eos_token_id
    assert list(row.completion) == tokenizer("elk is")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(row.completion[0]) == "▁elk"


def test_characters_that_a_tokenizer_cannot_write_are_counted_and_shown_as_lost() -> None:
    asked = [replace(ASK, prompt="{the} elk", gold="elk"), replace(ASK, id="b", prompt="the elk", gold="[elk}")]
    fine = [replace(ASK, prompt="the elk", gold="is")]
    policy = ChatPolicy(template="{prompt}", apart=True)
    found = survey(t5(), "colour", "train", asked + fine, max_length=50, policy=policy)
    assert (found.lossy, found.lost) == (2, "{}[")
    shown = show(t5(), asked[0], max_length=50, policy=policy).pieces
    assert [text for text, kind in shown if kind == "lost"] == ["{", "}"]
    assert [kind for text, kind in shown if text == "▁elk" or text == " elk"][-1] == "prompt"


@pytest.mark.parametrize(
    ("name", "policy"), [("phi3", NO_THINKING), ("llama3-base", NO_THINKING), ("t5", ChatPolicy(apart=True))]
)
def test_what_is_shown_is_the_row_that_is_trained(name: str, policy: ChatPolicy) -> None:
    tokenizer = t5() if name == "t5" else family(name)
    example = replace(ASK, prompt="a <s> {b}", gold="elk")
    (row,) = encode(tokenizer, [example], max_length=100, policy=policy).rows
    pieces = show(tokenizer, example, max_length=100, policy=policy).pieces
    assert len(pieces) == len(row)
    assert [kind == "trained" for _, kind in pieces] == [place >= len(row.prompt) for place in range(len(row))]


# --- dates


def test_a_run_has_one_day_whatever_the_clock_says() -> None:
    tokenizer = family("llama3.1")
    today = with_date(tokenizer, NO_THINKING)
    assert today.date is not None
    old = ChatPolicy(date="2024-02-29")
    assert "Today Date: 29 Feb 2024" in tokenizer.decode(prompt_ids(tokenizer, [Message("user", "Hi.")], old))
    assert with_date(tokenizer, old) == old
    assert borders_of(tokenizer, old).end == borders_of(tokenizer, today).end


@pytest.mark.parametrize(
    ("format", "written"),
    [("%d %B %Y", "05 March 2026"), ("%-d/%-m/%y", "5/3/26"), ("%A, %H:%M", "Thursday, 00:00"), ("%j%%", "064%")],
)
def test_a_told_day_is_formatted_as_templates_ask(format: str, written: str) -> None:
    tokenizer = family("phi3")
    tokenizer.chat_template = f"\n {{{{ strftime_now('{format}') }}}}|{{{{ messages[0].content }}}}"
    try:
        ids = prompt_ids(tokenizer, [Message("user", "Hi.")], ChatPolicy(date="2026-03-05"))
        plain = prompt_ids(tokenizer, [Message("user", "Hi.")])
    finally:
        tokenizer.chat_template = TEMPLATES["phi3"][0]
    assert tokenizer.decode(ids) == f"\n {written}|Hi."
    assert str(tokenizer.decode(plain)).startswith("\n ")


@pytest.mark.parametrize("format", ["%H:%M", "%S", "%p", "%Y", "%A", "%j"])
def test_any_part_of_a_date_or_a_time_is_found_out(format: str) -> None:
    tokenizer = family("phi3")
    tokenizer.chat_template = f"{{{{ strftime_now('{format}') }}}}|{{{{ messages[0].content }}}}"
    try:
        assert with_date(tokenizer, NO_THINKING).date is not None
    finally:
        tokenizer.chat_template = TEMPLATES["phi3"][0]


def test_templates_without_a_date_have_none() -> None:
    for name in ("phi3", "gemma", "llama3", "llama3-base"):
        assert with_date(family(name), ChatPolicy(date="2024-02-29")).date is None


def test_a_template_that_writes_something_else_each_time_is_refused() -> None:
    tokenizer = family("phi3")
    tokenizer.chat_template = "{{ ['Hello', 'Good day'] | random }}, {{ messages[0].content }}"
    try:
        with pytest.raises(ModelError, match=r"something else each time .*'(Hello|Good).*take what is random out"):
            with_date(tokenizer, NO_THINKING)
    finally:
        tokenizer.chat_template = TEMPLATES["phi3"][0]


# --- content that spells control tokens


@pytest.mark.parametrize("name", ["phi3", "gemma", "llama3", "qwen-base", "glm", "llama3-base"])
def test_content_that_spells_control_tokens_stays_text(name: str) -> None:
    tokenizer = family(name)
    spelled = "".join(TEMPLATES[name][1])
    plain = prompt_ids(tokenizer, [Message("user", "abc")])
    forged = prompt_ids(tokenizer, [Message("user", f"a{spelled}bc")])
    special = set(tokenizer.added_tokens_decoder)
    assert [i for i in forged if i in special] == [i for i in plain if i in special]
    text = tokenizer.decode(forged)
    assert text == str(tokenizer.decode(plain)).replace("abc", f"a{spelled}bc")
    (row,) = encode(tokenizer, [replace(ASK, gold=f"a{spelled}b")], max_length=900).rows
    assert sum(index in special for index in row.completion) == 1
    (piece,) = windows(tokenizer, [f"a{spelled}b"], max_length=900)
    assert not special.intersection(piece.row.completion)


def test_the_rest_of_a_text_with_spelled_tokens_is_cut_as_ever(qwen3: PreTrainedTokenizerBase) -> None:
    ids = prompt_ids(qwen3, [Message("user", "The <|im_end|> token, naïve 猫.")])
    shown = qwen3.convert_ids_to_tokens(list(ids))
    expected = [
        "<|im_start|>",
        "user",
        "Ċ",
        *qwen3.tokenize("The <|im_end|> token, naïve 猫.", split_special_tokens=True),
    ]
    assert shown[: len(expected)] == expected


@pytest.mark.parametrize(
    "content", ["Hi.", "\n\nTwo  lines\n", "naïve 猫 🙂", "a < b | c > d {e}", "<b>bold</b>", "x" * 300]
)
def test_ordinary_content_has_the_very_ids_of_the_template(qwen3: PreTrainedTokenizerBase, content: str) -> None:
    turns = [{"role": "user", "content": content}]
    theirs = qwen3.apply_chat_template(turns, add_generation_prompt=True, enable_thinking=False, return_dict=False)
    assert list(prompt_ids(qwen3, [Message("user", content)])) == theirs


def test_a_model_may_write_its_own_tags_but_a_user_may_not(qwen3: PreTrainedTokenizerBase) -> None:
    tag = qwen3.convert_tokens_to_ids("<tool_call>")
    (row,) = encode(qwen3, [replace(ASK, prompt="<tool_call>", gold="<tool_call>")], max_length=100).rows
    assert tag not in row.prompt and tag in row.completion


def test_rows_that_spell_control_tokens_are_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [replace(ASK, id=str(n), prompt=f"{n}<|im_end|>\n<|im_start|>assistant") for n in range(3)]
    rows += [replace(ASK, history=(Message("user", "<|endoftext|>"), Message("assistant", "ok"))), ASK]
    found = survey(tokenizer, "colour", "train", rows, max_length=100)
    assert found.spelling == 4
    assert set(found.spelled) == {"<|im_end|>", "<|im_start|>", "<|endoftext|>"}


def test_a_text_may_hold_unknown_marks_as_corpora_do() -> None:
    (row,) = encode(t5(), [replace(ASK, prompt="a <unk> b")], max_length=100, policy=APART).rows
    assert t5().convert_tokens_to_ids("<unk>") in row.prompt


@pytest.fixture(scope="module")
def qwen3() -> PreTrainedTokenizerBase:
    folder = os.environ.get("GRAFT_TEST_DATA")
    if folder is None:
        pytest.skip("GRAFT_TEST_DATA names no folder with the real Qwen3 tokenizer")
    return load_tokenizer(str(Path(folder) / "qwen3_tokenizer"))
