"""The common shapes of training rows, recognised by their columns, and each row as prompts with answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

from graft.data.thinking import split_thinking
from graft.errors import DataError
from graft.tasks.custom import column, place_of
from graft.tasks.dataset import Row
from graft.tasks.labels import is_missing
from graft.types import Message

Shape = Literal["preference", "completion", "alpaca", "sharegpt", "messages", "text"]

SHAPES: Mapping[Shape, tuple[str, tuple[str, ...]]] = {
    "preference": ("preferences, of which the chosen answer is trained", ("chosen", "rejected")),
    "messages": ("chat messages", ("messages",)),
    "sharegpt": ("ShareGPT", ("conversations",)),
    "alpaca": ("Alpaca", ("instruction", "output")),
    "completion": ("prompt and completion", ("prompt", "completion")),
    "text": ("plain text", ("text",)),
}
"""Shapes in the order in which they are looked for: their names and the columns that they must have."""

OPTIONAL: Mapping[Shape, tuple[str, ...]] = {
    "preference": ("prompt", "system", "tools"),
    "messages": ("system", "tools"),
    "sharegpt": ("system", "tools"),
    "alpaca": ("input", "system", "history"),
    "completion": ("system", "tools"),
}
"""Columns that are used where they are there."""

TEXT_FILES = (("text", "file"), ("text", "label", "file"))
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
    "function_call": "assistant",
}
"""Who speaks, by the names that are in use, in any case."""

ROLE_NAMES = frozenset({"role", "from"})
"""A turn has one of these."""

CONTENTS = ("content", "value")
"""What a turn says stands in one of these."""

ANSWERED = ("user", "assistant")
"""The two sides of an exchange."""

ASKERS = ("user", "tool")
"""Roles whose turns are answered."""

FIELDS = ("tool_calls", "tool_call_id", "name")
"""Fields of a turn that templates read beside its content."""

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields of an answer that hold the thinking before it."""

SWITCHES = ("weight", "loss_weight", "train", "trainable", "loss")
"""Entries of a turn or a row that say whether it is trained: 0 or false for no, 1 or true for yes."""

JUDGED = "label"
"""Column that says whether an answer was judged good, as in KTO."""

_NO, _YES = (0, "0", "0.0", "false", "no"), (1, "1", "1.0", "true", "yes")


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of a row.

    Attributes:
        prompt: the user turn or the tool's result before it; ``None`` for plain text.
        answer: what is trained, without thinking; may be empty before calls.
        reasoning: the thinking at its start; ``None`` without any.
        history: the turns before the prompt, earlier answers without their thinking.
        asker: role of the prompt: ``user`` or ``tool``.
        calls: tools that the answer calls, as the JSON of its ``tool_calls``; empty for none.
        asked: further fields of the prompt's turn, as JSON.
    """

    prompt: str | None
    answer: str
    reasoning: str | None = None
    history: tuple[Message, ...] = ()
    asker: str = "user"
    calls: str = ""
    asked: str = ""


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
    return tuple(columns) in TEXT_FILES or {*columns} - {renamed.get("text", "text")} == set()


def told(shape: Shape, columns: Sequence[str], renamed: Mapping[str, str]) -> str:
    """A shape in words: ``Alpaca: instruction, input, output``."""
    there = {*columns, *renamed}
    used = [*SHAPES[shape][1], *(extra for extra in OPTIONAL.get(shape, ()) if extra in there)]
    return (
        f"{SHAPES[shape][0]}: {', '.join(f'{name} from {renamed[name]}' if name in renamed else name for name in used)}"
    )


def used_columns(shape: Shape, renamed: Mapping[str, str]) -> list[str]:
    """The columns of a shape that play a part, by their own names."""
    wanted = [renamed.get(name, name) for name in (*SHAPES[shape][1], *OPTIONAL.get(shape, ()))]
    return [*wanted, *_marks(shape, renamed)]


def turns(row: Row, shape: Shape, renamed: Mapping[str, str]) -> list[Turn]:
    """The answers of a row that are trained: one for every assistant turn that follows a user turn or a tool's result.

    Two lists under ``prompt`` and ``completion`` are the two sides of a conversation, or its turns and their answers as
    messages. An answer that follows no such turn, such as an opening greeting, is only history, and so are turns marked
    as not to be trained (`SWITCHES`).

    Raises:
        DataError: a column is missing or holds something else, a role is unknown, two lists differ in length, or the
            row has nothing to train.
    """
    found = _TURNS[shape](row, renamed)
    if offered := _tools(row, renamed) if "tools" in OPTIONAL.get(shape, ()) else []:
        found = [replace(turn, history=(*offered, *turn.history)) for turn in found]
    if not found:
        raise DataError(f"{place_of(row)}: the conversation has no answer after a user turn; delete it")
    if any(turn.prompt is not None and not turn.answer.strip() and not turn.calls for turn in found):
        raise DataError(f"{place_of(row)}: the answer is empty, so nothing would be trained; fill it in or delete it")
    return found


def is_trained(row: Row, shape: Shape, renamed: Mapping[str, str]) -> bool:
    """Whether a row may be trained, by what it says of itself: a switch, or the ``label`` of an answer that was judged.

    A column of a switch's name that says neither yes nor no is about something else.
    """
    return not any(_said(row, name) is False for name in _marks(shape, renamed))


def odd_switches(row: Row, shape: Shape, renamed: Mapping[str, str]) -> Iterator[str]:
    """Columns of a switch's name that say neither yes nor no."""
    for name in _marks(shape, renamed):
        if not is_missing(row.get(name)) and _said(row, name) is None:
            yield name


