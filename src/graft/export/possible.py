"""What can be exported on this machine, and what is missing for the rest; nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

from graft.export.gguf.quantize import FILES
from graft.models.source import offline

TYPES = ", ".join(FILES)


class Form(NamedTuple):
    """One form: how it is asked for, what it is, and what is missing for it; empty when nothing is."""

    flag: str
    what: str
    missing: str


def forms() -> Iterator[Form]:
    """Every form."""
    llama = _missing("export", "gguf", "xllamacpp")
    yield Form("--to merged", "one model without adapters, for transformers and vLLM", "")
    yield Form("--to adapter", "for PEFT and vLLM, beside the base", "")
    yield Form("--to gguf", f"files for llama.cpp: {TYPES}", llama)
    yield Form("--to ollama", "one such file with a Modelfile", llama)
    yield Form("--create NAME", "the same, handed to a running Ollama", llama or _missing("ollama", "ollama"))
    forbidden = "GRAFT_OFFLINE or HF_HUB_OFFLINE forbids it" if offline() else ""
    yield Form("--push-to hub:OWNER/NAME", "upload what was made", forbidden)


def _missing(extra: str, *modules: str) -> str:
    absent = any(find_spec(module) is None for module in modules)
    return f"pip install 'graft-lm[{extra}]'" if absent else ""
