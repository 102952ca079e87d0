"""Rendering an example as the text that a model sees. Nothing else calls a chat template.

The whole project runs non-thinking: `enable_thinking=False` is always passed, so a template with a thinking switch
puts its empty ``<think></think>`` block into the prompt, where it is masked, and training, evaluation and export
see the same tokens. A model without a chat template gets `PLAIN`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN = "Question: {prompt}\nAnswer: "
"""Prompt for models without a chat template."""


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The text up to the place where the model's answer begins."""
    if tokenizer.chat_template is None:
        return PLAIN.format(prompt=prompt)
    turn = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False))


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends an answer; it is trained and it counts in exact match.

    Raises:
        DataError: the tokenizer names no end-of-sequence token.
    """
    if tokenizer.eos_token_id is None:
        from graft.errors import DataError

        raise DataError(
            f"the tokenizer of {tokenizer.name_or_path} has no eos_token, so no answer could ever end; "
            "set eos_token in its tokenizer_config.json"
        )
    return int(tokenizer.eos_token_id)
