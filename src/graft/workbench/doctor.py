"""What this machine offers, what is installed, and whether a recipe can run here. Nothing is loaded or downloaded."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from packaging.requirements import Requirement

from graft.config.schema import Recipe
from graft.errors import GraftError, MissingExtra
from graft.models import remote
from graft.pipeline.outcome import Table
from graft.pipeline.prepare.facts import memory_forecast, recipe_facts
from graft.pipeline.prepare.served import is_remote as is_served
from graft.pipeline.prepare.validate import validate
from graft.runs.cache import cache_folder
from graft.runs.space import format_bytes, free_bytes
from graft.tasks.sandbox.execution import kernel_refusal

if TYPE_CHECKING:
    from graft.models.facts import ModelFacts


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional part of Graft.

    Attributes:
        name: as in ``pip install 'graft-lm[name]'``.
        modules: what must be importable for it.
        enables: what it is for.
    """

    name: str
    modules: tuple[str, ...]
    enables: str

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(module for module in self.modules if find_spec(module) is None)


EXTRAS = (
    Extra("data", ("datasets", "huggingface_hub", "pyarrow"), "datasets from a hub (data.train, eval.tasks)"),
    Extra("export", ("gguf", "xllamacpp"), "GGUF files (graft export, model.id=FILE.gguf)"),
    Extra("ollama", ("ollama",), "models behind an Ollama server (model.backend=ollama)"),
    Extra("quant", ("bitsandbytes",), "weights of 4 or 8 bits (model.quantize)"),
    Extra("remote", ("fsspec", "s3fs"), "models behind s3:// and other URLs (model.id)"),
    Extra("trl", ("trl", "datasets"), "training by TRL (engine.name=trl)"),
    Extra("unsloth", ("unsloth",), "training by Unsloth on CUDA (engine.name=unsloth)"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked for a recipe.

    Attributes:
        what: the subject.
        ok: nothing stands against running.
        detail: what was found, and what to do if it is not right.
    """

    what: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything the doctor found.

    Attributes:
        tables: what the machine offers, by title.
        findings: what was checked for the recipe; empty without one.
    """

    tables: dict[str, Table]
    findings: tuple[Finding, ...] = ()

    @property
    def can_run(self) -> bool:
        """Whether nothing stands against the recipe."""
        return all(finding.ok for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The diagnosis for machines."""
        found: dict[str, Any] = {
            title: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            for title, table in self.tables.items()
        }
        if self.findings:
            found["recipe"] = [{"what": f.what, "ok": f.ok, "detail": f.detail} for f in self.findings]
            found["can_run"] = self.can_run
        return found


def examine(recipe: Recipe | None, runs: Path) -> Diagnosis:
    """Look at the machine and, if there is one, at a recipe.

    Args:
        recipe: a valid recipe.
        runs: folder of the run directories.
    """
    tables = {
        "machine": Table(("part", "found"), tuple(_machine())),
        "disk": Table(("for", "folder", "free"), tuple(_disk(runs))),
        "libraries": Table(("library", "installed", "needed"), tuple(_libraries())),
        "extras": Table(("extra", "installed", "enables", "install"), tuple(_extras())),
    }
    return Diagnosis(tables, tuple(_findings(recipe)) if recipe else ())


def _machine() -> Iterator[tuple[str, ...]]:
    import torch

    from graft.models.devices import bfloat16_speedup, computes_bfloat16, pick_device, pick_dtype
    from graft.models.hardware import accelerator

    memory = psutil.virtual_memory()
    yield "system", f"{platform.platform()}, Python {platform.python_version()}"
    yield "CPU", f"{psutil.cpu_count()} cores, {torch.get_num_threads()} threads used"
    yield "memory", f"{format_bytes(memory.available)} free of {format_bytes(memory.total)}"
    found = accelerator()
    if found:
        yield "accelerator", f"{found['count']} × {found['name']}, {format_bytes(found['bytes'])}"
    else:
        yield "accelerator", "none: models run on the CPU; fit for models up to about 1,000 million parameters"
    device = pick_device("auto")
    native = "computed natively" if computes_bfloat16(device) else "not computed natively; float32 is used"
    speed = f", {bfloat16_speedup():.1f} times as fast as float32" if device.type == "cpu" else ""
    yield "bfloat16", f"{native}{speed}"
    refused = kernel_refusal()
    walls = f"refused, but for --weak-sandbox: {refused}" if refused else "shut in by the kernel"
    yield "model-written code", f"{walls}; run only with --allow-code-execution"
    yield "auto means", f"device {device.type}, weights {str(pick_dtype('auto', device)).removeprefix('torch.')}"


def _disk(runs: Path) -> Iterator[tuple[str, ...]]:
    for what, folder in (("runs", runs), ("copied models", cache_folder())):
        try:
            yield what, str(folder), format_bytes(free_bytes(folder))
        except GraftError as error:
            yield what, str(folder), f"unknown: {error}"


def _libraries() -> Iterator[tuple[str, ...]]:
    """What Graft needs, with the installed version."""
    for line in requires("graft-lm") or ():
        needed = Requirement(line)
        if needed.marker is None:
            yield needed.name, _installed(needed), str(needed.specifier)


def _installed(needed: Requirement) -> str:
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return "missing"
    return found if needed.specifier.contains(found, prereleases=True) else f"{found} (too old)"


def _extras() -> Iterator[tuple[str, ...]]:
    for extra in EXTRAS:
        missing = extra.missing
        command = f"pip install 'graft-lm[{extra.name}]'" if missing else ""
        yield extra.name, f"no: {', '.join(missing)}" if missing else "yes", extra.enables, command


def _findings(recipe: Recipe) -> Iterator[Finding]:
    """Check one thing after the other; a failed one does not hide the rest."""
    yield _checked("settings", lambda: validate(recipe), "names, files and the run folder are right")
    for extra in _needed_extras(recipe):
        if extra.missing:
            yield Finding(f"extra {extra.name}", False, str(MissingExtra(extra.enables, extra.name)))
    if is_served(recipe):
        yield Finding("model", True, f"{recipe.model.id} runs behind {recipe.model.url or recipe.model.backend}")
        return
    yield _checked("device", lambda: _device(recipe))
    try:
        facts, notes = recipe_facts(recipe)
    except GraftError as error:
        yield Finding("model", False, str(error))
        return
    yield Finding("model", True, "; ".join((_described(facts), *notes)))
    yield _checked("memory", lambda: memory_forecast(recipe, facts))


def _checked(what: str, check: Callable[[], str | None], fine: str = "") -> Finding:
    try:
        return Finding(what, True, check() or fine)
    except GraftError as error:
        return Finding(what, False, str(error))


def _needed_extras(recipe: Recipe) -> Iterator[Extra]:
    model, by_name = recipe.model, {extra.name: extra for extra in EXTRAS}
    if model.quantize != "none":
        yield by_name["quant"]
    if remote.is_remote(model.id):
        yield by_name["remote"]
    if recipe.engine.name in by_name:
        yield by_name[recipe.engine.name]


def _device(recipe: Recipe) -> str:
    from graft.models.devices import pick_device

    device = pick_device(recipe.model.device)
    if recipe.model.precision == "fp8":
        from graft.models.fp8 import check_fp8

        check_fp8(device)
    return device.type


def _described(facts: ModelFacts) -> str:
    parts = [
        f"{facts.model_type}, {facts.parameters:,} parameters ({facts.embedding_share:.0%} embeddings)",
        f"{facts.layers} layers, {facts.heads} heads, {facts.kv_heads} for keys and values",
        f"vocabulary {facts.vocabulary:,}",
    ]
    if facts.context_length:
        parts.append(f"context {facts.context_length:,}")
    if facts.is_mixture:
        parts.append(
            f"mixture of {facts.experts} experts, {facts.experts_per_token} per token: "
            f"{facts.active_parameters:,} parameters active"
        )
    return ", ".join(parts)
