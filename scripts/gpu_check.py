"""What Graft's CUDA paths do on the GPU at hand, against plain PyTorch and transformers; some minutes on one H100.

    python scripts/gpu_check.py                      all checks
    python scripts/gpu_check.py --checks kernel,fp8  some
    python scripts/gpu_check.py --cpu                what a CPU can do of it, on tiny shapes, to try the script itself

Prints PASS, FAIL and INFO lines and exits with 1 after a FAIL. A check that raises has failed, and the next one
goes on. Models have random weights in the shape of Qwen3-0.6B with fewer layers; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from graft.models import fp8
from graft.models.adapters import add_lora
from graft.models.attention import _varlen, has_gqa, packed_attention
from graft.models.decoding import decode
from graft.models.forward import answer_hidden, head_of
from graft.models.shapes import named_shape
from graft.train import precision
from graft.train.engine import choose_layout, fit
from graft.train.layout import Layout
from graft.train.loss import head_loss
from graft.train.memory import set_checkpointing
from graft.train.plan import FitResult, Hooks, Plan
from graft.train.self_check import check_engine
from graft.types import Sampling, TokenRow

HALF = torch.bfloat16
DEVICE = torch.device("cuda" if torch.cuda.is_available() and "--cpu" not in sys.argv else "cpu")
PAD = 0


class Line(NamedTuple):
    """One finding: ``ok`` is ``None`` for what is only told."""

    ok: bool | None
    name: str
    text: str


Found = Iterator[Line]


def on_gpu() -> bool:
    return DEVICE.type == "cuda"


def model_of(layers: int = 4, dtype: torch.dtype = HALF, attention: str = "sdpa", adapted: bool = False) -> Any:
    """Qwen3-0.6B with few layers and seeded weights; a tiny one on a CPU. Adapters begin as after some training."""
    small = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
             "head_dim": 16, "vocab_size": 512, "num_hidden_layers": 2}  # fmt: skip
    large = {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 8,
             "head_dim": 128, "vocab_size": 151_936, "num_hidden_layers": layers}  # fmt: skip
    config = Qwen3Config(
        **(large if on_gpu() else small), tie_word_embeddings=True, bos_token_id=None, eos_token_id=None
    )
    torch.manual_seed(0)
    with DEVICE:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    model.eval()
    if not adapted:
        return model
    model = add_lora(model, r=16, alpha=32, dropout=0.0, targets="all-linear", seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, factor in model.named_parameters():
            if "lora_B" in name:
                factor.normal_(std=0.02)
    return model


def rows_of(count: int, low: int, high: int, vocabulary: int = 512) -> list[TokenRow]:
    """Rows of random tokens, of which the last two fifths are trained."""
    rng, rows = random.Random(0), []
    for _ in range(count):
        ids = tuple(rng.randrange(3, vocabulary) for _ in range(rng.randint(low, high)))
        cut = max(1, min(len(ids) - 1, len(ids) * 3 // 5))
        rows.append(TokenRow(ids[:cut], ids[cut:]))
    return rows


def plan_of(rows: list[TokenRow], steps: int, **changed: Any) -> Plan:
    plan = Plan(
        steps=steps, batch_size=len(rows) // steps, token_budget=None, learning_rate=1e-4, optimizer="adamw",
        schedule="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, bfloat16=True, seed=0,
        logging_steps=1, save_steps=None, keep_last=1,
    )  # fmt: skip
    return replace(plan, **changed)


def trained(
    model: Any, rows: list[TokenRow], plan: Plan, on_step: Callable[[int], None] = lambda step: None
) -> tuple[list[float], FitResult]:
    """The losses of a training, and what it came to."""
    losses: list[float] = []
    hooks = Hooks(on_report=lambda report: losses.append(report.loss), on_step=on_step)
    with tempfile.TemporaryDirectory() as folder:
        return losses, fit(model, rows, plan, pad_id=PAD, folder=Path(folder), hooks=hooks)


def plain_loss(model: Any, rows: list[TokenRow]) -> torch.Tensor:
    """The textbook way: one padded batch with a mask, all logits, the sum of the losses."""
    width = max(map(len, rows))
    ids, mask, labels = (torch.full((len(rows), width), fill) for fill in (PAD, 0, -100))
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens.prompt + tokens.completion)
        mask[row, : len(tokens)] = 1
        labels[row, len(tokens.prompt) : len(tokens)] = torch.tensor(tokens.completion)
    ids, mask, labels = (table.to(DEVICE) for table in (ids, mask, labels))
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def engine_loss(model: Any, rows: list[TokenRow], layout: Layout, budget: int, over: int) -> float:
    """Forward and back as the engine does it; the mean loss."""
    total = 0.0
    with packed_attention(model) if layout.kind == "packed" else nullcontext():
        for batch in layout.micro_batches(rows, budget):
            there = batch.to(model.device)
            loss, _ = head_loss(head_of(model), answer_hidden(model, there), there.targets_N)
            (loss / over).backward()
            total += float(loss.detach())
    return total / over


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.detach().float().flatten() for p in model.parameters() if p.grad is not None])


def error(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found.float() - right.float()).norm() / right.float().norm())


def environment() -> Found:
    text = f"torch {torch.__version__}, transformers {transformers.__version__}"
    if on_gpu():
        text += (
            f", {torch.cuda.get_device_name()}, capability {torch.cuda.get_device_capability()}, shared key heads in "
        )
        text += f"the kernel: {has_gqa()}"
    yield Line(None, "environment", text)


def kernel() -> Found:
    """The kernel as it is called: shared key heads, windows, repeated borders, there and back."""
    lengths = [130, 1, 64, 7, 33, 200, 77]
    borders = torch.tensor([0, *lengths, *[0] * 5]).cumsum(0).to(DEVICE, torch.int32)
    for heads, few, width, window in ((16, 8, 128, None), (16, 8, 128, 16), (14, 2, 64, 33), (32, 32, 96, None)):
        torch.manual_seed(0)
        states = [torch.randn(1, h, sum(lengths), width, dtype=HALF, device=DEVICE) for h in (heads, few, few)]
        leaves = [state.clone().requires_grad_() for state in states]
        out = _varlen(*leaves, borders, max(lengths), width**-0.5, (window - 1 if window else -1, 0))  # type: ignore[arg-type]
        weigh = torch.randn_like(out)
        (out * weigh).sum().backward()
        exact, near = (by_document(states, lengths, window, weigh, dtype) for dtype in (torch.float32, HALF))
        ours = [error(a, b) for a, b in zip((out, *(leaf.grad for leaf in leaves)), exact, strict=True)]  # type: ignore[arg-type]
        plain = [error(a, b) for a, b in zip(near, exact, strict=True)]
        good = all(a <= 2 * b + 1e-3 for a, b in zip(ours, plain, strict=True))
        told = ", ".join(f"{a:.1e} ({b:.1e})" for a, b in zip(ours, plain, strict=True))
        yield Line(
            good, f"kernel {heads}/{few} heads of {width}, window {window}", f"{told}; plain bfloat16 in brackets"
        )


def by_document(
    states: list[torch.Tensor], lengths: list[int], window: int | None, weigh: torch.Tensor, dtype: torch.dtype
) -> list[torch.Tensor]:
    """Plain attention document by document: the output and the gradients of query, key and value."""
    own = [state.detach().to(dtype).requires_grad_() for state in states]
    query, (key, value) = own[0], (s.repeat_interleave(own[0].shape[1] // s.shape[1], 1) for s in own[1:])
    parts = []
    for q, k, v in zip(*(state.split(lengths, 2) for state in (query, key, value)), strict=True):
        place = torch.arange(q.shape[2], device=DEVICE)
        seen = (place[None] <= place[:, None]) & (place[None] > place[:, None] - (window or q.shape[2]))
        scores = (q @ k.transpose(2, 3)).float() * q.shape[3] ** -0.5
        parts.append((torch.softmax(scores.masked_fill(~seen, -torch.inf), -1).to(dtype) @ v).transpose(1, 2))
    whole = torch.cat(parts, 1)
    (whole * weigh.to(dtype)).sum().backward()
    return [whole.detach(), *(state.grad for state in own if state.grad is not None)]


def packing() -> Found:
    """Loss and gradient of packed rows are no further from float32 than those of the plain batch in bfloat16."""
    rows = rows_of(24, 5, 300 if on_gpu() else 40)
    total = sum(len(row.completion) for row in rows)
    for adapted in (False, True):
        exact, half = model_of(dtype=torch.float32, attention="eager", adapted=adapted), model_of(adapted=adapted)
        half.load_state_dict(exact.state_dict())
        plain_loss(exact, rows).div(total).backward()
        plain_loss(half, rows).div(total).backward()
        right, near = gradients(exact), error(gradients(half), gradients(exact))
        layout = choose_layout(half, rows, plan_of(rows, 1), PAD)
        for budget in (1, 1024, 100_000):
            half.zero_grad()
            loss = engine_loss(half, rows, layout, budget, total)
            far = error(gradients(half), right)
            yield Line(
                layout.kind == "packed" and far <= 1.3 * near + 1e-3, f"packing, adapters {adapted}, budget {budget}",
                f"loss {loss:.5f}; gradient's error {far:.1e}, of the plain batch {near:.1e}",
            )  # fmt: skip


def architectures() -> Found:
    """What packs and what must not; weights in float32 pack too, and the engine agrees with the model's own pass."""
    common = {
        "vocab_size": 512, "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 4, "pad_token_id": 0,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1,
        "eos_token_id": 2,
    }  # fmt: skip
    cases: list[tuple[str, dict[str, Any], bool]] = [
        ("qwen3", {"head_dim": 64}, True),
        ("llama", {"head_dim": 32}, True),
        ("mistral", {"sliding_window": 8, "head_dim": 32}, on_gpu()),
        ("gemma2", {"head_dim": 64}, False),
        ("lfm2", {"layer_types": ["conv", "full_attention"] * 2}, False),
    ]
    rows = rows_of(12, 5, 40)
    for name, settings, packs in cases:
        for dtype in (HALF, torch.float32):
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[name](**common, **settings), dtype=dtype)
            model = model.to(DEVICE).eval()
            plan = plan_of(rows, 1)
            layout, facts = check_engine(model, rows, plan, choose_layout(model, rows, plan, PAD))
            told = f"{layout.kind}; {facts['checked']}"
            yield Line((layout.kind == "packed") == packs, f"architecture {name}, {str(dtype)[6:]}", told)


