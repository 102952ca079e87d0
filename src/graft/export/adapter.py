"""An adapter as PEFT and vLLM load it: PEFT's own files, checked against what vLLM can serve.

Source: vLLM, "LoRA Adapters" (docs.vllm.ai), and `PEFTHelper` in its `vllm/lora/peft_helper.py`, which raises on these.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graft.errors import ModelError
from graft.runs.files import read_json

FILES = ("adapter_config.json", "adapter_model.safetensors")
LARGEST_RANK = 512
"""Largest ``--max-lora-rank`` of vLLM."""

WAY_OUT = "export the branch with --to merged"


def copy_adapter(final: Path, folder: Path) -> dict[str, Any]:
    """Copy the adapter of a branch.

    Args:
        final: the branch's trained files.
        folder: where to.

    Returns:
        The adapter's settings.

    Raises:
        ModelError: there is no adapter, or vLLM could not load it.
    """
    if not (final / FILES[0]).is_file():
        raise ModelError(f"{final} holds whole weights, no adapter; {WAY_OUT}")
    settings: dict[str, Any] = read_json(final / FILES[0])
    for reason in broken_rules(settings, styled=(final / "style.safetensors").is_file()):
        raise ModelError(f"vLLM cannot load the adapter: {reason}; {WAY_OUT}")
    for name in FILES:
        shutil.copyfile(final / name, folder / name)
    return settings


def broken_rules(settings: Mapping[str, Any], *, styled: bool) -> Iterator[str]:
    """Why vLLM would refuse an adapter.

    Args:
        settings: its ``adapter_config.json``.
        styled: rows of control tokens lie beside it.
    """
    if styled:
        yield "it needs the rows of its control tokens, and vLLM adds no rows to an embedding"
    if settings.get("target_parameters"):
        yield f"it changes tensors of experts ({settings['target_parameters'][0]} …), stored in a form of PEFT's own"
    if settings.get("use_dora"):
        yield "adapter.dora is true, and vLLM has no DoRA"
    if settings.get("modules_to_save"):
        yield f"it replaces whole layers ({', '.join(settings['modules_to_save'])})"
    if settings.get("bias", "none") != "none":
        yield f"it trains biases (bias is {settings['bias']})"
    ranks = [settings["r"], *(settings.get("rank_pattern") or {}).values()]
    if max(ranks) > LARGEST_RANK:
        yield f"its rank is {max(ranks)}, and the largest is {LARGEST_RANK}"
