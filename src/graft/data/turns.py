"""The turns of a conversation as chat templates read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graft.data.controls import mark
from graft.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def as_read(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns with all their texts marked; the arguments of tool calls are objects."""
    return [_turn(tokenizer, turn) for turn in turns]


def _turn(tokenizer: PreTrainedTokenizerBase, turn: Message) -> dict[str, Any]:
    def marked(value: Any) -> Any:
        if isinstance(value, str):
            return mark(tokenizer, value, turn.role)
        if isinstance(value, list):
            return [marked(part) for part in value]
        if isinstance(value, dict):
            return {key: marked(_object(part) if key == "arguments" else part) for key, part in value.items()}
        return value

    fields = marked(json.loads(turn.fields)) if turn.fields else {}
    return {"role": turn.role, "content": marked(turn.content), **fields}


def _object(arguments: Any) -> Any:
    """Arguments of a call, which some write as an object and some as its JSON text."""
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
    return found if isinstance(found, dict) else arguments
