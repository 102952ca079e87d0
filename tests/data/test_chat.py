"""One place renders prompts, and what it renders is what training, scoring and other tools see, token for token."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import graft
from graft.data.chat import (
    NO_THINKING,
    PLAIN,
    ChatPolicy,
    ThinkingMode,
    check_policy,
    opens_thinking,
    pin_thinking_off,
    render_chat,
    render_prompt,
    thinking_mode,
)
from graft.data.tokens import encode
from graft.errors import DataError, ModelError, ThinkingPolicyError
from graft.types import Example, Message

ASK = Example("spelling/straw", "spelling", "Spell the word straw.", "s-t-r-a-w", cluster="straw")
REASONED = replace(ASK, id="spelling/straw/why", reasoning="The letters come one by one.")
ON, COMPARE = ChatPolicy("on"), ChatPolicy("compare")
EMPTY_BLOCK = "<think>\n\n</think>\n\n"
SWITCHED_TAIL = """    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}"""


@pytest.fixture(scope="module")
def real_folder() -> Path:
    if "GRAFT_TEST_DATA" not in os.environ:
        pytest.skip("GRAFT_TEST_DATA names no folder with the real Qwen3 tokenizer")
    return Path(os.environ["GRAFT_TEST_DATA"]) / "qwen3_tokenizer"


@pytest.fixture(scope="module")
def qwen3(real_folder: Path) -> PreTrainedTokenizerBase:
    """The real tokenizer with the real hybrid template."""
    found = AutoTokenizer.from_pretrained(real_folder)
    found.chat_template = (real_folder / "chat_template.jinja").read_text(encoding="utf-8")
    return found


@pytest.fixture(scope="module", params=["sprout", "qwen3"])
def hybrid(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """Each tokenizer whose template has a thinking switch."""
    found: PreTrainedTokenizerBase = request.getfixturevalue({"sprout": "tokenizer"}.get(request.param, request.param))
    return found


def with_template(tokenizer: PreTrainedTokenizerBase, template: str | None) -> PreTrainedTokenizerBase:
    changed = deepcopy(tokenizer)
    changed.chat_template = template
    return changed


def always(qwen3: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """As the Thinking-2507 models: the prompt ends inside an open block, and there is no switch."""
    assert SWITCHED_TAIL in qwen3.chat_template
    tail = "    {{- '<|im_start|>assistant\\n<think>\\n' }}"
    return with_template(qwen3, qwen3.chat_template.replace(SWITCHED_TAIL, tail))


def never(qwen3: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """As the Instruct-2507 models: no block and no switch."""
    return with_template(qwen3, qwen3.chat_template.replace(SWITCHED_TAIL, "    {{- '<|im_start|>assistant\\n' }}"))


def callers() -> Iterator[str]:
    root = Path(graft.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
            text = node.value if isinstance(node, ast.Constant) else None
            if "apply_chat_template" in (named, text):
                yield str(path.relative_to(root))


def test_one_file_renders_chat_prompts_and_in_one_place() -> None:
    asked = [path for path in callers() if not path.startswith("export/")]  # which hold the template against a copy
    assert asked == ["data/chat.py"]


def test_without_thinking_the_empty_block_is_the_end_of_the_prompt_and_is_masked(
    hybrid: PreTrainedTokenizerBase,
) -> None:
    row = encode(hybrid, [ASK], max_length=100).rows[0]
    block = tuple(hybrid.encode(EMPTY_BLOCK, add_special_tokens=False))
    assert row.prompt[-len(block) :] == block
    assert hybrid.convert_tokens_to_ids("<think>") in block
    assert not set(row.completion) & {hybrid.convert_tokens_to_ids(tag) for tag in ("<think>", "</think>")}


def test_training_rows_are_the_chat_that_the_template_itself_renders(hybrid: PreTrainedTokenizerBase) -> None:
    row = encode(hybrid, [ASK], max_length=100).rows[0]
    turns = [{"role": "user", "content": ASK.prompt}, {"role": "assistant", "content": ASK.gold}]
    whole = hybrid.apply_chat_template(turns, tokenize=False)
    newline = tuple(hybrid.encode("\n", add_special_tokens=False))
    assert row.prompt + row.completion + newline == tuple(hybrid.encode(whole, add_special_tokens=False))


def test_training_scoring_and_generation_see_the_same_prompt_ids(hybrid: PreTrainedTokenizerBase) -> None:
    trained = encode(hybrid, [ASK], max_length=100).rows[0].prompt
    scored = encode(hybrid, [ASK], max_length=100, think=False).rows[0].prompt
    generated = hybrid.encode(render_chat(hybrid, [Message("user", ASK.prompt or "")]), add_special_tokens=False)
    assert trained == scored == tuple(generated)


def test_an_exported_tokenizer_gives_other_tools_the_same_prompt_whatever_they_ask_for(
    hybrid: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    saved = deepcopy(hybrid)
    pin_thinking_off(saved)
    saved.save_pretrained(tmp_path)
    other = AutoTokenizer.from_pretrained(tmp_path)
    turn = [{"role": "user", "content": ASK.prompt}]
    expected = list(encode(hybrid, [ASK], max_length=100).rows[0].prompt)
    for asked in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
        ids = other.apply_chat_template(turn, add_generation_prompt=True, return_dict=False, **asked)
        assert ids == expected, asked
    assert list(encode(other, [ASK], max_length=100).rows[0].prompt) == expected


def test_a_pinned_template_is_not_pinned_twice(hybrid: PreTrainedTokenizerBase) -> None:
    once = deepcopy(hybrid)
    pin_thinking_off(once)
    twice = deepcopy(once)
    pin_thinking_off(twice)
    assert once.chat_template != hybrid.chat_template
    assert twice.chat_template == once.chat_template


def test_the_published_non_thinking_template_and_the_policy_agree(
    qwen3: PreTrainedTokenizerBase, real_folder: Path
) -> None:
    published = with_template(qwen3, (real_folder / "qwen3_nonthinking.jinja").read_text(encoding="utf-8"))
    assert thinking_mode(published) is ThinkingMode.NEVER
    assert render_prompt(published, "Why?") == render_prompt(qwen3, "Why?")
    system = ChatPolicy(system="Be brief.")
    assert render_prompt(published, "Why?", system) == render_prompt(qwen3, "Why?", system)


def test_the_page_on_qwen3_says_what_the_real_files_say(qwen3: PreTrainedTokenizerBase, real_folder: Path) -> None:
    config = json.loads((real_folder / "config.json").read_text(encoding="utf-8"))
    assert (qwen3.pad_token, qwen3.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert (config["torch_dtype"], config["tie_word_embeddings"]) == ("bfloat16", True)
    row = encode(qwen3, [ASK], max_length=100).rows[0]
    page = Path(__file__).parents[2] / "docs" / "qwen3.md"
    assert qwen3.decode(row.prompt + row.completion) in page.read_text(encoding="utf-8")


def test_with_the_policy_off_thinking_cannot_be_asked_for(hybrid: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ThinkingPolicyError, match="thinking is off, but a thinking reply was asked for"):
        render_prompt(hybrid, "Why?", think=True)
    with pytest.raises(ThinkingPolicyError, match="spelling/straw/why carries reasoning, but thinking is off"):
        encode(hybrid, [ASK, REASONED], max_length=100)


def test_modes_are_read_from_the_template(qwen3: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase) -> None:
    assert thinking_mode(tokenizer) is thinking_mode(qwen3) is ThinkingMode.SWITCH
    assert thinking_mode(always(qwen3)) is ThinkingMode.ALWAYS
    assert thinking_mode(never(qwen3)) is ThinkingMode.NEVER
    assert thinking_mode(with_template(qwen3, None)) is ThinkingMode.NEVER


def test_a_model_that_must_think_is_refused_unless_thinking_is_on(qwen3: PreTrainedTokenizerBase) -> None:
    model = always(qwen3)
    assert check_policy(model, ON) is ThinkingMode.ALWAYS
    for policy in (NO_THINKING, COMPARE):
        with pytest.raises(ThinkingPolicyError, match=r"always opens a thinking block.*set thinking: on"):
            check_policy(model, policy)
    with pytest.raises(ThinkingPolicyError, match="give training rows their reasoning"):
        encode(model, [ASK], max_length=100, policy=ON)


def test_a_model_that_cannot_think_is_refused_unless_thinking_is_off(qwen3: PreTrainedTokenizerBase) -> None:
    assert check_policy(never(qwen3), NO_THINKING) is ThinkingMode.NEVER
    for policy in (ON, COMPARE):
        with pytest.raises(ThinkingPolicyError, match="has no enable_thinking switch; set thinking: off"):
            check_policy(never(qwen3), policy)
        with pytest.raises(ThinkingPolicyError, match="it has no chat template"):
            check_policy(with_template(qwen3, None), policy)


def test_a_hybrid_model_serves_every_policy(hybrid: PreTrainedTokenizerBase) -> None:
    for policy in (NO_THINKING, ON, COMPARE):
        assert check_policy(hybrid, policy) is ThinkingMode.SWITCH


def test_reasoning_is_trained_before_the_answer_as_the_template_would_write_it(qwen3: PreTrainedTokenizerBase) -> None:
    row = encode(qwen3, [REASONED], max_length=100, policy=ON).rows[0]
    turns = [
        {"role": "user", "content": ASK.prompt},
        {"role": "assistant", "content": ASK.gold, "reasoning_content": REASONED.reasoning},
    ]
    whole = qwen3.apply_chat_template(turns, tokenize=False, enable_thinking=True)
    assert qwen3.decode(row.prompt + row.completion) + "\n" == whole
    assert qwen3.decode(row.prompt).endswith("<|im_start|>assistant\n")
    assert qwen3.decode(row.completion).startswith("<think>\nThe letters")


def test_where_the_template_opens_the_block_the_completion_does_not_open_it_again(
    qwen3: PreTrainedTokenizerBase,
) -> None:
    row = encode(always(qwen3), [REASONED], max_length=100, policy=ON).rows[0]
    prompt, completion = qwen3.decode(row.prompt), qwen3.decode(row.completion)
    assert opens_thinking(prompt)
    assert completion == "The letters come one by one.\n</think>\n\ns-t-r-a-w<|im_end|>"


def test_a_row_without_reasoning_is_an_answer_without_thinking_even_when_thinking_is_on(
    hybrid: PreTrainedTokenizerBase,
) -> None:
    assert encode(hybrid, [ASK], max_length=100, policy=ON) == encode(hybrid, [ASK], max_length=100)


def test_scoring_leaves_reasoning_out(hybrid: PreTrainedTokenizerBase) -> None:
    plain, thinking = (encode(hybrid, [REASONED], max_length=100, policy=COMPARE, think=t) for t in (False, True))
    assert plain == encode(hybrid, [ASK], max_length=100)
    assert thinking.rows[0].completion == plain.rows[0].completion
    assert hybrid.decode(thinking.rows[0].prompt).endswith("<|im_start|>assistant\n")


def test_the_system_turn_stands_before_every_prompt(hybrid: PreTrainedTokenizerBase) -> None:
    text = render_prompt(hybrid, "Why?", ChatPolicy(system="Be brief."))
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?")


def test_a_conversation_keeps_its_order_and_loses_old_thinking(hybrid: PreTrainedTokenizerBase) -> None:
    turns = [Message("user", "One?"), Message("assistant", "<think>\nhm\n</think>\n\nTwo."), Message("user", "Three?")]
    text = render_chat(hybrid, turns)
    assert text.index("One?") < text.index("Two.") < text.index("Three?")
    assert "hm" not in text
    assert text.endswith(EMPTY_BLOCK)


def test_a_model_without_a_chat_template_gets_the_recipes_plain_one(tokenizer: PreTrainedTokenizerBase) -> None:
    bare = with_template(tokenizer, None)
    assert render_prompt(bare, "Why {so}?") == PLAIN.replace("{prompt}", "Why {so}?")
    policy = ChatPolicy(system="Be brief.", template="Q: {prompt} {}\nA:\n")
    turns = [Message("user", "One?"), Message("assistant", "Two."), Message("user", "Three?")]
    assert render_chat(bare, turns, policy) == "Be brief.\n\nQ: One? {}\nA:\nTwo.\n\nQ: Three? {}\nA:\n"


def test_the_default_plain_template_cuts_prompt_and_answer_apart(
    qwen3: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase
) -> None:
    for bare in (with_template(qwen3, None), with_template(tokenizer, None)):
        row = encode(bare, [ASK], max_length=100).rows[0]
        assert bare.decode(row.prompt) == render_prompt(bare, ASK.prompt or "")


def test_a_prompt_whose_last_token_changes_with_the_answer_is_refused_by_the_rows_name(
    qwen3: PreTrainedTokenizerBase,
) -> None:
    ends_in_a_space = ChatPolicy(template="Question: {prompt}\nAnswer: ")
    with pytest.raises(DataError, match=r"example spelling/straw: the end of its prompt .*Answer: .* line break"):
        encode(with_template(qwen3, None), [ASK], max_length=100, policy=ends_in_a_space)
    begins_with_a_break = replace(ASK, id="spelling/broken", gold="\ns-t")
    with pytest.raises(DataError, match="example spelling/broken: the end of its prompt"):
        encode(qwen3, [ASK, begins_with_a_break], max_length=100)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('no such thing') }}", "fails on the turns user: TemplateError: no such thing"),
        ("{{ messages[3].content }}", "fails on the turns user: UndefinedError"),
        ("{% for m in messages %}", "fails on the turns user: TemplateSyntaxError"),
        ("<|im_start|>assistant\n", "leaves out the user turn 'Why is the sky blue"),
    ],
)
def test_a_broken_template_is_one_clear_error(tokenizer: PreTrainedTokenizerBase, template: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        render_prompt(with_template(tokenizer, template), "Why is the sky blue?")
    assert "mend its chat_template.jinja, or remove it to use model.template" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_template_without_a_system_turn_says_what_to_leave_unset(tokenizer: PreTrainedTokenizerBase) -> None:
    drops = with_template(tokenizer, "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    refuses = with_template(tokenizer, "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}")
    for model in (drops, refuses):
        with pytest.raises(ModelError, match=r"leave model\.system unset"):
            render_prompt(model, "Why?", ChatPolicy(system="Be brief."))


def test_spaces_that_a_template_trims_are_no_missing_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    trims = with_template(tokenizer, "{% for m in messages %}{{ m.content | trim }}\n{% endfor %}")
    assert render_prompt(trims, "  Why?\n") == "Why?\n"
