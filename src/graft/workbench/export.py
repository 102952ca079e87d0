"""From a branch of a run to what people use: merged, compared with the branch, and written where it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.config.loading import load_recipe
from graft.config.schema import Recipe
from graft.data.chat import PROBE, ChatPolicy
from graft.data.tokens import prompt_ids
from graft.errors import ConfigError, ModelError, RunError, choices
from graft.models.loading import load_model
from graft.models.source import stored_dtype
from graft.pipeline.branches import Branch, branches
from graft.pipeline.places import final_folder, samples_path
from graft.pipeline.prepare.boundary import run_date
from graft.pipeline.prepare.lab import chat_policy, recipe_limits, recipe_tokenizer
from graft.pipeline.prepare.thinking import used_sampling
from graft.pipeline.progress import Progress
from graft.pipeline.train.weights import load_base, load_branch
from graft.runs.directory import RunDirectory
from graft.runs.files import MARKER, commit_folder, is_committed, replacing_folder, write_json
from graft.runs.samples import read_samples
from graft.runs.space import require_space
from graft.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from graft.export.agreement import Agreement, Readings

PROMPTS = 16
"""Prompts of the run on which an export is compared with its branch."""

QUESTIONS = (PROBE, "Write one sentence about the sea.", "What is 17 + 25?", "Name three colours.")
"""Asked where a branch has not been scored, so that the run holds no prompts of it."""

RECORD = "export.json"
"""What was exported, and how it was compared; beside the files, and in the run's folder ``exports``."""


@dataclass(frozen=True, slots=True)
class Export:
    """What is to be exported.

    Attributes:
        run: the run.
        recipe: its recipe.
        branch: the trained branch.
        tokenizer: the branch's tokenizer.
        policy: how its prompts were rendered.
        dtype: type of the exported weights, as torch names it.
        out: where to.
    """

    run: RunDirectory
    recipe: Recipe
    branch: Branch
    tokenizer: PreTrainedTokenizerBase
    policy: ChatPolicy
    dtype: str
    out: Path

    @property
    def whole(self) -> Recipe:
        """The recipe with the base in full precision: nothing is merged into few bits."""
        return _with_model(self.recipe, quantize="none", precision="auto")

    @property
    def reduced(self) -> bool:
        """Whether the branch computed with weights of fewer bits than those that are exported."""
        return self.recipe.model.quantize != "none" or self.recipe.model.precision == "fp8"


