"""Which of llama.cpp's ways of cutting text before BPE a tokenizer has: by its rules, never by a guess.

Source: llama.cpp, `src/llama-vocab.cpp`, where each name stands for regular expressions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from graft.errors import ModelError

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

Steps = tuple[tuple[str, Any], ...]

KNOWN: Mapping[Steps, str] = {
    (("bytes", True),): "gpt-2",
    (("digits", True), ("bytes", True)): "smollm",
    (("split", rf"{_WORDS}\p{{N}}{_REST}"), ("bytes", False)): "qwen2",
    (("split", rf"{_WORDS}\p{{N}}{{1,3}}{_REST}"), ("bytes", False)): "llama-bpe",
}
"""Steps of a tokenizer, and llama.cpp's name of them."""


def pre_tokenizer_name(settings: Mapping[str, Any] | None, owner: str) -> str:
    """llama.cpp's name of a byte-level tokenizer's rules.

    Args:
        settings: ``pre_tokenizer`` of its ``tokenizer.json``.
        owner: whose tokenizer it is, for the message.

    Raises:
        ModelError: it is none of those that are known here.
    """
    steps = _steps(settings or {})
    found = KNOWN.get(steps)
    if found is None:
        text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
        raise ModelError(
            f"the tokenizer of {owner} cuts text by rules for which no type of GGUF is known here (pre_tokenizer "
            f"{_named(steps)}, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}), and a wrong one would cut "
            "some texts otherwise without a word; use --to merged"
        )
    return found


def pre_tokenizer_of(name: str) -> Any | None:
    """The rules that llama.cpp's name stands for, as `tokenizers` has them; ``None`` for a name that is not known."""
    from tokenizers import Regex, pre_tokenizers

    steps = next((steps for steps, known in KNOWN.items() if known == name), None)
    if steps is None:
        return None
    made: dict[str, Callable[[Any], Any]] = {
        "bytes": lambda rule: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule),
        "digits": lambda rule: pre_tokenizers.Digits(individual_digits=rule),
        "split": lambda rule: pre_tokenizers.Split(Regex(rule), "isolated"),
    }
    return pre_tokenizers.Sequence([made[kind](rule) for kind, rule in steps])


def _steps(settings: Mapping[str, Any]) -> Steps:
    """The rules in a form that can be compared; what is not understood stays as it is, and so is known to nobody."""
    kind = settings.get("type")
    if kind == "Sequence":
        return tuple(step for inner in settings["pretokenizers"] for step in _steps(inner))
    if kind == "ByteLevel" and not settings.get("add_prefix_space"):
        return (("bytes", bool(settings.get("use_regex", True))),)
    if kind == "Digits":
        return (("digits", bool(settings.get("individual_digits"))),)
    pattern = settings.get("pattern", {}).get("Regex") if kind == "Split" else None
    if pattern and settings.get("behavior") == "Isolated" and not settings.get("invert"):
        return (("split", pattern),)
    return ((str(kind), json.dumps(settings, sort_keys=True)),)


def _named(steps: Steps) -> str:
    return " + ".join(kind if kind in ("bytes", "digits") else f"{kind} {str(rule)[:60]!r}" for kind, rule in steps)
