"""The name of a run: when, what, how, small enough for a folder and readable in a list."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from types import MappingProxyType

from graft.config.schema import Recipe

MAX_BYTES = 120
"""Longest name, counted in UTF-8 bytes, so that a suffix for a repeated name still fits every file system."""


def run_name(recipe: Recipe, now: datetime, labels: Mapping[str, str] = MappingProxyType({})) -> str:
    """Name a run `{date}_{time}_{model}_{task}_{mode}_{params}`.

    Args:
        recipe: the resolved recipe; its `name` replaces the parameters at the end.
        now: local time of the start.
        labels: what stands for a task where that is not its own name.

    Returns:
        A name such as `2026-11-20_14h32m_sprout_spelling_sft_bs16_lora-r16_steps300`, at most 120 bytes long and
        free of slashes, spaces and everything else that a file system may dislike.
    """
    parts = [
        _safe(_model(recipe.model.id)),
        _safe(task_label(recipe, labels)),
        _safe(recipe.name or "") or _parameters(recipe),
    ]
    fixed = f"{now:%Y-%m-%d_%Hh%Mm}"
    room = MAX_BYTES - len(f"{fixed}_{recipe.mode}___")
    while sum(len(part.encode()) for part in parts) > room:
        longest = max(range(len(parts)), key=lambda index: len(parts[index].encode()))
        parts[longest] = parts[longest][:-1]
    model, task, params = (part.rstrip("-._") for part in parts)
    return "_".join((fixed, model, task, recipe.mode, params))


def _model(name: str) -> str:
    """A hub id keeps its owner, a local folder only its own name."""
    local = name.startswith((".", "/", "~")) or PurePath(name).is_absolute()
    return (PurePath(name).name or "model") if local else name


def task_label(recipe: Recipe, labels: Mapping[str, str] = MappingProxyType({})) -> str:
    """The trained task, or the mixture with its rates in percent: `mix_imdb-sentiment-70_glue-sst2-30`.

    Args:
        recipe: the resolved recipe.
        labels: what stands for a task; a task that is not there keeps its name, with dashes for slashes.
    """
    sources = recipe.data.train
    shown = [labels.get(source.task) or source.task.replace("/", "-") for source in sources]
    if len(sources) == 1:
        return shown[0]
    return "_".join(
        ("mix", *(f"{label}-{source.rate * 100:.0f}" for label, source in zip(shown, sources, strict=True)))
    )


def _parameters(recipe: Recipe) -> str:
    train, adapter = recipe.train, recipe.adapter
    size = f"bs{train.batch_size * train.gradient_accumulation}"
    trainable = "full" if adapter.kind == "none" else f"{adapter.kind}-r{adapter.r}"
    length = f"ep{train.epochs:g}" if train.max_steps is None else f"steps{train.max_steps}"
    return "_".join((size, trainable, length))


def _safe(text: str) -> str:
    kept = re.sub(r"[^\w.+-]+", "-", unicodedata.normalize("NFC", text))
    return kept.strip("-._") or ""