def products_fp8() -> Found:
    """Products in fp8 there and back, and a training on them."""
    for rows, inputs, outputs in ((4096, 1024, 3072), (17, 1024, 1024), (1, 3072, 1024)):
        layer = torch.nn.Linear(inputs, outputs, bias=False, dtype=HALF, device=DEVICE).requires_grad_(False)
        weight = layer.weight.detach().float()
        given = torch.randn(rows, inputs, dtype=HALF, device=DEVICE, requires_grad=True)
        fp8._store(layer)
        made = layer(given)
        back = torch.randn_like(made)
        made.backward(back)
        assert given.grad is not None
        far = error(made, given.float() @ weight.T), error(given.grad, back.float() @ weight)
        yield Line(
            max(far) < 0.05, f"fp8 {rows} × {inputs} × {outputs}", f"errors {far[0]:.3f} there, {far[1]:.3f} back"
        )
    losses = {}
    rows = rows_of(16 * 20, 20, 60, 2000)  # type: ignore[assignment]
    for kind in ("bfloat16", "fp8"):
        model = model_of(adapted=True)
        if kind == "fp8":
            fp8.to_fp8(model)
        losses[kind], _ = trained(model, rows, plan_of(rows, 20, learning_rate=2e-3))  # type: ignore[arg-type]
    worst = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    yield Line(worst < 0.15, "fp8 training", f"largest difference of a loss in 20 steps {worst:.4f}")


