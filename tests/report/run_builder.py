"""Builds small but complete run folders: real files, made by a seeded generator and the real verdict rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graft.runs.files import write_json, write_text
from graft.runs.samples import write_samples
from graft.stats import TaskScores, by_stratum, judge, to_json

HOSTILE = (
    '<script>document.title="owned"</script></script><img src=x onerror="document.title=\'owned\'"> $x_1$ \u202eabc\x00'
)
"""A reply that would take over the page if it were not escaped."""

TASKS = ("spelling", "position", "count")
LEVELS = {
    "spelling": {"base": 0.41, "trained": 0.53, "format": 0.405},
    "position": {"base": 0.687, "trained": 0.68, "format": 0.683},
    "count": {"base": 0.773, "trained": 0.745, "format": 0.77},
}
PHRASINGS = ("plain question", "as a quoted instruction to write it", "short")
GAINS = {"0": 0.0, "1": 0.01, "2": -0.008}
RECIPE = """\
# recipe: recipes/quickstart.yaml
model:
  id: sprout
data:
  train:
  - task: spelling  # recipe
    rate: 1.0
train:
  max_steps: 280
  learning_rate: {learning_rate}  # key=value
eval:
  tasks: [spelling, position, count]
study:
  arms: [base, trained, format]
  seeds: [0, 1]
report:
  items: {items}
runs: runs
"""


class RunBuilder:
    """Writes run folders; every keyword leaves something out or changes it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self,
        name: str = "2026-11-20_14h32m_sprout_spelling_sft_bs96_lora-r16_steps280",
        *,
        words: int = 150,
        seeds: tuple[int, ...] = (0, 1),
        study: bool = True,
        items: int = 40,
        learning_rate: float = 0.003,
        seen: int = 30,
        word_offset: int = 0,
        rng_seed: int = 0,
        hostile: bool = True,
    ) -> Path:
        rng = np.random.default_rng(rng_seed)
        folder = self.root / name
        folder.mkdir(parents=True)
        write_text(folder / "recipe.yaml", RECIPE.format(items=items, learning_rate=learning_rate))
        write_json(folder / "run.json", {"status": "running", "created": "2026-11-20T14:32:10+00:00"})
        _write_provenance(folder)
        _write_audit(folder)
        _write_metrics(folder, seeds, rng)
        rows, scores, strata = [], {}, []
        for task in TASKS:
            arms = [("base", None), *((arm, seed) for arm in ("trained", "format") for seed in seeds)]
            items_of = _items(task, words, seen, word_offset, rng)
            exact: dict[str, list[np.ndarray]] = {}
            for arm, seed in arms:
                lines = _score(items_of, task, arm, seed, rng)
                if hostile and arm == "trained":
                    lines[0] |= {"reply": HOSTILE, "exact": False, "right": False}
                label = arm if seed is None else f"{arm}-seed{seed}"
                write_samples(folder / "samples" / f"{label}.{task}.jsonl", lines)
                rows += [
                    _result(lines, label, seed, task, split) for split in ("eval", "seen") if seen or split == "eval"
                ]
                exact.setdefault(arm, []).append(np.array([line["exact"] for line in lines if line["split"] == "eval"]))
            clusters = np.array([item["word"] for item in items_of if item["split"] == "eval"])
            base = exact.pop("base")[0]
            scores[task] = TaskScores(task, clusters, base, {arm: np.stack(rows_) for arm, rows_ in exact.items()})
            strata += _strata(scores[task], items_of) if study else []
        _write_results(folder, rows)
        verdict = None
        if study:
            targets = [scores[task] for task in TASKS[1:]]
            verdict = judge(scores["spelling"], targets, audit_ok=True)
        write_json(folder / "verdict.json", {"study": to_json(verdict), "strata": to_json(strata)})
        return folder


