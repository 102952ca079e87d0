"""From a model's id to a tokenizer and a model in memory, by configuration alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from graft import sprout
from graft.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Init = Literal["weights", "random"]


def resolve(model_id: str) -> str:
    """The folder or hub id behind a model id.

    Raises:
        ModelError: it looks like a local folder but there is no model in it, or it is a hub id and Graft is offline.
    """
    if model_id == "sprout":
        return str(sprout.path())
    folder = Path(model_id).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"model.id is the folder {folder}, but it holds no config.json; name a model folder")
        return str(folder)
    looks_local = model_id.startswith((".", "/", "~")) or model_id.count("/") != 1
    if looks_local:
        raise ModelError(f"model.id is {model_id!r}, but there is no such folder; use 'sprout', a folder or a hub id")
    return model_id


def load_tokenizer(model_id: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer alone: no torch, no weights.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    quiet_libraries()
    source = resolve(model_id)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, local_files_only=_offline())
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(_cannot_load("tokenizer", model_id, error)) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    model_id: str,
    *,
    revision: str | None = None,
    init: Init = "weights",
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
) -> PreTrainedModel:
    """Load a causal language model onto its device, in evaluation mode.

    Args:
        model_id: ``sprout``, a folder or a hub id.
        revision: branch, tag or commit on the hub.
        init: ``weights``, or ``random`` for seeded random weights in the shape of the config.
        seed: seeds the random weights.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        attention: ``auto``, ``eager`` or ``sdpa``.

    Raises:
        ModelError: the model, the device or the architecture cannot be had.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet_libraries()
    target = pick_device(device)
    options = {"dtype": pick_dtype(dtype, target), "attn_implementation": pick_attention(attention, target)}
    source = resolve(model_id)
    try:
        if init == "random":
            config = AutoConfig.from_pretrained(source, revision=revision, local_files_only=_offline())
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, **options)
        else:
            model = AutoModelForCausalLM.from_pretrained(
                source, revision=revision, local_files_only=_offline(), use_safetensors=True, **options
            )
    except Exception as error:  # transformers, safetensors and the hub each raise types of their own
        raise ModelError(_cannot_load("model", model_id, error)) from error
    return model.to(target).eval()


def pick_device(wanted: str) -> torch.device:
    """The device to run on; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ModelError: the wanted device is not there.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, present in there.items() if present))
    if not there[wanted]:
        present = ", ".join(name for name, has in there.items() if has)
        raise ModelError(f"model.device is {wanted}, but this machine offers {present}; use auto")
    return torch.device(wanted)


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The type of the weights: `auto` is bfloat16 on CUDA and float32 elsewhere."""
    import torch

    automatic = torch.bfloat16 if device.type == "cuda" else torch.float32
    return automatic if wanted == "auto" else getattr(torch, wanted)


def pick_attention(wanted: str, device: torch.device) -> str:
    """The attention implementation: `auto` is sdpa on CUDA, eager elsewhere (short rows run faster so on CPUs)."""
    if wanted == "auto":
        return "sdpa" if device.type == "cuda" else "eager"
    return wanted


def computes_bfloat16(device: torch.device) -> bool:
    """True where bfloat16 arithmetic is native, so that autocasting to it pays."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def quiet_libraries() -> None:
    """Keep transformers' own progress bars and advice for developers out of our output; errors still come through."""
    import warnings

    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def _offline() -> bool:
    return os.environ.get("GRAFT_OFFLINE", "") not in ("", "0") or os.environ.get("HF_HUB_OFFLINE", "") == "1"


def _cannot_load(what: str, model_id: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    hint = " (offline: only the embedded model, folders and already downloaded models load)" if _offline() else ""
    return f"cannot load the {what} of {model_id!r}{hint}: {first}"
