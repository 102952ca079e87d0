"""The forms in which a branch leaves: each is written into a folder and held against the branch there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from graft.models.adapters import portable_name
from graft.pipeline.prepare.thinking import used_sampling
from graft.pipeline.progress import Progress
from graft.pipeline.train.weights import load_base, load_branch
from graft.runs.files import write_text
from graft.runs.provenance import hash_file
from graft.workbench.export.proof import Proof, prove
from graft.workbench.export.request import LICENCES, Request, with_model
from graft.workbench.export.rescore import Rescoring


def write_adapter(request: Request, folder: Path, rescoring: Rescoring | None, progress: Progress) -> dict[str, Any]:
    """Copy the adapter of a branch, as PEFT and vLLM load it."""
    from peft import PeftModel

    from graft.export.adapter import copy_adapter
    from graft.export.folder import make_readable, save_tokenizer

    settings = copy_adapter(request.final, folder)
    save_tokenizer(request.tokenizer, request.policy, folder)
    make_readable(folder)
    base = partial(load_base, request.whole, request.branch)
    proof = _proven(request, lambda: PeftModel.from_pretrained(base(), str(folder)).eval(), progress)
    told = f"it belongs to the base {settings['base_model_name_or_path']}; its rank is {settings['r']}"
    return _facts(folder, proof, [told])


def write_merged(request: Request, folder: Path, rescoring: Rescoring | None, progress: Progress) -> dict[str, Any]:
    """Write one plain model of a branch."""
    notes = _merge_into(request, folder, progress)
    found = _facts(folder, _proven(request, partial(request.load, folder), progress), notes)
    return found if rescoring is None else found | {"scores": rescoring.of_folder(folder)}


def write_gguf_files(request: Request, folder: Path, rescoring: Rescoring | None, progress: Progress) -> dict[str, Any]:
    """Write a GGUF file of every type that was asked for, and try each with llama.cpp; for Ollama with a Modelfile."""
    merged = folder / "merged"
    notes = _merge_into(request, merged, progress)
    proof = _proven(request, partial(request.load, merged), progress)
    files = {}
    for mixture in request.mixtures:
        path = folder / f"{file_stem(request)}-{mixture}.gguf"
        files[mixture], told = _write_file(request, merged, path, mixture, proof, progress)
        notes = list(dict.fromkeys((*notes, *told)))
        if rescoring is not None:
            files[mixture]["scores"] = rescoring.of_file(path, mixture)
    if request.form == "ollama":
        notes += _write_modelfile(request, merged, folder / files[request.mixtures[0]]["file"])
    shutil.rmtree(merged)
    return _facts(folder, proof, notes) | {
        "files": files,
        "summary": "; ".join(f"{mixture}: {one['summary']}" for mixture, one in files.items()),
    }


FORMS: Mapping[str, Callable[[Request, Path, Rescoring | None, Progress], dict[str, Any]]] = {
    "adapter": write_adapter,
    "gguf": write_gguf_files,
    "ollama": write_gguf_files,
    "merged": write_merged,
}
"""What writes each form; it gives what is to be recorded."""


def file_stem(request: Request) -> str:
    """The beginning of a file's name: the base's last name and the branch."""
    base = portable_name(request.recipe.model.id).rsplit("/", 1)[-1]
    return f"{base}-{request.branch.label}"


def _write_file(
    request: Request, merged: Path, path: Path, mixture: str, proof: Proof, progress: Progress
) -> tuple[dict[str, Any], tuple[str, ...]]:
    from transformers import AutoTokenizer, GenerationConfig

    from graft.export.certificate import certify, require_certified
    from graft.export.gguf.write import ends_of, write_gguf

    bar = progress.task(f"write {path.name}")
    notes = write_gguf(merged, path, mixture, name=file_stem(request), on_tensor=bar.advance)
    bar.finish()
    bar = progress.task(f"try {path.name} with llama.cpp", 4)
    tokenizer = AutoTokenizer.from_pretrained(merged)
    ends = ends_of(GenerationConfig.from_pretrained(merged), tokenizer.eos_token_id)
    found = certify(path, tokenizer, ends, proof.rows, bar.advance)
    bar.finish()
    require_certified(found, exact=mixture == "f32" and proof.exact)
    facts = {"file": path.name, "bytes": path.stat().st_size, "sha256": hash_file(path)}
    return {**facts, "certificate": asdict(found), "summary": found.line()}, notes


def _write_modelfile(request: Request, merged: Path, path: Path) -> list[str]:
    """Write what Ollama must know of a file, and give both to it if that was asked for."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    from graft.export.gguf.write import ends_of
    from graft.export.ollama import create, find_frames, modelfile
    from graft.export.template import pinned

    with pinned(request.tokenizer, replace(request.policy, system=None)) as told:
        frames, notes = find_frames(told)
    generation = GenerationConfig.from_pretrained(merged)
    tokenizer = AutoTokenizer.from_pretrained(merged)
    described = modelfile(
        frames,
        system=request.policy.system,
        generation=generation,
        stops=tokenizer.convert_ids_to_tokens(list(ends_of(generation, tokenizer.eos_token_id))),
        context=AutoConfig.from_pretrained(merged).max_position_embeddings,
        licence=LICENCES.get(request.recipe.model.id, ""),
    )
    write_text(path.parent / "Modelfile", described.text(path.name))
    if request.create is None:
        return list(notes)
    create(request.create, path, described)
    return [*notes, f"Ollama has it as {request.create}"]


def _merge_into(request: Request, folder: Path, progress: Progress) -> list[str]:
    import torch

    from graft.export.folder import save_model
    from graft.models.merge import merge

    recipe = request.whole
    if recipe.model.init == "weights":  # random weights depend on the type in which they are drawn
        recipe = with_model(recipe, dtype=request.stored_dtype, device="cpu")
    bar = progress.task(f"merge {request.branch.label}")
    model = load_branch(request.run, recipe, request.branch)
    model, notes = merge(model, getattr(torch, request.dtype), bar.advance)
    bar.finish()
    bar = progress.task("write the model")
    sampling = used_sampling(recipe, thinks=recipe.thinking == "on")
    save_model(model, request.tokenizer, request.policy, sampling, folder)
    bar.finish()
    return list(notes)


def _proven(request: Request, load: Callable[[], Any], progress: Progress) -> Proof:
    bar = progress.task("compare with the branch")
    proof = prove(request, load)
    bar.finish()
    return proof


def _facts(folder: Path, proof: Proof, notes: list[str]) -> dict[str, Any]:
    """Size of what was written, how far it is from the branch, and what a person should know."""
    weights = [path for pattern in ("*.safetensors", "*.gguf") for path in folder.glob(pattern)]
    return {
        "bytes": sum(path.stat().st_size for path in weights),
        "agreement": asdict(proof.agreement),
        "summary": proof.agreement.line(),
        "notes": [*notes, *proof.notes()],
    }
