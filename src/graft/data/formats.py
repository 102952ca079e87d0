"""The common shapes of training rows, recognised by their columns, and each row as prompts with answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

from graft.data.thinking import split_thinking
from graft.errors import DataError
from graft.tasks.custom import column, is_missing, place_of
from graft.tasks.dataset import Row
from graft.types import Message

Shape = Literal["completion", "alpaca", "sharegpt", "messages", "text"]

SHAPES: Mapping[Shape, tuple[str, tuple[str, ...]]] = {
    "messages": ("chat messages", ("messages",)),
    "sharegpt": ("ShareGPT", ("conversations",)),
    "alpaca": ("Alpaca", ("instruction", "output")),
    "completion": ("prompt and completion", ("prompt", "completion")),
    "text": ("plain text", ("text",)),
}
"""Shapes in the order in which they are looked for: their names and the columns that they must have."""

OPTIONAL: Mapping[Shape, tuple[str, ...]] = {"alpaca": ("input", "system"), "completion": ("system",)}
"""Columns that are used where they are there."""

_TEXT_FILES = (("text", "file"), ("text", "label", "file"))
"""The columns that text files have."""

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "developer": "developer",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""Who speaks, by the names that are in use."""

ROLE_NAMES = frozenset({"role", "from"})
"""A turn has one of these."""

ASKERS = ("user", "tool")
"""Roles whose turns are answered."""

FIELDS = ("tool_calls", "tool_call_id", "name")
"""Fields of a turn that templates read beside its content."""


SWITCHES = ("weight", "train", "trainable", "loss")
"""Entries of a turn that say whether it is trained: 0 or false for no, 1 or true for yes."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of a row.

    Attributes:
        prompt: the user turn or the tool's result before it; ``None`` for plain text.
        answer: what is trained, without thinking.
        reasoning: the thinking at its start; ``None`` without any.
        history: the turns before the prompt, earlier answers without their thinking.
        asker: role of the prompt: ``user`` or ``tool``.
    """

    prompt: str | None
    answer: str
    reasoning: str | None = None
    history: tuple[Message, ...] = ()
    asker: str = "user"


def recognise(columns: Sequence[str], renamed: Mapping[str, str], name: str) -> Shape:
    """The shape of rows, by the names of their columns.

    Args:
        columns: the columns that are there.
        renamed: wanted names with the columns that hold them.
        name: the task, for the error.

    Raises:
        DataError: no shape fits, or only plain text would although there are other columns.
    """
    there = {*columns, *renamed}
    for shape, (_, wanted) in SHAPES.items():
        if there.issuperset(wanted) and (shape != "text" or _text_alone(columns, renamed)):
            return shape
    known = "; ".join(f"{title}: {', '.join(wanted)}" for title, wanted in SHAPES.values())
    raise DataError(
        f"task {name}: its rows have the columns {', '.join(columns)}, which are of no known shape ({known}); give a "
        "prompt with a label or completion, name the shape in format, or rename in columns"
    )


def _text_alone(columns: Sequence[str], renamed: Mapping[str, str]) -> bool:
    """Whether rows are nothing but text: one column, or those that are made of text files."""
    return tuple(columns) in _TEXT_FILES or {*columns} - {renamed.get("text", "text")} == set()


def told(shape: Shape, columns: Sequence[str], renamed: Mapping[str, str]) -> str:
    """A shape in words: ``Alpaca: instruction, input, output``."""
    there = {*columns, *renamed}
    used = [*SHAPES[shape][1], *(extra for extra in OPTIONAL.get(shape, ()) if extra in there)]
    return (
        f"{SHAPES[shape][0]}: {', '.join(f'{name} from {renamed[name]}' if name in renamed else name for name in used)}"
    )


def turns(row: Row, shape: Shape, renamed: Mapping[str, str]) -> list[Turn]:
    """The answers of a row that are trained: one for every assistant turn that follows a user turn or a tool's result.

    Two lists under ``prompt`` and ``completion`` are the two sides of a conversation, or its turns and their answers as
    messages. An answer that follows no such turn, such as an opening greeting, is only history, and so are turns that
    call tools (how a call is spelled is the template's affair) and turns marked as not to be trained (`SWITCHES`).

    Raises:
        DataError: a column is missing or holds something else, a role is unknown, two lists differ in length, or the
            row has nothing to train.
    """
    found = _TURNS[shape](row, renamed)
    if not found:
        raise DataError(f"{place_of(row)}: the conversation has no answer after a user turn; delete it")
    return found


def _completion(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    prompt, answer = _value(row, "prompt", renamed), _value(row, "completion", renamed)
    system = _system(row, renamed)
    if not isinstance(prompt, list) and not isinstance(answer, list):
        return [_turn(_text(row, prompt, "prompt"), _text(row, answer, "completion"), system)]
    sides = [side if isinstance(side, list) else [side] for side in (prompt, answer)]
    if any(isinstance(turn, dict) and ROLE_NAMES.intersection(turn) for side in sides for turn in side):
        return _marked_answers(row, system, _said(sides))
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"{place_of(row)}: prompt holds {len(sides[0])} entries and completion {len(sides[1])}, but every prompt "
            "needs its answer; mend the row"
        )
    pairs = zip(*sides, strict=True)
    return _answers(
        row,
        [
            *system,
            *(
                message
                for asked, said in pairs
                for message in (
                    Message("user", _text(row, asked, "prompt")),
                    Message("assistant", _text(row, said, "completion")),
                )
            ),
        ],
    )