def export(
    run: RunDirectory,
    target: str,
    *,
    arm: str | None,
    dtype: str | None,
    out: Path,
    force: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Write a branch of a run in a form that other programs load, and compare it with the branch.

    Args:
        run: the run.
        target: ``merged`` or ``adapter``.
        arm: label of a trained branch; the first one when unset.
        dtype: type of merged weights; that of the base's files when unset.
        out: folder to write.
        force: replace what is there.
        progress: how far it is.

    Returns:
        The record that is stored beside the files.

    Raises:
        ConfigError: the branch is not trained, or a flag has no effect or cannot be taken.
        ModelError: it cannot be made, or is too far from the branch; its files are then kept for a look.
        RunError: the branch was not trained to its end.
        StorageError: it does not fit on the disk.
    """
    if target == "adapter" and dtype is not None:
        raise ConfigError(f"--dtype is {dtype}, but an adapter stays in float32 as it was trained; leave it out")
    wanted = wanted_export(run, arm=arm, dtype="float32" if target == "adapter" else dtype, out=out, force=force)
    write = write_adapter if target == "adapter" else write_merged
    with written(out) as folder:
        record = {
            "run": run.name,
            "arm": wanted.branch.label,
            "base": wanted.recipe.model.id,
            "format": target,
            "dtype": wanted.dtype,
            **write(wanted, folder, progress),
        }
        write_json(folder / RECORD, record)
    write_json(run.path / "exports" / f"{wanted.branch.label}-{target}-{wanted.dtype}.json", record)
    return record


def wanted_export(run: RunDirectory, *, arm: str | None, dtype: str | None, out: Path, force: bool) -> Export:
    """Everything that can be checked before a model is loaded.

    Raises:
        ConfigError: see `export_merged`.
        RunError: the branch was not trained to its end.
        StorageError: there is no room.
    """
    recipe = load_recipe(run.recipe).recipe
    branch = trained_branch(recipe, arm)
    _check_out(run, out, force)
    if not is_committed(final_folder(run, branch)):
        raise RunError(f"{run.name} holds no trained {branch.label}; train it first: graft run --resume {run.name}")
    dtype = dtype or stored_dtype(_source_of(run, recipe, branch), recipe.model.revision)
    _check_space(recipe, dtype, out)
    tokenizer, limits = recipe_tokenizer(recipe), recipe_limits(recipe)
    policy = chat_policy(recipe, tokenizer, limits, date=run_date(run))
    return Export(run, recipe, branch, tokenizer, policy, dtype, out)


def trained_branch(recipe: Recipe, arm: str | None) -> Branch:
    """The branch of that label, or the first trained one.

    Raises:
        ConfigError: there is none, or it was not trained.
    """
    known = {branch.label: branch for branch in branches(recipe)}
    trained = {label: branch for label, branch in known.items() if branch.seed is not None}
    if not trained:
        raise ConfigError("the run trains nothing, so there is nothing to export; its model is the one of its recipe")
    if arm is None:
        return next((branch for branch in trained.values() if branch.arm == "trained"), next(iter(trained.values())))
    if arm in known and arm not in trained:
        raise ConfigError(
            f"--arm is {arm}, the untouched model, which is there already as {recipe.model.id}; only trained arms are "
            f"exported. {choices(arm, trained)}"
        )
    if arm not in trained:
        raise ConfigError(f"--arm is {arm!r}, but the run has no such arm. {choices(arm, trained)}")
    return trained[arm]


def _check_out(run: RunDirectory, out: Path, force: bool) -> None:
    inside = out.resolve()
    if inside == run.path.resolve() or run.path.resolve() in inside.parents:
        raise ConfigError(f"--out is {out}, inside the run {run.name}; a run holds its own files only, so name another")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out is {out}, a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ConfigError(f"--out is {out}, which is not empty; name another folder, or replace it with --force")


def _check_space(recipe: Recipe, dtype: str, out: Path) -> None:
    from graft.models.facts import STORED_BYTES, model_facts

    facts = model_facts(
        recipe.model.id, revision=recipe.model.revision, trust_remote_code=recipe.model.trust_remote_code
    )
    require_space(out, facts.parameters * STORED_BYTES[dtype], f"the model in {dtype}")


def _source_of(run: RunDirectory, recipe: Recipe, branch: Branch) -> str:
    """Where the weights are whose type is kept: the base's, or the trained ones where all were trained."""
    return str(final_folder(run, branch)) if recipe.adapter.kind == "none" else recipe.model.id


@contextmanager
def written(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that takes its place at the end; one that is refused is kept under another name."""
    with replacing_folder(out) as folder:
        try:
            yield folder
        except ModelError as error:
            if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.gguf")):
                raise
            kept = commit_folder(folder, out.with_name(f"{out.name}.refused"))
            raise ModelError(f"{error}. The files are in {kept} for a look") from error
    (out / MARKER).unlink(missing_ok=True)


def write_adapter(wanted: Export, folder: Path, progress: Progress) -> dict[str, Any]:
    """Copy the adapter of a branch into a folder and compare it with the branch, as PEFT loads it.

    Returns:
        What is to be recorded.
    """
    from peft import PeftModel

    from graft.export.adapter import copy_adapter
    from graft.export.folder import make_readable, save_tokenizer

    settings = copy_adapter(final_folder(wanted.run, wanted.branch), folder)
    save_tokenizer(wanted.tokenizer, wanted.policy, folder)
    make_readable(folder)
    load = partial(load_base, wanted.whole, wanted.branch)
    found = _facts(wanted, folder, lambda: PeftModel.from_pretrained(load(), str(folder)).eval(), progress)
    told = f"it belongs to the base {settings['base_model_name_or_path']}; its rank is {settings['r']}"
    return found | {"notes": [told, *found["notes"]]}


def write_merged(wanted: Export, folder: Path, progress: Progress) -> dict[str, Any]:
    """Merge a branch into a folder and compare what lies there with the branch.

    Returns:
        What is to be recorded.
    """
    notes = _merge_into(wanted, folder, progress)
    section = wanted.recipe.model
    load = partial(load_model, str(folder), device=section.device, dtype=section.dtype, attention=section.attention)
    found = _facts(wanted, folder, load, progress)
    return found | {"notes": [*notes, *found["notes"]]}


def _facts(wanted: Export, folder: Path, load: Callable[[], PreTrainedModel], progress: Progress) -> dict[str, Any]:
    """Size of what was written, and how far it is from the branch."""
    bar = progress.task("compare with the branch")
    found, scored = _compared(wanted, load)
    bar.finish()
    told = () if scored is None else (f"the branch computed on weights of few bits, this does not: {scored.line()}",)
    weights = folder.glob("*.safetensors")
    return {
        "bytes": sum(path.stat().st_size for path in weights),
        "agreement": asdict(found),
        "summary": found.line(),
        "notes": list(told),
    }


def _merge_into(wanted: Export, folder: Path, progress: Progress) -> tuple[str, ...]:
    import torch

    from graft.export.folder import save_model
    from graft.export.merge import merge

    recipe = wanted.whole
    if recipe.model.init == "weights":  # random weights depend on the type in which they are drawn
        kept = stored_dtype(_source_of(wanted.run, recipe, wanted.branch), recipe.model.revision)
        recipe = _with_model(recipe, dtype=kept, device="cpu")
    bar = progress.task(f"merge {wanted.branch.label}")
    model = load_branch(wanted.run, recipe, wanted.branch)
    model, notes = merge(model, getattr(torch, wanted.dtype), bar.advance)
    bar.finish()
    bar = progress.task("write the model")
    sampling = used_sampling(recipe, thinks=recipe.thinking == "on")
    save_model(model, wanted.tokenizer, wanted.policy, sampling, folder)
    bar.finish()
    return notes


def _compared(wanted: Export, load: Callable[[], PreTrainedModel]) -> tuple[Agreement, Agreement | None]:
    """Hold the exported model against the branch on its whole base; and against the branch as it computed.

    Raises:
        ModelError: it is further from the branch than rounding explains.
    """
    import torch

    from graft.export.agreement import compare, greedy_rows, read, require_agreement

    model = load_branch(wanted.run, wanted.whole, wanted.branch)
    rows = greedy_rows(model, wanted.tokenizer, run_prompts(wanted))
    branch, base = read(model, rows), _without_adapter(model, rows)
    coarsest = max(model.dtype, getattr(torch, wanted.dtype), key=lambda dtype: torch.finfo(dtype).eps)
    del model
    found = read(load(), rows)
    agreement = compare(branch, found)
    require_agreement(agreement, coarsest, compare(branch, base) if base is not None else None)
    if not wanted.reduced:
        return agreement, None
    return agreement, compare(read(load_branch(wanted.run, wanted.recipe, wanted.branch), rows), found)


def _without_adapter(model: PreTrainedModel, rows: Sequence[Any]) -> Readings | None:
    """What the base says; ``None`` where every weight was trained."""
    from graft.export.agreement import read

    if not hasattr(model, "disable_adapter"):
        return None
    with model.disable_adapter():
        return read(model, rows)


def run_prompts(wanted: Export) -> list[tuple[int, ...]]:
    """Prompts of the run as ids, the same number from every task; of a branch without scored items a few questions."""
    stored = []
    for task in wanted.recipe.eval.tasks:
        path = samples_path(wanted.run, wanted.branch, task)
        found = read_samples(path) if path.is_file() else []
        stored.append([tuple(row["prompt_ids"]) for row in found if row.get("prompt_ids")])
    scored = [ids for ids in stored if ids]
    if not scored:
        turns = ([Message("user", question)] for question in QUESTIONS)
        return [
            prompt_ids(wanted.tokenizer, turn, wanted.policy, think=wanted.policy.thinking == "on") for turn in turns
        ]
    share = max(1, PROMPTS // len(scored))
    return [ids[index * len(ids) // share] for ids in scored for index in range(min(share, len(ids)))]


def _with_model(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})
