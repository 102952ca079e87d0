"""`graft bench train`: how fast each engine trains the same rows, each in a fresh process, with random weights."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import psutil

from graft.config.training import EngineName
from graft.errors import ConfigError, TrainError
from graft.models.hardware import accelerator
from graft.models.shapes import Shape, named_shape
from graft.pipeline.outcome import Table
from graft.pipeline.progress import Progress
from graft.train.backends import require_engine
from graft.train.memory import TOKEN_BUDGETS
from graft.workbench.bench_worker import VARIANTS, WARM_UP, Job, job_json

GB = 1e9
TERA = 1e12

COLUMNS = ("engine", "tokens/s", "examples/s", "peak memory GB", "useful TFLOP/s", "share of peak %")


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine's figures over the steps on the clock.

    Attributes:
        engine: its name.
        tokens_per_second: tokens read, padding not counted.
        examples_per_second: rows trained.
        peak_bytes: most memory held at once, on the GPU or by the process.
        useful_flops_per_second: see `graft.models.shapes.Shape.useful_flops`.
        variant: how it was run, one of `graft.workbench.bench_worker.VARIANTS`.
    """

    engine: EngineName
    tokens_per_second: float
    examples_per_second: float
    peak_bytes: int
    useful_flops_per_second: float
    variant: str = ""

    @property
    def name(self) -> str:
        """Engine and variant, such as ``trl packing``."""
        return f"{self.engine} {self.variant}".strip()


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What a benchmark found.

    Attributes:
        job: what was measured; its engine is of no meaning.
        device: kind of device.
        peak_flops_per_second: of a plain product of large matrices.
        measured: the engines that ran, in the order asked, each in all its variants.
        failures: why the others did not, by name and variant.
    """

    job: Job
    device: str
    peak_flops_per_second: float
    measured: tuple[Measured, ...]
    failures: dict[str, str]

    @property
    def best(self) -> tuple[Measured, ...]:
        """The fastest variant of each engine."""
        names = dict.fromkeys(one.engine for one in self.measured)
        return tuple(
            max((one for one in self.measured if one.engine == name), key=lambda one: one.tokens_per_second)
            for name in names
        )

    @property
    def ratios(self) -> dict[str, float]:
        """Tokens per second of each engine at its best over those of each later one, such as ``native/trl``."""
        return {
            f"{a.engine}/{b.engine}": a.tokens_per_second / b.tokens_per_second for a, b in combinations(self.best, 2)
        }

    @property
    def table(self) -> Table:
        """The figures for people."""
        return Table(COLUMNS, tuple(self._row(one) for one in self.measured))

    @property
    def notes(self) -> tuple[str, ...]:
        """Ratios and the peak in words."""
        ratios = [
            f"{a.name} : {b.name} = {a.tokens_per_second / b.tokens_per_second:.2f} in tokens/s"
            for a, b in combinations(self.best, 2)
        ]
        return (*ratios, f"measured matmul peak {self.peak_flops_per_second / TERA:.3g} TFLOP/s on {self.device}")

    def to_json(self) -> dict[str, Any]:
        """The figures for machines."""
        return {
            "shape": self.job.shape,
            "workload": self.job.workload,
            "steps": self.job.steps,
            "batch_size": self.job.batch_size,
            "token_budget": self.job.token_budget,
            "device": self.device,
            "peak_tflops": self.peak_flops_per_second / TERA,
            "engines": {
                one.name: {
                    "tokens_per_second": one.tokens_per_second,
                    "examples_per_second": one.examples_per_second,
                    "peak_memory_gb": one.peak_bytes / GB,
                    "useful_tflops": one.useful_flops_per_second / TERA,
                    "share_of_peak": one.useful_flops_per_second / self.peak_flops_per_second,
                }
                for one in self.measured
            },
            "ratios": self.ratios,
            "failures": self.failures,
        }

    def _row(self, one: Measured) -> tuple[str, ...]:
        return (
            one.name,
            f"{one.tokens_per_second:,.0f}",
            f"{one.examples_per_second:,.1f}",
            f"{one.peak_bytes / GB:.2f}",
            f"{one.useful_flops_per_second / TERA:.3g}",
            f"{100 * one.useful_flops_per_second / self.peak_flops_per_second:.1f}",
        )


def bench_train(
    engines: Sequence[EngineName], *, shape: str, workload: str, steps: int, batch_size: int, progress: Progress
) -> BenchResult:
    """Measure LoRA training (r = 16 on all linear layers) by each engine, one after the other.

    Args:
        engines: what to measure.
        shape: one of `graft.models.shapes.SHAPE_NAMES`.
        workload: one of `graft.workbench.workloads.WORKLOADS`.
        steps: optimizer steps on the clock, after a few that are not.
        batch_size: examples per step.
        progress: is told of every step.

    Raises:
        ConfigError: an engine cannot run here, or the shape does not fit into memory.
        MissingExtra: an engine is not installed.
        TrainError: no engine came to its end.
    """
    for engine in engines:
        require_engine(engine)
    device, budget = _plan_memory(shape, progress)
    job = Job(None, shape, workload, steps, batch_size, budget)
    progress.stage(f"bench {shape}, {workload}, {steps} steps of {batch_size} examples on {device}")
    peak = _in_a_process(job)["flops_per_second"]
    measured, failures = [], {}
    for engine, variant in ((one, way) for one in engines for way in VARIANTS[one]):
        name = f"{engine} {variant}".strip()
        bar = progress.task(f"train by {name}", WARM_UP + steps)
        try:
            result = _in_a_process(Job(engine, shape, workload, steps, batch_size, budget, variant), bar.advance)
        except TrainError as error:
            failures[name] = str(error)
            progress.warn(f"{name}: {error}")
            continue
        bar.finish()
        measured.append(_measured(engine, variant, named_shape(shape), result))
    if not measured:
        raise TrainError("; ".join(f"{name}: {reason}" for name, reason in failures.items()))
    return BenchResult(job, device, peak, tuple(measured), failures)


def _measured(engine: EngineName, variant: str, shape: Shape, result: dict[str, Any]) -> Measured:
    seconds = result["seconds"]
    return Measured(
        engine,
        result["tokens"] / seconds,
        result["examples"] / seconds,
        result["peak_bytes"],
        shape.useful_flops(result["tokens"], result["trained_tokens"]) / seconds,
        variant,
    )


def _plan_memory(name: str, progress: Progress) -> tuple[str, int]:
    """The device and the token budget that fits it; warns or refuses by a rough forecast."""
    shape, card = named_shape(name), accelerator()
    device = card["kind"] if card else "cpu"
    size = 2 if device == "cuda" else 4
    free = card["bytes"] if card else psutil.virtual_memory().available
    budget = TOKEN_BUDGETS.get(device, TOKEN_BUDGETS["cuda"])
    while budget > TOKEN_BUDGETS["cpu"] and shape.memory(budget, size) > free:
        budget //= 2
    needed = shape.memory(budget, size)
    if needed > free:
        raise ConfigError(
            f"--shape {name} needs about {needed / GB:.1f} GB for weights and {budget:,} tokens of activations, but "
            f"{device} has {free / GB:.1f} GB free; choose a smaller shape"
        )
    if device == "cpu" and name != "sprout":
        progress.warn(f"{name} needs about {needed / GB:.1f} GB and minutes per step on a CPU; --shape sprout suits it")
    return device, budget


def _in_a_process(job: Job, on_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Do one job in a fresh Python.

    Raises:
        TrainError: it did not come to its end.
    """
    command = [sys.executable, "-m", "graft.workbench.bench_worker", job_json(job)]
    reply: dict[str, Any] = {}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8") as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                fact = _fact(line)
                reply |= fact
                if "step" in fact:
                    on_step()
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
    if "result" in reply:
        return dict(reply["result"])
    killed = "killed by the system, probably out of memory" if code == -9 else last
    raise TrainError(f"stopped with exit code {code}: {reply.get('error', killed)}")


def _fact(line: str) -> dict[str, Any]:
    """A line of the worker; libraries may print others."""
    try:
        fact = json.loads(line)
    except ValueError:
        return {}
    return fact if isinstance(fact, dict) else {}
