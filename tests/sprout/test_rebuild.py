from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from graft import sprout
from graft.config.loading import load_recipe
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import train
from graft.runs.files import read_json
from graft.tasks.words.pool import package_words

ROOT = Path(__file__).parents[2]
MOST_BYTES = 12 * 2**20


def rebuild(folder: Path) -> bytes:
    """Two steps of the real recipe on a small book; the weights as bytes."""
    book = folder.parent / "book.txt"
    book.write_text("It was a bright cold day in the village. The clocks struck one, and nobody counted.\n\n" * 60)
    changes = [f"runs={folder}", f"data.corpus=[{book}]", "train.max_steps=2", "train.batch_size=60"]
    small = ["words.train=9000", "eval.items=20", "eval.seen_items=0", "model.device=cpu"]
    outcome = train(load_recipe(ROOT / "recipes/sprout/model.yaml", [*changes, *small]), progress=SilentProgress())
    return (outcome.run.checkpoints / "trained-seed0" / "final" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_the_recipe_rebuilds_the_same_weights_from_nothing(tmp_path: Path) -> None:
    assert rebuild(tmp_path / "first") == rebuild(tmp_path / "second")


def test_the_shipped_folder_is_small_and_has_a_card_with_measured_numbers() -> None:
    files = [path for path in sprout.path().iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    card = (sprout.path() / "README.md").read_text()
    assert all(f"| {task} |" in card for task in ("spelling", "position", "count"))


def test_the_vocabulary_and_the_model_agree(tokenizer: PreTrainedTokenizerBase) -> None:
    config = read_json(sprout.path() / "config.json")
    assert len(tokenizer) == config["vocab_size"] == 4096
    assert (config["eos_token_id"], config["pad_token_id"]) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_sprouts_words_are_no_experiments_words() -> None:
    base = {word.text for word in package_words("base")}
    assert not base & {word.text for pool in ("train", "eval") for word in package_words(pool)}


@pytest.mark.slow
def test_sprout_is_partly_able_at_every_task_of_the_founding_experiment(tmp_path: Path) -> None:
    from graft.pipeline.run import evaluate

    resolved = load_recipe(
        None, [f"runs={tmp_path}", "eval.items=1000", "eval.seen_items=0", "sampling.max_new_tokens=40"]
    )
    outcome = evaluate("sprout", resolved, progress=SilentProgress())
    results = read_json(outcome.run.path / "results.json")
    for row in results["rows"]:
        best_trivial = max(results["baselines"][row["task"]].values())
        assert best_trivial + 0.05 < row["exact"] < 0.8, (row["task"], row["exact"])