def compiling() -> Found:
    """Compiled layers give the same losses, and nothing is compiled once all shapes were seen."""
    from torch._dynamo.utils import counters

    rows, told = rows_of(32 * 24, 20, 200, 2000), {}
    for switch in ("off", "on"):
        graphs: list[int] = []
        ends: list[float] = []

        def note(_: int, graphs: list[int] = graphs, ends: list[float] = ends) -> None:
            torch.cuda.synchronize()
            graphs.append(int(counters["stats"]["unique_graphs"]))
            ends.append(time.perf_counter())

        losses, result = trained(model_of(8, adapted=True), rows, plan_of(rows, 24, compile=switch), note)
        told[switch] = losses, graphs, (ends[-1] - ends[11]) / 12, bool(result.facts["compiled"])
    worst = max(abs(a - b) for a, b in zip(told["off"][0], told["on"][0], strict=True))
    yield Line(told["on"][3] and worst < 0.05, "compiled losses", f"largest difference in 24 steps {worst:.4f}")
    yield Line(told["on"][1][-1] == told["on"][1][11], "compiling settles", f"graphs by step {told['on'][1]}")
    yield Line(None, "compiled speed", f"{told['off'][2] / told['on'][2]:.2f} times that of plain layers")


def checkpointing() -> Found:
    """Activations that are computed again give the same gradient."""
    rows, found = rows_of(12, 20, 200 if on_gpu() else 40), []
    total = sum(len(row.completion) for row in rows)
    for on in (False, True):
        model = model_of(adapted=True).train()
        set_checkpointing(model, on)
        engine_loss(model, rows, choose_layout(model, rows, plan_of(rows, 1), PAD), 100_000, total)
        found.append(gradients(model))
    yield Line(error(*found) < 1e-2, "activation checkpointing", f"gradient differs by {error(*found):.1e}")