def _marks(shape: Shape, renamed: Mapping[str, str]) -> list[str]:
    """The columns that may say whether a row is trained."""
    names = SWITCHES if shape in ("text", "preference") else (*SWITCHES, JUDGED)
    return [renamed.get(name, name) for name in names] if shape != "text" else []


def _said(row: Row, name: str) -> bool | None:
    """What a row's mark says; a judgement is a truth value, since other numbers are classes."""
    value = row.get(name)
    plain_truth = isinstance(value, bool) or str(value).strip().lower() in ("true", "false")
    return None if name == JUDGED and not plain_truth else _switch(value)


def unused_fields(row: Row, shape: Shape, renamed: Mapping[str, str]) -> Iterator[str]:
    """The fields of a row's turns that play no part."""
    known = {*ROLE_NAMES, *CONTENTS, *FIELDS, *REASONING, *SWITCHES, "function_call"}
    for name in ("messages", "conversations", "prompt", "completion", "chosen"):
        said = (
            _listed(row.get(renamed.get(name, name))) if name in (*SHAPES[shape][1], *OPTIONAL.get(shape, ())) else ()
        )
        for turn in said if isinstance(said, list) else ():
            if isinstance(turn, dict):
                yield from (field for field, value in turn.items() if field not in known and value not in (None, ""))


def _switch(value: Any) -> bool | None:
    """What a switch says; ``None`` where it says neither yes nor no."""
    said = value.strip().lower() if isinstance(value, str) else value
    return False if said in _NO else True if said in _YES else None


def _listed(value: Any) -> Any:
    """A list that some write as its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _completion(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    return _sides(row, renamed, _value(row, "prompt", renamed), _value(row, "completion", renamed))


def _preference(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    """The chosen answer: a text after the prompt, or the last one of the chosen messages."""
    chosen = _value(row, "chosen", renamed)
    chosen = _listed(chosen) if _is_chat(_listed(chosen)) else chosen
    if _is_chat(chosen) and _role(chosen[0]) in ("system", "developer", "user"):
        return _marked_answers(row, _system(row, renamed), chosen)[-1:]  # the whole conversation, the prompt included
    if "prompt" not in row and "prompt" not in renamed:
        raise DataError(
            f"{place_of(row)}: chosen holds {chosen!r:.60}, but nothing says what it answers; name the column of the "
            "prompt in columns: {prompt: …}"
        )
    return _sides(row, renamed, _value(row, "prompt", renamed), chosen)[-1:]


def _role(turn: Any) -> str | None:
    name = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
    return ROLES.get(name.lower()) if isinstance(name, str) else None


def _sides(row: Row, renamed: Mapping[str, str], prompt: Any, answer: Any) -> list[Turn]:
    """The answers of a prompt and a completion: texts, messages, or lists of texts."""
    prompt, answer = (_listed(side) if _is_chat(_listed(side)) else side for side in (prompt, answer))
    system = _system(row, renamed)
    if not isinstance(prompt, list) and not isinstance(answer, list):
        return [_turn(_text(row, prompt, "prompt"), _text(row, answer, "completion"), system)]
    sides = [side if isinstance(side, list) else [side] for side in (prompt, answer)]
    if any(isinstance(turn, dict) and ROLE_NAMES.intersection(turn) for side in sides for turn in side):
        return _marked_answers(row, system, _joined(sides))
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"{place_of(row)}: prompt holds {len(sides[0])} entries and completion {len(sides[1])}, but every prompt "
            "needs its answer; mend the row"
        )
    return _answers(row, [*system, *_exchanges(row, list(zip(*sides, strict=True)), "prompt or completion")])


def _is_chat(value: Any) -> bool:
    """Whether a value is a list of turns."""
    return isinstance(value, list) and bool(value) and all(_role(turn) is not None for turn in value)


def _alpaca(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    parts = [_text(row, _value(row, "instruction", renamed), "instruction")]
    if extra := _optional(row, "input", renamed):
        parts.append(extra)
    answer = _text(row, _value(row, "output", renamed), "output")
    before = _listed(row.get(renamed.get("history", "history"))) or []
    if not isinstance(before, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in before):
        raise DataError(f"{place_of(row)}: history must be a list of pairs, but got {before!r:.60}; mend the row")
    pairs = [*before, ("\n\n".join(parts), answer)]
    return _answers(row, [*_system(row, renamed), *_exchanges(row, pairs, "history")])


def _exchanges(row: Row, pairs: Sequence[Sequence[Any]], name: str) -> list[Message]:
    """Questions with their answers as turns."""
    return [Message(role, _text(row, text, name)) for pair in pairs for role, text in zip(ANSWERED, pair, strict=True)]


def _messages(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    return _conversation(row, "messages", renamed)


def _sharegpt(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    return _conversation(row, "conversations", renamed)


def _plain(row: Row, renamed: Mapping[str, str]) -> list[Turn]:
    return [Turn(None, _text(row, _value(row, "text", renamed), "text"))]


_TURNS = {
    "preference": _preference,
    "completion": _completion,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "messages": _messages,
    "text": _plain,
}


def _joined(sides: Sequence[Sequence[Any]]) -> list[Mapping[str, Any]]:
    """Messages under ``prompt`` and ``completion`` as one conversation; a bare text is its side's own turn."""
    return [
        turn if isinstance(turn, dict) else {"role": role, "content": turn}
        for role, side in zip(ANSWERED, sides, strict=True)
        for turn in side
    ]


