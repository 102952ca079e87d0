"""Rows for style control from a JSONL file, and the rule that a control token is one token before an unchanged prompt.

A row holds one prompt with an answer per style, named after the tokens,

    {"prompt": "What is a lens?", "terse": "Curved glass that bends light.", "verbose": "A lens is …"}

or one conversation whose last user turn begins with a token:

    {"messages": [{"role": "user", "content": "<STYLE_TERSE>What is a lens?"}, {"role": "assistant", "content": "…"}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.data.chat import NO_THINKING, ChatPolicy
from graft.data.tokens import prompt_ids
from graft.errors import DataError
from graft.tasks.dataset import Rows, is_held_out
from graft.tasks.style import style_name
from graft.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def style_rows(path: Path, tokens: Sequence[str], *, held_out: float) -> Rows:
    """The rows of a file, cut into training and held-out ones by their prompts.

    Args:
        path: the JSONL file.
        tokens: the control tokens.
        held_out: share of the prompts that is held out, in (0, 1).

    Raises:
        DataError: when the rows are first read: the file is missing, a line breaks the rules, or a part is empty.
    """
    parts: dict[str, list[Mapping[str, Any]]] = {}

    def rows(part: str) -> Sequence[Mapping[str, Any]]:
        if not parts:
            found = list(read_style_file(path, tokens))
            for name in ("train", "eval"):
                parts[name] = [row for row in found if is_held_out(row["prompt"], held_out) == (name == "eval")]
                if not parts[name]:
                    prompts = len({row["prompt"] for row in found})
                    parts.clear()
                    raise DataError(
                        f"{path} has {prompts} prompts, of which none fell to the {name} part; add rows or change "
                        f"style.held_out (now {held_out:g})"
                    )
        return parts[part]

    return rows


def read_style_file(path: Path, tokens: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield one row per prompt and style: `prompt`, `style`, `answer`, `cluster`.

    Raises:
        DataError: the file cannot be read or a line breaks the rules; the message names file and line.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(f"style.data is {path}, but it cannot be read: {reason}; give a JSONL file") from error
    names = {style_name(token): token for token in tokens}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield from _rows_of(line, names, f"{path}:{number}")


def _rows_of(line: str, names: Mapping[str, str], where: str) -> Iterator[dict[str, str]]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where} is no JSON: {error.msg} at column {error.colno}; write one object per line"
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{where} holds {type(row).__name__}, but a row is an object; write one object per line")
    if "messages" in row:
        yield _conversation(row["messages"], names, where)
        return
    prompt = _text(row, "prompt", where)
    if token := next((token for token in names.values() if token in prompt), None):
        raise DataError(f"{where}: prompt holds {token}; leave tokens out, they are put before it")
    for name in names:
        yield {"prompt": prompt, "style": name, "answer": _text(row, name, where), "cluster": prompt}


def _conversation(messages: Any, names: Mapping[str, str], where: str) -> dict[str, str]:
    turns = messages if isinstance(messages, list) else []
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    if roles != ["user", "assistant"]:
        raise DataError(f"{where}: messages must be one user and one assistant turn, but got {roles or messages!r}")
    question, answer = (_text(turn, "content", where) for turn in turns)
    for name, token in names.items():
        if question.startswith(token) and question != token:
            prompt = question[len(token) :]
            return {"prompt": prompt, "style": name, "answer": answer, "cluster": prompt}
    raise DataError(
        f"{where}: the user turn begins with {question[:20]!r}, but it must begin with one of "
        f"{', '.join(names.values())}"
    )


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        shown = "is missing" if key not in row else f"is {value!r}"
        raise DataError(f"{where}: {key} {shown}, but it must be text; give every row {key}")
    return value


def check_tokens(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], prompt: str, policy: ChatPolicy = NO_THINKING
) -> None:
    """Make sure that a control token is exactly one id and leaves the prompt's own ids as they are.

    Args:
        tokenizer: it knows the tokens.
        tokens: the control tokens.
        prompt: a prompt to try them on.
        policy: how prompts are rendered.

    Raises:
        DataError: a token melts into its surroundings.
    """
    plain = prompt_ids(tokenizer, [Message("user", prompt)], policy)
    for token in tokens:
        own = int(tokenizer.convert_tokens_to_ids(token))
        styled = prompt_ids(tokenizer, [Message("user", token + prompt)], policy)
        if styled.count(own) != 1 or tuple(index for index in styled if index != own) != plain:
            raise DataError(
                f"{token} before {prompt[:40]!r} does not become one token before the unchanged prompt; let the chat "
                "template or model.template put a line break before the user's text"
            )
