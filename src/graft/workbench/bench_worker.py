"""One measurement in a process of its own, so that no engine finds memory, patches or caches of another.

`python -m graft.workbench.bench_worker JOB`, with the job as JSON; writes one JSON object per line to stdout.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config.training import EngineName
from graft.errors import GraftError
from graft.train.backends import Fit, fit_with, preload_engine, require_engine

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from graft.types import TokenRow

WARM_UP = 2
"""Steps before the clock starts: memory is fetched, kernels are chosen."""

VARIANTS: dict[EngineName, tuple[str, ...]] = {
    "native": ("",),
    "trl": ("", "whole step", "packing"),
    "unsloth": ("", "packing"),
}
"""Ways to run an engine, so that it is measured at its best: cut by the token budget as Graft runs it, the whole step
in one padded pass, rows end to end without padding."""

PACKED_TOKENS = {"cpu": 512}
"""Tokens of one pass of the others' packing by device, else the token budget: without a kernel the time of their
attention grows with the square of the pass."""

LORA = {"r": 16, "alpha": 32.0, "dropout": 0.0, "targets": "all-linear", "seed": 0}

_PEAK_SIZE = {"cpu": 2048, "cuda": 8192}
_PEAK_REPEATS = 8


@dataclass(frozen=True, slots=True)
class Job:
    """What to measure.

    Attributes:
        engine: the engine, or ``None`` for the speed of a plain matrix product.
        shape: name of the model's shape.
        workload: name of the rows.
        steps: optimizer steps on the clock.
        batch_size: rows per step.
        token_budget: most tokens of one forward and backward pass.
        variant: one of the engine's `VARIANTS`.
    """

    engine: EngineName | None
    shape: str
    workload: str
    steps: int
    batch_size: int
    token_budget: int
    variant: str = ""


def main() -> int:
    """Do the job given on the command line."""
    job = Job(**json.loads(sys.argv[1]))
    try:
        result = _peak() if job.engine is None else _train(job, job.engine, lambda step: _emit(step=step))
    except GraftError as error:
        _emit(error=str(error))
        return 2
    except RuntimeError as error:  # torch's out-of-memory errors among them
        _emit(error=f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return 1
    _emit(result=result)
    return 0


def _emit(**fact: Any) -> None:
    print(json.dumps(fact), flush=True)


def _train(job: Job, engine: EngineName, on_step: Callable[[int], None]) -> dict[str, float]:
    require_engine(engine)
    preload_engine(engine)
    from graft.train.memory import peak_bytes
    from graft.train.plan import Hooks, Plan
    from graft.workbench.workloads import workload_rows

    rows = workload_rows(job.workload, (WARM_UP + job.steps) * job.batch_size)
    model, bfloat16 = _model(job, engine)
    plan = Plan(
        steps=WARM_UP + job.steps,
        batch_size=job.batch_size,
        token_budget=_budget(job, rows, model.device.type),
        learning_rate=1e-4,
        optimizer="adamw",
        schedule="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        bfloat16=bfloat16,
        seed=0,
        logging_steps=WARM_UP + job.steps,
        save_steps=None,
        keep_last=1,
    )
    ends: list[float] = []

    def tick(step: int) -> None:
        if step in (WARM_UP, plan.steps):
            _wait_for(model.device)
        ends.append(time.perf_counter())
        on_step(step)

    with tempfile.TemporaryDirectory() as folder:
        _fitter(job, engine)(model, rows, plan, pad_id=0, folder=Path(folder), hooks=Hooks(on_step=tick))
    clocked = rows[WARM_UP * job.batch_size :]
    return {
        "seconds": ends[-1] - ends[WARM_UP - 1],
        "examples": len(clocked),
        "tokens": sum(map(len, clocked)),
        "trained_tokens": sum(len(row.completion) for row in clocked),
        "peak_bytes": peak_bytes(model.device),
    }


def _budget(job: Job, rows: Sequence[TokenRow], device: str) -> int:
    """Most tokens of one pass in the job's variant."""
    if job.variant == "whole step":
        return job.batch_size * max(map(len, rows))
    return min(job.token_budget, PACKED_TOKENS.get(device, job.token_budget)) if job.variant else job.token_budget


def _fitter(job: Job, engine: EngineName) -> Fit:
    """What trains in the job's variant."""
    if job.variant != "packing":
        return partial(fit_with, engine)
    if engine == "unsloth":
        from graft.train import unsloth_engine

        return partial(unsloth_engine.fit, padding_free=True)
    from graft.train import trl_engine

    return partial(trl_engine.fit, padding_free=True)


def _model(job: Job, engine: EngineName) -> tuple[PreTrainedModel, bool]:
    """The model with adapters, and whether it computes in bfloat16."""
    from graft.models.adapters import add_lora
    from graft.models.devices import computes_bfloat16, pick_attention, pick_device, pick_dtype
    from graft.models.shapes import named_shape, random_model
    from graft.models.tokenizer import quiet_libraries

    quiet_libraries()
    device = pick_device("auto")
    dtype, attention = pick_dtype("auto", device), pick_attention("auto", device)
    model = random_model(named_shape(job.shape), device=device, dtype=dtype, attention=attention)
    adapted = _through_unsloth(model) if engine == "unsloth" else add_lora(model, **LORA)  # type: ignore[arg-type]
    return adapted, computes_bfloat16(device)


def _through_unsloth(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights as Unsloth loads them: it can train no model that was built elsewhere."""
    from graft.models.tokenizer import load_tokenizer
    from graft.train import unsloth_engine
    from graft.workbench.workloads import LONGEST

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        load_tokenizer("sprout").save_pretrained(folder)
        del model
        loaded = unsloth_engine.load(folder, revision=None, max_length=LONGEST, full=False)
    return unsloth_engine.add_lora(loaded, **LORA)  # type: ignore[arg-type]


def _peak() -> dict[str, float]:
    """The fastest of a few products of large square matrices, in the arithmetic that training uses here."""
    import torch

    from graft.models.devices import computes_bfloat16, pick_device

    device = pick_device("auto")
    dtype = torch.bfloat16 if computes_bfloat16(device) else torch.float32
    size = _PEAK_SIZE.get(device.type, _PEAK_SIZE["cpu"])
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(_PEAK_REPEATS):
        _wait_for(device)
        started = time.perf_counter()
        left @ right
        _wait_for(device)
        seconds.append(time.perf_counter() - started)
    return {"flops_per_second": 2.0 * size**3 / min(seconds)}


def _wait_for(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def job_json(job: Job) -> str:
    """A job as this module reads it."""
    return json.dumps(asdict(job))


if __name__ == "__main__":
    sys.exit(main())
