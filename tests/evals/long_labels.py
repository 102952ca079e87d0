"""Prints by how many MB the labels of two texts of 16,000 tokens raise the peak of memory, after a short one."""

from __future__ import annotations

import resource
import sys

import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from graft.evals.labels import score_labels

UNIT = 2**20 if sys.platform == "darwin" else 2**10


def main() -> None:
    torch.set_num_threads(1)
    config = Qwen3Config(vocab_size=151_936, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=4, num_key_value_heads=1, head_dim=8)  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    prompts = [tuple(torch.arange(start, start + 16_000).tolist()) for start in (5, 900)]
    labels = [((7, 3), (9, 11, 3))] * 2
    score_labels(model, [prompt[:50] for prompt in prompts], labels, pad_id=0, token_budget=1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    score_labels(model, prompts, labels, pad_id=0, token_budget=1024)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / UNIT)


if __name__ == "__main__":
    main()
