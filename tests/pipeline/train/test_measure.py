from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from graft.config.loading import Resolved
from graft.errors import ConfigError
from graft.pipeline.prepare.validate import validate
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import evaluate, train
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json, read_jsonl
from graft.runs.metrics import read_metrics

Build = Callable[..., Resolved]
ONE_ARM: dict[str, Any] = {"study__arms": ["trained"], "adapter__dropout": 0.1, "train__max_steps": 6}


class Listener(SilentProgress):
    """Remembers what the bars show."""

    def __init__(self) -> None:
        self.facts: list[dict[str, Any]] = []

    def task(self, description: str, total: int | None = None) -> Listener:  # type: ignore[override]
        return self

    def advance(self, count: int = 1, **facts: Any) -> None:
        self.facts.append(facts)

    def finish(self) -> None:
        """Nothing to do."""


def trained(resolved: Resolved, progress: SilentProgress | None = None) -> RunDirectory:
    return train(resolved, progress=progress or SilentProgress()).run


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, small_recipe: Build) -> tuple[RunDirectory, Listener]:
    """A run that is measured every two steps."""
    listener = Listener()
    folder = tmp_path_factory.mktemp("measured")
    return trained(small_recipe(folder, **ONE_ARM, train__eval_steps=2), listener), listener


def weights(run: RunDirectory) -> dict[str, Any]:
    return load_file(run.checkpoints / "trained-seed0" / "final" / "adapter_model.safetensors")


def test_held_out_figures_of_every_task_reach_the_log_the_bar_and_tensorboard(
    measured: tuple[RunDirectory, Listener],
) -> None:
    run, listener = measured
    lines = [line for line in read_metrics(run.metrics) if "held_out/loss" in line]
    assert [line["step"] for line in lines] == [2, 4, 6]
    tasks_of_words = ("spelling", "position", "count")
    names = {"loss", *(f"{figure}/{task}" for figure in ("exact", "score") for task in tasks_of_words)}
    names |= {"accuracy", "exact", "score"}
    for line in lines:
        assert {name.removeprefix("held_out/") for name in line if name.startswith("held_out/")} == names
        tasks = [line[f"held_out/exact/{task}"] for task in ("spelling", "position", "count")]
        assert line["held_out/exact"] == pytest.approx(sum(tasks) / 3)
        assert 0 <= line["held_out/accuracy"] <= 1
    assert lines[-1]["held_out/loss"] < lines[0]["held_out/loss"]
    assert any("held_out_loss" in facts and "exact" in facts for facts in listener.facts)
    events = b"".join(path.read_bytes() for path in run.tensorboard.rglob("events*"))
    assert b"held_out/loss" in events and b"held_out/exact/spelling" in events
    assert "held-out loss" in run.log.read_text()


def test_a_task_with_labels_is_measured_by_its_metric_and_stops_by_it(tmp_path: Path, small_recipe: Build) -> None:
    kinds = [("fine", "praise"), ("broken", "complaint")]
    rows = "\n".join(f"message {n} {{}},{{}}".format(*kinds[n % 4 == 0]) for n in range(80))
    (tmp_path / "m.csv").write_text(f"text,kind\n{rows}\n")
    task = {"name": "m", "train": str(tmp_path / "m.csv"), "held_out": 0.4, "prompt": "{text}\nKind:", "label": "kind"}
    task |= {"labels": ["complaint", "praise"], "metric": "macro_f1"}
    resolved = small_recipe(
        tmp_path / "runs",
        **ONE_ARM | {"data__train": "m", "eval__tasks": ["m"], "train__max_steps": 2},
        data__tasks=[task],
        train__eval_steps=1,
        stopping__metric="score/m",
        stopping__patience=5,
    )
    run = trained(resolved)
    lines = [line for line in read_metrics(run.metrics) if "held_out/score/m" in line]
    evaluated = evaluate(str(run.path), resolved, progress=SilentProgress()).run
    final = next(row for row in read_json(evaluated.path / "results.json")["rows"] if row["arm"] == "trained-seed0")
    best = int(run.outputs("train-trained-seed0")["best_step"])
    assert final["metric"] == "macro-F1" and final["score"] != final["exact"]
    assert lines[best - 1]["held_out/score/m"] == pytest.approx(final["score"], abs=1e-6)