def memory() -> Found:
    """A step that runs out of memory is done again, with the same losses."""
    rows = rows_of(64 * 4, 200, 1000, 2000)
    right, result = trained(model_of(8, adapted=True), rows, plan_of(rows, 4))
    yield Line(None, "memory", f"budget {result.facts['token_budget']}, peak {result.facts['peak_bytes'] / 1e9:.1f} GB")
    tidy()
    model = model_of(8, adapted=True)
    blocker = torch.empty(max(1, torch.cuda.mem_get_info()[0] - 6 * 2**30), dtype=torch.uint8, device=DEVICE)
    found, result = trained(model, rows, plan_of(rows, 4, token_budget=65_536))
    del blocker
    worst = max(abs(a - b) for a, b in zip(found, right, strict=True))
    halved = int(result.facts["token_budget"]) < 65_536
    yield Line(
        halved and worst < 1e-2, "memory recovery", f"budget {result.facts['token_budget']}, losses {worst:.4f} off"
    )


def waiting() -> Found:
    """How often the processor waits for the GPU in a step."""
    rows, seen, counts = rows_of(32 * 6, 20, 100, 2000), [], []

    def note(step: int) -> None:
        counts.append(list(seen))
        seen.clear()
        if step == 2:
            torch.cuda.set_sync_debug_mode("warn")

    before = warnings.showwarning
    warnings.showwarning = lambda told, kind, file, line, *_: seen.append(f"{Path(file).name}:{line}")  # type: ignore[assignment]
    try:
        warnings.simplefilter("always")
        plan = plan_of(rows, 6, token_budget=2048, logging_steps=6, compile="off")
        trained(model_of(adapted=True), rows, plan, note)
    finally:
        warnings.showwarning = before
        torch.cuda.set_sync_debug_mode("default")
    yield Line(max(map(len, counts[3:5])) <= 4, "waiting", f"in steps 4 and 5: {counts[3:5]}")


def weights() -> Found:
    """Every weight trained from bfloat16 goes as far as from float32: by masters, and where memory is scarce."""
    rows, free = rows_of(8 * 10, 20, 60), precision.free_bytes
    start = torch.cat([p.detach().double().flatten().cpu() for p in model_of(2).parameters()])
    ways = []
    for dtype, scarce in ((torch.float32, False), (HALF, False), (HALF, True), (torch.float16, False)):
        model = model_of(2).to(dtype)
        precision.free_bytes = (lambda device: 1) if scarce else free
        _, result = trained(model, rows, plan_of(rows, 10, learning_rate=1e-4, bfloat16=dtype is not torch.float16))
        precision.free_bytes = free
        way = torch.cat([p.detach().double().flatten().cpu() for p in model.parameters()]) - start
        ways.append(way)
        along = float(way @ ways[0] / (ways[0] @ ways[0]))
        name = f"weights from {str(dtype)[6:]}, {result.facts['trained_weights']}"
        yield Line(abs(along - 1) < 0.15, name, f"{along:.3f} of the way that float32 goes")


