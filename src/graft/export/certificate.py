"""The export certificate: a GGUF file is run by a real llama.cpp and held against the model folder that it was made of.

Tokens, template, ends and greedy replies are each tried, none is inferred from metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError
from graft.export.server import LlamaServer, served
from graft.types import TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS = (
    "Hello world", " Hello World!", "  two  spaces  ", "\ttab\tand \t mixed", "line\nline\n\nline\n\n\n  end\n",
    "\r\nwindows\r\nlines", "don't, we'll, I'M, THEY'VE, o'clock ''''", "123 1234567890 3.14159 1,000,000 0x1F",
    "a1b2c3 v2.0.1-rc.3", "CamelCaseWord snake_case_word kebab-case-word", "https://example.org/a?b=c&d=e#f",
    "mail@example.org (see §4.2, ¶3)", "!!??...;;::,,--__==++**//\\\\||~~``^^", "{}[]()<> \"quoted\" 'single'",
    "def f(x):\n    return x ** 2  # square\n", "Größe, naïve café, façade, Ærøskøbing, Łódź", "Привет, мир! Ёлка",
    "Γειά σου Κόσμε", "你好，世界。今天是2026年。", "こんにちは世界、カタカナ", "안녕하세요 세계", "مرحبا بالعالم ١٢٣",
    "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "🙂🚀👩‍👩‍👧‍👦🇩🇪 ✅", "🦙llama🦙 emoji✨inside✨words",
    "x² + y³ = z½ ≈ ∞ ≠ √2",
    "“curly” ‘quotes’ – dashes — and … dots", "a\u00a0b\u2003c\u200bd\ufeffe", "zero\u0000byte", "ſharp İstanbul ǅ",
    "   ", "\n", "", "w", "ééé ÉÉÉ", "ALL CAPS SENTENCE", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "=" * 40,
    "Spell the word strawberry: s-t-r-a-w-b-e-r-r-y", "1. one\n2. two\n\t- three", "$5.00 €3,50 £2 ¥100 50%",
    "\ud7ff\ue000\ufffd", "mixed漢字with latin и кириллица123",
)  # fmt: skip
"""Texts on which two tokenizers that differ anywhere in their rules are likely to differ."""

CONVERSATIONS = (
    (("user", "Which letter comes after q?"),),
    (("user", "  Spaces around, and\n\nan empty line. "),),
    (("user", "First."), ("assistant", "The first answer."), ("user", "And then?")),
    (("system", "Answer briefly."), ("user", "What is 2 + 2?")),
)

REPLY_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was tried of a file; each pair counts what agreed and what was tried.

    Attributes:
        tokens: texts whose token ids are the same.
        templates: conversations whose prompt is the same, as text and as the number of tokens that the chat reads.
        ends: tokens at which replies of the folder stop, and the file's too.
        replies: prompts of the run with the same greedy reply, token by token.
        wrong: the first thing that differs, of those that must not.
    """

    tokens: tuple[int, int]
    templates: tuple[int, int]
    ends: tuple[int, int]
    replies: tuple[int, int]
    wrong: str = ""

    def line(self) -> str:
        """The certificate in words."""
        parts = (
            f"{self.tokens[0]} of {self.tokens[1]} texts have the same tokens",
            f"{self.templates[0]} of {self.templates[1]} prompts are the same",
            f"{self.ends[0]} of {self.ends[1]} ends stop a reply",
            f"{self.replies[0]} of {self.replies[1]} greedy replies are the same",
        )
        return f"in llama.cpp {', '.join(parts)}"


def certify(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    rows: Sequence[TokenRow],
    on_part: Callable[[int], None] = lambda count: None,
) -> Certificate:
    """Try a file with llama.cpp.

    Args:
        path: the GGUF file.
        tokenizer: that of the folder it was made of, with the exported template.
        ends: ids at which replies stop.
        rows: prompts with the folder's greedy replies of at most `REPLY_TOKENS`.
        on_part: told of each of the four parts.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """
    longest = max((len(row.prompt) for row in rows), default=0)
    with served(path, context=max(longest, 512) + REPLY_TOKENS) as server:
        wrong_texts = [text for text in TEXTS if not _same_tokens(server, tokenizer, text)]
        on_part(1)
        asked = _renderable(tokenizer)
        wrong_prompts = [turns for turns in asked if not _same_prompt(server, tokenizer, turns)]
        on_part(1)
        missed = [end for end in ends if not _stops(server, rows, end)]
        on_part(1)
        same = sum(_same_reply(server, row) for row in rows)
        on_part(1)
    names = tokenizer.convert_ids_to_tokens(missed)
    wrong = [
        *(f"the text {text!r} has other tokens" for text in wrong_texts),
        *(f"the conversation {turns} has another prompt" for turns in wrong_prompts),
        *(f"a reply does not stop at {name!r}" for name in names),
    ]
    return Certificate(
        (len(TEXTS) - len(wrong_texts), len(TEXTS)),
        (len(asked) - len(wrong_prompts), len(asked)),
        (len(ends) - len(missed), len(ends)),
        (same, len(rows)),
        wrong[0] if wrong else "",
    )


def require_certified(found: Certificate, *, exact: bool) -> None:
    """Refuse a file that reads or ends otherwise than the folder; of float32 also one that replies otherwise.

    Raises:
        ModelError: naming the first difference.
    """
    if found.wrong:
        raise ModelError(f"llama.cpp reads the file otherwise: {found.wrong} ({found.line()})")
    if exact and found.replies[0] < found.replies[1]:
        raise ModelError(f"the file replies otherwise, though its weights are not rounded: {found.line()}")


def _same_tokens(server: LlamaServer, tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    right = tokenizer(text, add_special_tokens=False)["input_ids"]
    return server.tokens(text, special=False) == tuple(right)


def _messages(turns: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def _rendered(tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]]) -> str:
    return str(tokenizer.apply_chat_template(_messages(turns), tokenize=False, add_generation_prompt=True))


def _renderable(tokenizer: PreTrainedTokenizerBase) -> list[Sequence[tuple[str, str]]]:
    """The conversations that the template takes: some take no system turn."""
    found: list[Sequence[tuple[str, str]]] = []
    for turns in CONVERSATIONS:
        try:
            _rendered(tokenizer, turns)
        except Exception:  # a template is a program: it may raise anything
            continue
        found.append(turns)
    return found


def _same_prompt(server: LlamaServer, tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]]) -> bool:
    right = _rendered(tokenizer, turns)
    count = len(tokenizer(right, add_special_tokens=False)["input_ids"])
    messages = _messages(turns)
    start = str(tokenizer.bos_token or "")
    found = server.rendered(messages)
    same = found == right or (bool(start) and start + found == right)  # llama.cpp adds the start with the tokens
    return same and server.prompt_tokens(messages) == count


def _stops(server: LlamaServer, rows: Sequence[TokenRow], end: int) -> bool:
    """Whether a reply ends when the model is made to write this token."""
    prompt = list(rows[0].prompt) if rows else [end]
    answer: dict[str, Any] = server.continued(prompt, 4, logit_bias=[[end, 1000.0]])
    return bool(answer["stop_type"] == "eos") and len(answer["tokens"]) == 1


def _same_reply(server: LlamaServer, row: TokenRow) -> bool:
    found = server.continued(list(row.prompt), REPLY_TOKENS)["tokens"]
    return tuple(found) == row.completion
