from __future__ import annotations

import json
from dataclasses import replace

import pytest

from graft.cli.main import main
from graft.errors import ConfigError, TrainError
from graft.models.shapes import Shape
from graft.pipeline.progress import SilentProgress
from graft.train.backends import usable_engines
from graft.workbench import bench
from graft.workbench.bench import BenchResult, Measured, bench_train
from graft.workbench.bench_worker import VARIANTS, Job
from graft.workbench.workloads import LONGEST, WORKLOADS, workload_rows

JOB = Job(None, "sprout", "spell", 2, 4, 1700)


class Told(SilentProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize("asked", [["--engines", "native"], pytest.param([], marks=pytest.mark.slow)])
def test_every_engine_is_measured_in_a_process_of_its_own(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", *asked, "--shape", "sprout", "--steps", "2", "--batch-size", "4", "--json"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    expected = {
        f"{engine} {variant}".strip() for engine in asked[1:] or usable_engines() for variant in VARIANTS[engine]
    }
    assert set(result["engines"]) == expected
    assert result["failures"] == {}
    for engine, figures in result["engines"].items():
        assert figures["tokens_per_second"] > figures["examples_per_second"] > 0
        assert 0.05 < figures["peak_memory_gb"] < 20
        assert figures["share_of_peak"] == pytest.approx(figures["useful_tflops"] / result["peak_tflops"])
        assert f"train by {engine}" in told.err
    if "trl" in result["engines"]:
        speeds = {name: figures["tokens_per_second"] for name, figures in result["engines"].items()}
        fastest = max(speed for name, speed in speeds.items() if name.startswith("trl"))
        assert result["ratios"] == {"native/trl": pytest.approx(speeds["native"] / fastest)}


def test_people_get_a_table_and_the_ratios() -> None:
    native = Measured("native", 2000.0, 100.0, 2 * 10**9, 3e12)
    slow = replace(native, engine="trl", tokens_per_second=500.0)
    fast = replace(slow, tokens_per_second=800.0, variant="packing")
    result = BenchResult(JOB, "cpu", 6e12, (native, slow, fast), {})
    assert result.table.rows[0] == ("native", "2,000", "100.0", "2.00", "3", "50.0")
    assert [row[0] for row in result.table.rows] == ["native", "trl", "trl packing"]
    assert result.notes[0] == "native : trl packing = 2.50 in tokens/s"  # the other at its best
    assert result.ratios == {"native/trl": 2.5}


@pytest.mark.slow
def test_an_engine_that_fails_leaves_the_others_figures() -> None:
    told = Told()
    with pytest.raises(TrainError, match="native: stopped with exit code"):
        bench_train(["native"], shape="sprout", workload="no such rows", steps=1, batch_size=1, progress=told)
    assert told.warnings[0].startswith("native: stopped with exit code 1: KeyError")


def test_a_shape_that_does_not_fit_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "named_shape", lambda name: Shape(5120, 17_408, 40_000, 40, 8, 128, 151_936, tied=False))
    with pytest.raises(ConfigError, match=r"--shape huge needs about [\d.]+ GB .* has [\d.]+ GB free; choose"):
        bench_train(["native"], shape="huge", workload="spell", steps=1, batch_size=1, progress=SilentProgress())


def test_a_larger_shape_on_a_cpu_is_warned_about_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "accelerator", lambda: None)
    monkeypatch.setattr(bench, "named_shape", lambda name: Shape(64, 96, 3, 4, 2, 16, 500, tied=True))
    told = Told()
    assert bench._plan_memory("qwen3-0.6b", told) == ("cpu", 1700)
    assert len(told.warnings) == 1
    assert "qwen3-0.6b needs about 0.0 GB and minutes per step on a CPU" in told.warnings[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engines", "nativ"], "Did you mean 'native'? Known: native, trl, unsloth."),
        (["--engines", ","], "--engines is empty"),
        (["--shape", "qwen3-9b"], "'qwen3-9b' is not one of"),
        (["--steps", "0"], "0 is not in the range x>=1"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_rows_of_a_workload_are_always_the_same(name: str) -> None:
    rows = workload_rows(name, 40)
    assert len(rows) == 40
    assert rows == workload_rows(name, 40)
    assert all(row.prompt and len(row) <= LONGEST and max(row.prompt + row.completion) < 4096 for row in rows)
