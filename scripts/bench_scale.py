"""Measure reading and tokenising at scale: rows per second, processor time per row, and peak memory.

Every part runs in a process of its own, so that the memory is its own:

- `ceiling`: the tokenizer alone, whole texts of short rows on as many threads as Graft uses; nothing can be faster.
- `rows`: the same rows through the chat template, `token_ids` and a token table.
- `csv`, `jsonl`: as many rows of a file, as a task of a recipe, from the file to the table.
- `text`: a text file streamed into pretraining, from the file to the table.

    python scripts/bench_scale.py --rows 1000000 --megabytes 1000
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PARTS = ("ceiling", "rows", "csv", "jsonl", "text")
PARAGRAPH_WORDS = 100
LABELS = ("bearish", "bullish", "neutral")


def words() -> list[str]:
    """English words."""
    from graft.tasks.words.pool import package_words

    return [word.text for word in package_words("base")]


def spelled(count: int) -> Iterator[Any]:
    """Short rows as those of the word tasks."""
    from graft.types import Example

    known = words()
    for number in range(count):
        word = known[number % len(known)]
        prompt = f"Spell the word '{word}' letter by letter, separated by dashes."
        yield Example(f"spelling/{number}", "spelling", prompt, "-".join(word), word)


def headlines(count: int) -> Iterator[tuple[str, str]]:
    """Short texts with a label, about as long as a financial tweet."""
    rng, known = random.Random(0), words()
    for number in range(count):
        yield f"${number} {' '.join(rng.choices(known, k=12))}", LABELS[number % 3]


def tokenise(examples: Iterator[Any], tokenizer: Any, folder: Path) -> int:
    """Examples to a table; the number of tokens."""
    from graft.data.table import TableWriter
    from graft.data.tokens import token_ids

    with TableWriter(folder) as writer:
        for _, ids, cut in token_ids(tokenizer, examples):
            writer.append(ids, cut)
    return writer.tokens


def ceiling(count: int, tokenizer: Any, folder: Path) -> int:
    """The tokenizer alone."""
    from graft.data.chat import PromptRenderer
    from graft.data.tokens import CHUNK, WORKERS

    del folder
    renderer, backend = PromptRenderer(tokenizer), tokenizer.backend_tokenizer
    texts = [renderer.render(example.prompt) + example.gold for example in spelled(min(count, 10 * CHUNK))]
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    wanted = [chunks[number % len(chunks)] for number in range(-(-count // CHUNK))]

    def ids(chunk: list[str]) -> int:
        return sum(len(found.ids) for found in backend.encode_batch_fast(chunk, add_special_tokens=False))

    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(pool.map(ids, wanted))


def rows(count: int, tokenizer: Any, folder: Path) -> int:
    """Examples that are made, rendered and tokenised."""
    return tokenise(spelled(count), tokenizer, folder)


def from_file(path: Path, tokenizer: Any, folder: Path) -> int:
    """All rows of a file: checked, held out or not, drawn in a seeded order, rendered and tokenised."""
    from graft.data.user_tasks import TaskSpec, load_user_task

    prompt = "Is this bearish, bullish or neutral?\n\n{text}\nAnswer:"
    task = load_user_task(TaskSpec("headlines", train=path, prompt=prompt, label="label"))
    return tokenise(task.examples("train", limit=None, seed=0), tokenizer, folder)


def text(path: Path, count: int) -> int:
    """A text file through `graft.pipeline.train.rows`, as `graft train` reads it; the time is of the rows alone."""
    from graft.config.loading import load_recipe
    from graft.pipeline.branches import branches
    from graft.pipeline.prepare.lab import prepare
    from graft.pipeline.train.rows import training_rows

    settings = {
        "mode": "pretrain", "data.tasks": [{"name": "text", "train": str(path)}], "data.train": "text",
        "eval.items": 100, "train.max_steps": count, "train.batch_size": 1, "study.arms": ["trained"],
    }  # fmt: skip
    lab = prepare(load_recipe(None, (), settings).recipe)
    return training_rows(lab, branches(lab.recipe)[0]).table.tokens


def write_rows(path: Path, count: int) -> None:
    """A CSV or JSONL file of headlines."""
    with path.open("w", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in headlines(count))
        else:
            csv.writer(file).writerows((("text", "label"), *headlines(count)))


def write_text(path: Path, megabytes: int) -> int:
    """A text file of paragraphs; how many."""
    rng, known = random.Random(0), words()
    lines = ["\n".join(" ".join(rng.choices(known, k=PARAGRAPH_WORDS // 5)) for _ in range(5)) for _ in range(2000)]
    written = count = 0
    with path.open("w") as file:
        while written < megabytes * 1_000_000:
            written += file.write(f"{count}: {lines[rng.randrange(len(lines))]}\n\n")
            count += 1
    return count


def measure(part: str, count: int, megabytes: int, model: str) -> dict[str, Any]:
    """One part in this process."""
    from graft.models.loading import load_tokenizer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["GRAFT_CACHE"] = str(folder / "cache")
        path = folder / f"input.{'txt' if part == 'text' else part}"
        work: Callable[[], int]
        if part == "text":
            count = int(0.89 * write_text(path, megabytes))
            work = lambda: text(path, count)  # noqa: E731
        else:
            tokenizer = load_tokenizer(model)
            if part in ("csv", "jsonl"):
                write_rows(path, count)
                count = int(0.9 * count)
                work = lambda: from_file(path, tokenizer, folder)  # noqa: E731
            else:
                made = ceiling if part == "ceiling" else rows
                work = lambda: made(count, tokenizer, folder)  # noqa: E731
        size = path.stat().st_size / 1e6 if path.exists() else None
        wall, used = time.perf_counter(), time.process_time()
        tokens = work()
        wall, used = time.perf_counter() - wall, time.process_time() - used
    from graft.runs.space import peak_memory

    peak = peak_memory() / 2**20
    rates = {"rows_per_second": count / wall, "rows_per_cpu_second": count / used}
    rates["tokens_per_cpu_second"] = tokens / used
    return {"part": part, "rows": count, "tokens": tokens, "megabytes": size, "seconds": wall, "cpu_seconds": used,
            "peak_megabytes": peak, **rates}  # fmt: skip


def main() -> None:
    """Run the parts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--model", default="sprout", help="model whose tokenizer is used, save for text")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--here", action="store_true", help="measure one part in this process and print JSON")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.parts, given.rows, given.megabytes, given.model)))
        return
    print(f"{'part':8} {'rows':>9} {'tokens':>12} {'rows/s':>8} {'rows/CPU s':>10} {'tokens/CPU s':>12} {'peak MB':>8}")
    for part in given.parts.split(","):
        command = [sys.executable, __file__, "--here", "--parts", part, "--rows", str(given.rows)]
        command += ["--megabytes", str(given.megabytes), "--model", given.model]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(said.splitlines()[-1])
        print(
            f"{part:8} {found['rows']:9,} {found['tokens']:12,} {found['rows_per_second']:8,.0f} "
            f"{found['rows_per_cpu_second']:10,.0f} {found['tokens_per_cpu_second']:12,.0f} "
            f"{found['peak_megabytes']:8,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
