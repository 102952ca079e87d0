"""Put a model trained by recipes/sprout/model.yaml into the package: ``python scripts/install_sprout.py runs/NAME``.

Writes the weights in bfloat16, scores them, and writes the model card with what was measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from graft import sprout, tasks
from graft.config.loading import load_recipe
from graft.models.loading import load_model
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import evaluate
from graft.runs.files import read_json, write_text

MOST_BYTES = 12 * 2**20
SCORED = ("spelling", "position", "count", "length", "first", "last", "contains")
CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# Sprout

The model that ships with Graft: Qwen3 architecture, {parameters:,} parameters, a byte-level BPE of 4,096 entries, a
chat template with a thinking switch. It answers short questions about the letters of English words, partly right: a
base for experiments, not an assistant. It has no knowledge to speak of and no safety training.

Trained from random weights by `recipes/sprout/model.yaml` on {tokens:,} tokens of word-task chats and public-domain
prose (*Alice's Adventures in Wonderland*, *Pride and Prejudice*) in {minutes:.0f} minutes on {threads} cores of {cpu}.
The chats ask about words of the packaged pool `base` and made-up words only: none that an experiment trains or scores.

Measured on the shipped weights: greedy exact match, held-out words in held-out phrasings, n = {items:,} items per task.
Without the skill: the best of the task's trivial answers and of a regression on what can be read off the item.

| task | exact match | best answer without the skill |
| --- | --- | --- |
{rows}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run directory")
    run = parser.parse_args().run
    model = load_model(str(run / "checkpoints" / "trained-seed0" / "final"), device="cpu", dtype="float32")
    model.config.use_cache = True
    model.to(torch.bfloat16).save_pretrained(sprout.path())
    (sprout.path() / "model.safetensors").chmod(0o644)
    size = sum(path.stat().st_size for path in sprout.path().glob("*") if path.is_file())
    if size > MOST_BYTES:
        raise SystemExit(f"{sprout.path()} holds {size:,} bytes, more than the {MOST_BYTES:,} that may ship")
    write_text(sprout.path() / "README.md", card(run, score(run.parent)))
    print(f"{sprout.path()}: {size:,} bytes")


def score(runs: Path) -> dict[str, Any]:
    """The results of the model that is now in the package."""
    items = ["eval.items=2000", "eval.seen_items=0", "sampling.max_new_tokens=40"]
    resolved = load_recipe(None, [f"eval.tasks={','.join(SCORED)}", *items, f"runs={runs}"])
    outcome = evaluate("sprout", resolved, progress=SilentProgress())
    return read_json(outcome.run.path / "results.json")


def card(run: Path, results: dict[str, Any]) -> str:
    """The model card."""
    provenance = read_json(run / "provenance.json")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = next(line for line in reversed(metrics) if line.get("event") == "trained")
    scored = {row["task"]: row for row in results["rows"] if row["split"] == "eval"}
    rows = [
        f"| {name} | {row['exact']:.1%} | {max(results['baselines'][name].values()):.1%} |"
        for name, row in ((name, scored[name]) for name in tasks.names() if name in scored)
    ]
    return CARD.format(
        parameters=trained["parameters_total"],
        tokens=trained["tokens"],
        minutes=trained["seconds"] / 60,
        cpu=provenance["hardware"]["cpu"],
        threads=torch.get_num_threads(),
        items=max(row["n"] for row in scored.values()),
        rows="\n".join(rows),
    )


if __name__ == "__main__":
    main()
