"""A model folder that transformers loads as it is: weights, config, generation config, tokenizer, chat template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graft.data.chat import ChatPolicy
from graft.export.template import pinned
from graft.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHARD = "4GB"
"""Largest file of weights."""


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    policy: ChatPolicy,
    sampling: Sampling,
    folder: Path,
) -> None:
    """Write a model with everything it needs to reply as it did in its run.

    Args:
        model: without adapters; its generation config names the ends of a reply.
        tokenizer: its tokenizer.
        policy: how prompts were rendered.
        sampling: how replies were drawn.
        folder: where to.
    """
    set_sampling(model, sampling)
    model.save_pretrained(folder, max_shard_size=SHARD)
    save_tokenizer(tokenizer, policy, folder)
    make_readable(folder)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, policy: ChatPolicy, folder: Path) -> None:
    """Write a tokenizer whose chat template writes the prompts of the run, whoever calls it."""
    with pinned(tokenizer, policy) as told:
        told.save_pretrained(folder)


def set_sampling(model: PreTrainedModel, sampling: Sampling) -> None:
    """Let `generate` draw replies as the run did, unless it is told otherwise."""
    config = model.generation_config
    if config is None:
        return
    greedy = sampling.greedy
    config.do_sample = not greedy
    config.temperature = None if greedy else sampling.temperature
    config.top_p = None if greedy else sampling.top_p
    config.top_k = None if greedy else sampling.top_k
    config.min_p = None if greedy or not sampling.min_p else sampling.min_p
    config.repetition_penalty = None if sampling.repetition_penalty == 1.0 else sampling.repetition_penalty


def make_readable(folder: Path) -> None:
    """Let those read the files of a folder who may read it: some libraries write for their user alone."""
    mode = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