def _conversation(row: Row, name: str, renamed: Mapping[str, str]) -> list[Turn]:
    said = _listed(_value(row, name, renamed))
    if not isinstance(said, list) or not all(isinstance(turn, dict) for turn in said):
        raise DataError(f"{place_of(row)}: {name} must be a list of turns, but got {said!r:.60}; mend the row")
    own = bool(said) and _role(said[0]) in ("system", "developer")
    return _marked_answers(row, [] if own else _system(row, renamed), said)


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
        said = turn.get(name)
        if said is not None and _switch(said) is None:
            raise DataError(
                f"{place_of(row)}: {name} of turn {number} is {said!r:.60}, but a turn is either trained (1 or true) "
                "or not (0 or false); mend the row"
            )
        if said is not None and not _switch(said):
            return False
    return True


def _message(row: Row, turn: Mapping[str, Any], number: int) -> Message:
    role = _role(turn)
    content = next((turn[name] for name in CONTENTS if turn.get(name) is not None), None)
    if role is None:
        raise DataError(
            f"{place_of(row)}: turn {number} is by {turn.get('role', turn.get('from'))!r}, but a turn is by "
            f"{', '.join(ROLES)}; rename or delete it"
        )
    fields = {name: turn[name] for name in FIELDS if turn.get(name)}
    if str(turn.get("role", turn.get("from"))).lower() == "function_call":
        content, fields["tool_calls"] = "", _calls(row, content, number)
    elif turn.get("function_call"):
        fields["tool_calls"] = _calls(row, turn["function_call"], number)
    elif "tool_calls" in fields:
        fields["tool_calls"] = _calls(row, fields["tool_calls"], number)
    if role == "assistant" and (thought := next((turn[name] for name in REASONING if turn.get(name)), None)):
        fields["reasoning_content"] = _text(row, thought, f"the reasoning of turn {number}")
    if content is None and "tool_calls" in fields:
        content = ""
    if isinstance(content, list):
        content = "".join(_part(row, part, number) for part in content)
    if not isinstance(content, str):
        raise DataError(f"{place_of(row)}: turn {number} must hold text, but got {content!r:.60}; mend the row")
    return Message(role, content, _json(fields))


def _calls(row: Row, value: Any, number: int) -> list[dict[str, Any]]:
    """Calls of tools as OpenAI writes them, whatever of it the row has."""
    value = _listed(value)
    calls = value if isinstance(value, list) else [value]
    whole = [call if isinstance(call, dict) and "function" in call else {"function": call} for call in calls]
    for call in whole:
        function = call["function"]
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise DataError(
                f"{place_of(row)}: turn {number} calls {function!r:.60}, but a call has the name of a function and its "
                "arguments; mend the row"
            )
    return [{"type": "function", **call} for call in whole]


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
        if message.role != "assistant":
            before.append(message)
            continue
        fields = json.loads(message.fields) if message.fields else {}
        reply = split_thinking(message.content)
        reasoning = fields.pop("reasoning_content", "") or reply.thinking
        calls = fields.get("tool_calls", [])
        if before and before[-1].role in ASKERS and all(trained[number - 1 : number]):
            if not reply.answer and not calls:
                raise DataError(f"{place_of(row)}: turn {number} is an empty answer; delete it or its row")
            asker, history = before[-1], tuple(before[:-1])
            found.append(
                Turn(asker.content, reply.answer, reasoning or None, history, asker.role, _json(calls), asker.fields)
            )
        kept = {**fields, "reasoning_content": reasoning} if calls and reasoning else fields
        before.append(Message("assistant", reply.answer, _json(kept)))
    return found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


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
    """What a row puts before its turns: its system column."""
    text = _optional(row, "system", renamed)
    return [Message("system", text)] if text else []


def _tools(row: Row, renamed: Mapping[str, str]) -> list[Message]:
    """The tools that a row offers, as the turn that stands for them."""
    name = renamed.get("tools", "tools")
    tools = _listed(column(row, name)) if name in row else None
    if is_missing(tools) or tools in ("", []):
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{place_of(row)}: {name} must be a list of tools, but got {tools!r:.60}; mend the row")
    return [Message("tools", "", _json({"tools": tools}))]


def _text(row: Row, value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return str(value)
    raise DataError(f"{place_of(row)}: {name} must hold text, but got {value!r:.60}; mend the row")