def _alpaca(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    parts = [_text(row, _value(row, "instruction", renamed), "instruction")]
    if extra := _optional(row, "input", renamed):
        parts.append(extra)
    answer = _text(row, _value(row, "output", renamed), "output")
    return [_turn("\n\n".join(parts), answer, _system(row, renamed))]


def _messages(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    return _conversation(row, "messages", renamed)


def _sharegpt(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    return _conversation(row, "conversations", renamed)


def _plain(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    return [Turn(None, _text(row, _value(row, "text", renamed), "text"))]


_TURNS = {
    "completion": _completion,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "messages": _messages,
    "text": _plain,
}


def _said(sides: Sequence[Sequence[Any]]) -> list[Mapping[str, Any]]:
    """Messages under ``prompt`` and ``completion`` as one conversation; a bare text is its side's own turn."""
    return [
        turn if isinstance(turn, dict) else {"role": role, "content": turn}
        for role, side in zip(("user", "assistant"), sides, strict=True)
        for turn in side
    ]


def _conversation(row: Row, name: str, renamed: Mapping[str, str]) -> list[Turn]:
    said = _value(row, name, renamed)
    if not isinstance(said, list) or not all(isinstance(turn, dict) for turn in said):
        raise DataError(f"{place_of(row)}: {name} must be a list of turns, but got {said!r:.60}; mend the row")
    return _marked_answers(row, [], said)


def _marked_answers(row: Row, system: Sequence[Message], said: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The answers of turns that may say of themselves whether they are trained."""
    messages = [*system, *(_message(row, turn, number) for number, turn in enumerate(said, 1))]
    trained = [_is_trained(row, turn, number) for number, turn in enumerate(said, 1)]
    found = _answers(row, messages, [True] * len(system) + trained)
    if not found and _answers(row, messages):
        raise DataError(f"{place_of(row)}: every answer is marked as not to be trained; delete the row")
    return found


def _is_trained(row: Row, turn: Mapping[str, Any], number: int) -> bool:
    """Whether a turn is to be trained, by what it says of itself."""
    for name in SWITCHES:
        value = turn.get(name)
        if value is not None and value not in (0, 1):
            raise DataError(
                f"{place_of(row)}: {name} of turn {number} is {value!r:.60}, but a turn is either trained (1 or true) "
                "or not (0 or false); mend the row"
            )
        if value is not None and not value:
            return False
    return True


def _message(row: Row, turn: Mapping[str, Any], number: int) -> Message:
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    if role not in ROLES:
        raise DataError(
            f"{place_of(row)}: turn {number} is by {role!r}, but a turn is by {', '.join(ROLES)}; rename or delete it"
        )
    fields = {name: turn[name] for name in FIELDS if turn.get(name)}
    if content is None and "tool_calls" in fields:
        content = ""
    if isinstance(content, list):
        content = "".join(_part(row, part, number) for part in content)
    if not isinstance(content, str):
        raise DataError(f"{place_of(row)}: turn {number} must hold text, but got {content!r:.60}; mend the row")
    return Message(ROLES[role], content, json.dumps(fields, ensure_ascii=False) if fields else "")


def _part(row: Row, part: Any, number: int) -> str:
    """The text of one of several parts of a turn."""
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    raise DataError(
        f"{place_of(row)}: turn {number} has a part that is no text: {part!r:.60}; a language model reads text alone, "
        "so delete the row"
    )


def _answers(row: Row, messages: Sequence[Message], trained: Sequence[bool] = ()) -> list[Turn]:
    """The answers of a conversation, those that are not trained left out; all are without ``trained``."""
    found: list[Turn] = []
    before: list[Message] = []
    for number, message in enumerate(messages, 1):
        if message.role != "assistant" or "tool_calls" in message.fields:
            before.append(message)
            continue
        turn = _turn(before[-1].content if before else "", message.content, before[:-1])
        if before and before[-1].role in ASKERS and all(trained[number - 1 : number]):
            if not turn.answer:
                raise DataError(f"{place_of(row)}: turn {number} is an empty answer; delete it or its row")
            found.append(replace(turn, asker=before[-1].role))
        before.append(Message("assistant", turn.answer))
    return found


def _turn(prompt: str, said: str, history: Sequence[Message]) -> Turn:
    reply = split_thinking(said)
    return Turn(prompt, reply.answer, reply.thinking or None, tuple(history))


def _value(row: Row, name: str, renamed: Mapping[str, str]) -> Any:
    return column(row, renamed.get(name, name))


def _optional(row: Row, name: str, renamed: Mapping[str, str]) -> str:
    if name not in renamed and name not in row:
        return ""
    value = _value(row, name, renamed)
    return "" if is_missing(value) else _text(row, value, name)


def _system(row: Row, renamed: Mapping[str, str]) -> list[Message]:
    text = _optional(row, "system", renamed)
    return [Message("system", text)] if text else []


def _text(row: Row, value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return str(value)
    raise DataError(f"{place_of(row)}: {name} must hold text, but got {value!r:.60}; mend the row")
