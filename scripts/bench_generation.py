"""How much faster the transformers backend is than a plain padded `model.generate` loop, on prompts of mixed length.

Both write the same greedy replies to the same prompts in batches of the same size, several times in turn, on one
thread. Processor time is compared, because a busy machine says little by the clock.

    python scripts/bench_generation.py MODEL_FOLDER TEXT_FILE --end .
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from transformers import PreTrainedModel

from graft.models.backends.transformers import TransformersBackend
from graft.models.loading import load_model, load_tokenizer
from graft.types import Prompt, Sampling

Replies = list[tuple[int, ...]]

SHORTEST, LONGEST = 8, 192
"""Prompt lengths in tokens, drawn evenly on a logarithmic scale."""


def cut_prompts(ids: Sequence[int], count: int) -> list[tuple[int, ...]]:
    rng = random.Random(0)
    lengths = [round(SHORTEST * (LONGEST / SHORTEST) ** rng.random()) for _ in range(count)]
    return [tuple(ids[start : start + n]) for n in lengths for start in [rng.randrange(len(ids) - n)]]


def plain(
    model: PreTrainedModel, prompts: Sequence[tuple[int, ...]], ends: frozenset[int], size: int, limit: int
) -> Replies:
    """Batches in the order given, padded, until the longest reply of each is done."""
    replies: Replies = []
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        with torch.inference_mode():
            written = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=limit,
                do_sample=False,
                eos_token_id=sorted(ends),
                pad_token_id=0,
            )
        for row in written[:, width:].tolist():
            last = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
            replies.append(tuple(row[: last + 1]))
    return replies


def timed(write: Callable[[], Replies]) -> tuple[float, Replies]:
    began = time.process_time()
    replies = write()
    return time.process_time() - began, replies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--end", help="a token that ends a reply too, so that replies differ in length")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()

    torch.set_num_threads(1)
    tokenizer = load_tokenizer(given.model)
    model = load_model(given.model, device="cpu", dtype="float32")
    ids = tokenizer(given.text.read_text(encoding="utf-8")[:100_000], add_special_tokens=False)["input_ids"]
    prompts = cut_prompts(ids, given.prompts)
    backend = TransformersBackend(model, tokenizer, batch_size=given.batch_size)
    if given.end:
        backend.end_ids |= {int(tokenizer.convert_tokens_to_ids(given.end))}
    sampling = Sampling(max_new_tokens=given.max_new_tokens)
    asked = [Prompt((), prompt) for prompt in prompts]

    ratios = []
    for _ in range(given.repeats):
        slow, expected = timed(lambda: plain(model, prompts, backend.end_ids, given.batch_size, given.max_new_tokens))
        fast, replies = timed(lambda: [reply.token_ids for reply in backend.generate(asked, sampling)])
        same = sum(one == other for one, other in zip(replies, expected, strict=True))
        ratios.append(slow / fast)
        print(f"plain {slow:.2f} s, backend {fast:.2f} s, ratio {slow / fast:.2f}, same replies {same} of {len(asked)}")
    mean = sum(map(len, replies)) / len(replies)
    lengths = [len(prompt) for prompt in prompts]
    print(f"median ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(
        f"n = {len(asked)} prompts of {min(lengths)} to {max(lengths)} tokens, replies of {mean:.1f} tokens on average"
    )


if __name__ == "__main__":
    main()
