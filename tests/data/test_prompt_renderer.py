from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.data.chat import ChatPolicy, PromptRenderer, render_prompt
from graft.errors import ModelError
from graft.models.loading import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRIMMING = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{% endfor %}"
SHOUTING = "{% for m in messages %}{{ m.content }} ({{ m.content | length }}){% endfor %}"


@settings(max_examples=150, deadline=None)
@given(prompt=st.text(min_size=1), think=st.booleans())
def test_a_rendered_prompt_is_what_the_template_writes(prompt: str, think: bool) -> None:
    data = os.environ.get("GRAFT_TEST_DATA")
    if data is None:
        pytest.skip("needs the real Qwen3 tokenizer in GRAFT_TEST_DATA")
    policy = ChatPolicy("compare", "Be brief.")
    assert PromptRenderer(_qwen3(data), policy).render(prompt, think=think) == render_prompt(
        _qwen3(data), prompt, policy, think=think
    )


@pytest.mark.parametrize("template", [TRIMMING, SHOUTING, None])
@pytest.mark.parametrize("prompt", ["Spell the word tree.", "  Spell the word tree. ", "a <b> {c} |d|", "two\nlines"])
def test_templates_that_change_prompts_are_obeyed(
    tokenizer: PreTrainedTokenizerBase, template: str | None, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", template)
    assert PromptRenderer(tokenizer).render(prompt) == render_prompt(tokenizer, prompt)


def test_a_template_that_fails_says_so(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('no') }}")
    with pytest.raises(ModelError, match="chat template"):
        PromptRenderer(tokenizer).render("Spell the word tree.")


_LOADED: dict[str, PreTrainedTokenizerBase] = {}


def _qwen3(data: str) -> PreTrainedTokenizerBase:
    if data not in _LOADED:
        _LOADED[data] = load_tokenizer(str(Path(data) / "qwen3_tokenizer"))
    return _LOADED[data]
