"""The chat template that leaves the lab: whoever renders it gets the prompt that was measured, and no other.

What a run passes to a template beside the turns (its day, whether to think, a system turn) other tools do not pass, so
it is fixed inside. A model without a template gets the plain one of its run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graft.data.borders import borders_of
from graft.data.chat import ChatPolicy, pin_date, pin_thinking_off

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_SYSTEM = "not messages or messages[0]['role'] not in ['system', 'developer']"


@contextmanager
def pinned(tokenizer: PreTrainedTokenizerBase, policy: ChatPolicy) -> Iterator[PreTrainedTokenizerBase]:
    """Within the block the tokenizer has the template that is to be exported."""
    kept = tokenizer.chat_template
    if kept is None:
        start = tokenizer.convert_ids_to_tokens(list(borders_of(tokenizer, policy).start))
        tokenizer.chat_template = plain_template(policy.template, "".join(start))
    elif policy.thinking == "off":
        pin_thinking_off(tokenizer)
    pin_date(tokenizer, policy.date)
    if policy.system:
        turn = f"[{{'role': 'system', 'content': {_literal(policy.system)}}}]"
        head = f"{{%- if {NO_SYSTEM} -%}}{{%- set messages = {turn} + messages -%}}{{%- endif -%}}"
        tokenizer.chat_template = head + str(tokenizer.chat_template)
    try:
        yield tokenizer
    finally:
        tokenizer.chat_template = kept


def plain_template(template: str, start: str = "") -> str:
    """A recipe's plain prompt as a chat template: an empty line follows every other turn.

    Args:
        template: the prompt, with ``{prompt}`` in it.
        start: what the tokenizer puts before a text of its own accord.
    """
    before, _, after = template.partition("{prompt}")
    user = f"{_literal(before)} ~ message['content'] ~ {_literal(after)}"
    return (
        f"{{{{- {_literal(start)} -}}}}"
        "{%- for message in messages -%}{%- if message['role'] == 'user' -%}"
        f"{{{{- {user} -}}}}"
        "{%- else -%}{{- message['content'] ~ '\\n\\n' -}}{%- endif -%}{%- endfor -%}"
    )


def _literal(text: str) -> str:
    """A text as Jinja writes it in quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
