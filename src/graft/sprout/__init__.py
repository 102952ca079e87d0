"""Sprout, the embedded default model: a tiny Qwen3-architecture model and its tokenizer, shipped with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def path() -> Path:
    """Folder of the model, as `transformers` loads it.

    Returns:
        The folder with ``config.json``, ``model.safetensors``, ``tokenizer.json`` and the chat template.
    """
    return Path(str(files(__name__)))