def test_measuring_changes_no_bit_of_the_training(
    tmp_path: Path, small_recipe: Build, measured: tuple[RunDirectory, Listener]
) -> None:
    plain = weights(trained(small_recipe(tmp_path, **ONE_ARM)))
    other = weights(measured[0])
    assert plain.keys() == other.keys()
    assert all((plain[name] == other[name]).all() for name in plain)


def test_the_log_says_how_it_was_trained(measured: tuple[RunDirectory, Listener]) -> None:
    run, _ = measured
    lines = read_metrics(run.metrics)
    (end,) = [line for line in lines if line.get("event") == "trained"]
    assert end["parameters_total"] > end["parameters_trainable"] > 0
    assert end["tokens_per_second"] > 0 and end["stopped_early"] == 0
    (setup,) = [line for line in lines if line.get("event") == "setup"]
    assert (setup["device"], setup["layout"], setup["attention"]) == ("cpu", "packed", "per-document")
    assert setup["precision"] in ("float32", "bfloat16")
    reports = [line for line in lines if "learning_rate" in line]
    assert all(line["tokens_per_second"] > 0 and line["peak_bytes"] > 0 for line in reports)
    assert b"parameters_trainable" in b"".join(path.read_bytes() for path in run.tensorboard.rglob("events*"))


def test_a_limit_on_batches_measures_the_first_items(tmp_path: Path, small_recipe: Build) -> None:
    few = {"train__eval_steps": 6, "train__eval_max_batches": 1, "eval__batch_size": 5}
    run = trained(small_recipe(tmp_path, **ONE_ARM, **few))
    (line,) = [line for line in read_metrics(run.metrics) if "held_out/loss" in line]
    for task in ("spelling", "position", "count"):
        assert 5 * line[f"held_out/exact/{task}"] == pytest.approx(round(5 * line[f"held_out/exact/{task}"]))


def test_a_run_that_stops_early_stores_where_and_ends_with_the_best_weights(
    tmp_path: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stop_rules.py").write_text("def enough(measured):\n    return len(measured) == 2\n")
    monkeypatch.chdir(tmp_path)
    settings = {"train__eval_steps": 1, "stopping__criterion": "stop_rules:enough", "stopping__mode": "max"}
    run = trained(small_recipe(tmp_path, **ONE_ARM, **settings))
    outputs = run.outputs("train-trained-seed0")
    assert (outputs["steps"], outputs["stopped_early"]) == (2, True)
    assert outputs["best_step"] == 1  # the loss falls, and more of it was said to be better
    (end,) = [line for line in read_jsonl(run.metrics) if line.get("event") == "trained"]
    assert (end["stopped_early"], end["best_step"], end["step"]) == (1, 1, 2)
    first = weights(trained(small_recipe(tmp_path, **ONE_ARM | {"train__max_steps": 6}, **settings)))
    assert all((first[name] == value).all() for name, value in weights(run).items())
    assert sorted(path.name for path in (run.checkpoints / "trained-seed0").iterdir()) == ["final"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stopping__patience": 2}, r"stopping\.patience is 2, but train\.eval_steps is unset"),
        ({"stopping__metric": "exact/prose"}, r"stopping\.metric is 'exact/prose'.*exact/count"),
        ({"stopping__criterion": "nowhere:at_all", "train__eval_steps": 2}, r"nowhere is not installed and not in"),
    ],
)
def test_a_wrong_stopping_rule_is_refused_before_anything_is_loaded(
    tmp_path: Path, small_recipe: Build, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(small_recipe(tmp_path, **settings).recipe)
