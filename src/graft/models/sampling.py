"""Named ways of sampling, and what a recipe's section means in numbers.

Source of the presets: the model cards of Qwen3, "Best Practices".
"""

from __future__ import annotations

from dataclasses import replace

from graft.config.schema import SamplingSection
from graft.types import Sampling

PRESETS = {
    "greedy": Sampling(),
    "qwen3-thinking": Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0),
    "qwen3-non-thinking": Sampling(temperature=0.7, top_p=0.8, top_k=20, min_p=0.0),
}
"""Sampling by the names that `sampling.preset` takes."""


def from_section(section: SamplingSection) -> Sampling:
    """The section in numbers: what is set, else the preset's value.

    Greedy sampling has one form only: whatever has no effect at temperature 0 is off in it.
    """
    given = section.model_dump(exclude={"preset"}, exclude_none=True)
    sampling = replace(PRESETS[section.preset], **given)
    if not sampling.greedy:
        return sampling
    return Sampling(max_new_tokens=sampling.max_new_tokens, repetition_penalty=sampling.repetition_penalty)


def describe(sampling: Sampling) -> str:
    """The sampling in words, such as ``temperature 0.7, top_p 0.8, top_k 20, seed 0, at most 48 tokens``."""
    if sampling.greedy:
        parts = ["greedy"]
    else:
        parts = [f"temperature {sampling.temperature:g}", f"top_p {sampling.top_p:g}", f"top_k {sampling.top_k}"]
        parts += [f"min_p {sampling.min_p:g}", f"seed {sampling.seed}"]
    if sampling.repetition_penalty != 1.0:
        parts.append(f"repetition penalty {sampling.repetition_penalty:g}")
    return ", ".join([*parts, f"at most {sampling.max_new_tokens} tokens"])