def generation() -> Found:
    """Greedy replies in batches are those of `generate`."""
    model, rng = model_of(dtype=torch.float32, attention="eager"), random.Random(0)
    prompts = [[rng.randrange(3, 500) for _ in range(rng.randint(3, 40))] for _ in range(12)]
    ends, written = frozenset(range(3, 500, 17)), [[] for _ in prompts]  # type: list[int], list[list[int]]
    sampling = Sampling(max_new_tokens=20)
    for step in decode(model, prompts, sampling, pad_id=PAD, end_ids=ends, streams=list(range(12))):
        for index, token in step:
            written[index].append(token)
    wrong = 0
    for prompt, ours in zip(prompts, written, strict=True):
        ids = torch.tensor([prompt], device=DEVICE)
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20,
                               eos_token_id=sorted(ends), pad_token_id=PAD)  # fmt: skip
        wrong += ours != whole[0, len(prompt) :].tolist()
    yield Line(not wrong, "generation", f"{wrong} of 12 greedy replies differ from generate")


def speed() -> Found:
    """Tokens per second of the engine on all 28 layers."""
    shape, rows = named_shape("qwen3-0.6b"), rows_of(256 * 8, 20, 60, 2000)
    cases: list[tuple[str, dict[str, Any], bool, bool]] = [
        ("adapters, plain", {"compile": "off"}, True, False), ("adapters, compiled", {"compile": "on"}, True, False),
        ("adapters, fp8", {"compile": "off"}, True, True), ("every weight", {"compile": "off"}, False, False),
        ("every weight, foreach", {"compile": "off", "optimizer": "adamw_torch"}, False, False),
    ]  # fmt: skip
    for name, changed, adapted, eight in cases:
        if eight and torch.cuda.get_device_capability() < fp8.CAPABILITY:
            continue
        model = model_of(28, adapted=adapted)
        if eight:
            fp8.to_fp8(model)
        ends: list[float] = []

        def note(_: int, ends: list[float] = ends) -> None:
            torch.cuda.synchronize()
            ends.append(time.perf_counter())

        _, result = trained(model, rows, plan_of(rows, 8, logging_steps=8, **changed), note)
        done, seconds = rows[256 * 4 :], ends[-1] - ends[3]
        tokens, carried = sum(map(len, done)), sum(len(row.completion) for row in done)
        useful = shape.useful_flops(tokens, carried) / seconds / 1e12
        peak = result.facts["peak_bytes"] / 1e9
        yield Line(
            None, f"speed, {name}", f"{tokens / seconds:,.0f} tokens/s, {useful:.0f} TFLOP/s, peak {peak:.1f} GB"
        )
        del model
        tidy()


CHECKS: dict[str, tuple[Callable[[], Found], bool]] = {
    "environment": (environment, True), "kernel": (kernel, False), "packing": (packing, True),
    "architectures": (architectures, True), "fp8": (products_fp8, False), "compiling": (compiling, False),
    "checkpointing": (checkpointing, True), "memory": (memory, False), "waiting": (waiting, False),
    "weights": (weights, True), "generation": (generation, True), "speed": (speed, False),
}  # fmt: skip
"""By name each check, and whether a CPU can do it."""


def tidy() -> None:
    gc.collect()
    if on_gpu():
        torch.cuda.empty_cache()


def findings(check: Callable[[], Found], name: str) -> Found:
    """What a check finds; its failing is a finding too."""
    try:
        yield from check()
    except Exception as failure:
        traceback.print_exc()
        yield Line(False, name, f"{type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="do what a CPU can do, on tiny shapes")
    parser.add_argument("--checks", default=",".join(CHECKS), help="names of checks, with commas between")
    given = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("graft").addHandler(logging.NullHandler())
    failed = 0
    for name in given.checks.split(","):
        check, anywhere = CHECKS[name]
        began = time.perf_counter()
        found = findings(check, name) if anywhere or on_gpu() else iter([Line(None, name, "skipped: needs CUDA")])
        for line in found:
            word = {None: "INFO", True: "PASS", False: "FAIL"}[line.ok]
            print(f"{word} {line.name}: {line.text}", flush=True)
            failed += line.ok is False
        print(f"     {name} took {time.perf_counter() - began:.0f} s", flush=True)
        tidy()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