@pytest.fixture
def build(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path / "runs")


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One complete study; tests only read it."""
    return RunBuilder(tmp_path_factory.mktemp("report") / "runs")()


@pytest.fixture
def change_json() -> Callable[[Path, Callable[[Any], None]], None]:
    """Edits a JSON file in place."""

    def change(path: Path, edit: Callable[[Any], None]) -> None:
        value = json.loads(path.read_text())
        edit(value)
        path.write_text(json.dumps(value))

    return change


def _items(task: str, words: int, seen: int, offset: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    letters, found = "abcdefghijklmnoprstuw", []
    spelled = np.random.default_rng(99)
    pool = ["".join(spelled.choice(list(letters), 4 + index % 7)) for index in range(offset + words + seen)][offset:]
    for index, word in enumerate(pool):
        gold = {"spelling": "-".join(word), "position": word[2], "count": str(word.count("a"))}[task]
        phrasing = PHRASINGS[index % 3]
        prompt = f"{phrasing.capitalize()}: {task} of the word {word}?"
        found.append(
            {
                "id": f"{task}/{word}/{index % 3}",
                "task": task,
                "split": "eval" if index < words else "seen",
                "word": word,
                "phrasing": phrasing,
                "prompt": prompt,
                "rendered": f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
                "gold": gold,
                "prompt_ids": [1, 2, 3],
                "strata": {
                    "length": len(word),
                    "repeated_letter": len(set(word)) < len(word),
                    "word_tokens": 1 + index % 3,
                    "pieces": f" {word[:2]}|{word[2:]}",
                    "true_count": min(3, word.count("a")),
                },
            }
        )
    return found


def _score(items: list[dict[str, Any]], task: str, arm: str, seed: int | None, rng: np.random.Generator) -> list[dict]:
    """One (N,) latent difficulty per item keeps the arms correlated, as real ones are."""
    difficulty = np.random.default_rng(len(task)).uniform(size=len(items))
    noise = rng.normal(0, 0.06, len(items))
    level = LEVELS[task][arm] + GAINS.get(str(seed), 0.0)
    lines = []
    for item, value in zip(items, difficulty + noise, strict=True):
        right = bool(value < level)
        reply = item["gold"] if right else item["gold"][::-1] + "x"
        parsed = right or bool(rng.uniform() < 0.9)
        cer = 0.0 if right else round(float(rng.uniform(0.1, 1.0)), 3)
        lines.append(
            {
                **item,
                "arm": arm,
                "seed": seed,
                "reply": reply,
                "reply_ids": [5, 6],
                "exact": right,
                "right": right,
                "strict": right,
                "lenient": right,
                "parsed": parsed,
                "answer": reply if parsed else None,
                "details": {"cer": cer},
            }
        )
    return lines


def _result(lines: list[dict], arm: str, seed: int | None, task: str, split: str) -> dict[str, Any]:
    own = [line for line in lines if line["split"] == split]
    flags = ("right", "exact", "strict", "lenient", "parsed")
    share = {key: float(np.mean([line[key] for line in own])) for key in flags}
    phrasings = {
        name: float(np.mean([line["exact"] for line in own if line["phrasing"] == name])) for name in PHRASINGS
    }
    details = {"cer": float(np.mean([line["details"]["cer"] for line in own]))}
    row = {"arm": arm, "seed": seed, "task": task, "split": split, "n": len(own), **share}
    return {**row, "agreement": 0.996, "reply_tokens": 7.3, "details": details, "phrasings": phrasings}


def _strata(scores: TaskScores, items: list[dict[str, Any]]) -> list[Any]:
    held_out = [item["strata"] for item in items if item["split"] == "eval"]
    values = {name: np.array([s[name] for s in held_out]) for name in ("length", "repeated_letter", "word_tokens")}
    return list(by_stratum(scores, values))


def _write_results(folder: Path, rows: list[dict[str, Any]]) -> None:
    baselines = {
        "spelling": {"the word itself": 0.0},
        "position": {"first_letter": 0.082, "majority letter": 0.109},
        "count": {"always 1": 0.356, "word length": 0.021},
    }
    write_json(folder / "results.json", {"rows": rows, "baselines": baselines})


def _write_metrics(folder: Path, seeds: tuple[int, ...], rng: np.random.Generator) -> None:
    lines = []
    for arm, floor in (("trained", 0.35), ("format", 0.05)):
        for seed in seeds:
            label = f"{arm}-seed{seed}"
            for step in range(10, 281, 10):
                loss = floor + 1.6 * float(np.exp(-step / 60)) + float(rng.normal(0, 0.02))
                numbers = {"loss": max(loss, 0.0), "learning_rate": 0.003, "grad_norm": 0.8}
                lines.append({"time": step / 5, "arm": label, "step": step, **numbers})
            totals = {"steps": 280, "tokens": 590_112, "trained_tokens": 331_870, "seconds": 58.4}
            sizes = {"tokens_per_second": 10_104.7, "parameters_total": 4_423_168, "parameters_trainable": 196_608}
            lines.append({"time": 60.0, "arm": label, "event": "trained", **totals, **sizes})
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def _write_provenance(folder: Path) -> None:
    write_json(
        folder / "provenance.json",
        {
            "graft": "0.1.0",
            "recipe_hash": "9f2c1d7e",
            "seeds": [0, 1],
            "git": {"commit": None, "dirty": False},
            "versions": {"python": "3.11.9", "torch": "2.11.0"},
            "hardware": {"accelerator": None, "cores": 2, "memory_bytes": 8_000_000_000},
            "data": {"words": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c" * 2},
        },
    )
    least = {"spelling": 0.031, "position": 0.028, "count": 0.028}
    tasks = {
        task: {"items": 150, "smallest_detectable": value, "discordance_assumed": 0.2} for task, value in least.items()
    }
    write_json(folder / "forecast.json", {"tasks": tasks, "seeds": 2, "note": "80% power at α = 0.05."})


def _write_audit(folder: Path) -> None:
    write_json(
        folder / "audit.json",
        {
            "ok": True,
            "reasons": [],
            "exact": {"count": 0, "examples": []},
            "casefold": {"count": 0, "examples": []},
            "lemma": {"count": 0, "examples": []},
            "containment": {"count": 2, "examples": [["berry", "strawberry"], ["rain", "train"]]},
            "shared_tokens": {"share": 0.413},
            "template": {"count": 0},
            "train_words": 9000,
            "eval_words": 150,
            "source": "package",
        },
    )
