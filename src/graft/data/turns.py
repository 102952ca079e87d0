"""The turns of a conversation as chat templates and servers read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from graft.data.controls import mark
from graft.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def as_read(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message], *, think: bool
) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Turns with all their texts marked, and the tools on offer; the arguments of tool calls are objects.

    Args:
        tokenizer: it knows the control tokens.
        turns: the conversation.
        think: thinking is part of it; else what turns hold of it is left out.
    """
    said = [turn for turn in turns if turn.role != "tools"]
    tools = [_marked(tool, _marker(tokenizer, "user")) for turn in turns for tool in _offered(turn)]
    return [_turn(tokenizer, turn, think) for turn in said], tools or None


def offered_tools(turns: Sequence[Message]) -> Iterator[str]:
    """The names of the tools on offer."""
    for tool in (tool for turn in turns for tool in _offered(turn)):
        function = tool.get("function", tool)
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"]


def _offered(turn: Message) -> list[Any]:
    found: list[Any] = json.loads(turn.fields)["tools"] if turn.role == "tools" else []
    return found


def _marker(tokenizer: PreTrainedTokenizerBase, role: str) -> Callable[[str], str]:
    return lambda text: mark(tokenizer, text, role)


def _marked(value: Any, marker: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return marker(value)
    if isinstance(value, list):
        return [_marked(part, marker) for part in value]
    if isinstance(value, dict):
        return {key: _marked(_object(part) if key == "arguments" else part, marker) for key, part in value.items()}
    return value


def _turn(tokenizer: PreTrainedTokenizerBase, turn: Message, think: bool) -> dict[str, Any]:
    marker = _marker(tokenizer, turn.role)
    fields = _marked(json.loads(turn.fields), marker) if turn.fields else {}
    if not think:
        fields.pop("reasoning_content", None)
    return {"role": turn.role, "content": marker(turn.content), **fields}


def _object(arguments: Any) -> Any:
    """Arguments of a call, which some write as an object and some as its JSON text."""
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
    return found if isinstance(found, dict) else arguments
