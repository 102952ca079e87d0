"""`graft export` from request to folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graft.errors import ModelError
from graft.export.hub import check_target, push
from graft.models.adapters import portable_name
from graft.pipeline.progress import Progress
from graft.report.html import write_report
from graft.runs.directory import RunDirectory
from graft.runs.files import commit_folder, replacing_folder, write_json, write_text
from graft.runs.manifest import MARKER
from graft.workbench.export.card import model_card
from graft.workbench.export.forms import FORMS
from graft.workbench.export.request import check_request
from graft.workbench.export.rescore import open_rescoring

RECORD = "export.json"
"""What was exported, and how it was compared; beside the files, and in the run's folder ``exports``."""


def export(
    run: RunDirectory,
    form: str,
    *,
    arm: str | None = None,
    dtype: str | None = None,
    quantize: Sequence[str] = (),
    create: str | None = None,
    out: Path,
    force: bool = False,
    score: bool | None = None,
    push_to: str | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Write a branch of a run in a form that other programs load, and hold it against the branch.

    Args:
        run: the run.
        form: a name of `graft.workbench.export.forms.FORMS`.
        arm: label of a trained branch; the first one when unset.
        dtype: type of merged weights; that of the base's files when unset.
        quantize: types of GGUF files, each of which becomes one; ``f16`` when empty.
        create: give the model to a running Ollama under this name.
        out: folder to write.
        force: replace what is there.
        score: ask the run's held-out items of what was made; ``None`` for GGUF files of a branch that was scored.
        push_to: upload the folder afterwards, to ``hub:owner/name``; nothing is uploaded without it.
        progress: how far it is.

    Returns:
        The record that is stored beside the files.

    Raises:
        ConfigError: the branch is not trained, or a flag has no effect or cannot be taken.
        MissingExtra: a package is missing.
        ModelError: it cannot be made, or is too far from the branch; its files are then kept for a look.
        RunError: the branch was not trained to its end.
        StorageError: it does not fit on the disk.
    """
    repository = None if push_to is None else check_target(push_to)
    request = check_request(run, form, arm=arm, dtype=dtype, quantize=quantize, create=create, out=out, force=force)
    rescoring = open_rescoring(request, progress, wanted=score)
    with written(out) as folder:
        record = {
            "run": run.name,
            "arm": request.branch.label,
            "base": portable_name(request.recipe.model.id),
            "form": form,
            "dtype": request.dtype,
            **FORMS[form](request, folder, rescoring, progress),
        }
        record["notes"] += request.notes()
        write_json(folder / RECORD, record)
        write_text(folder / "README.md", model_card(request, record))
    write_json(run.path / "exports" / f"{request.branch.label}-{form}-{request.types}.json", record)
    if run.report.is_file():
        write_report(run)
    if repository is not None:
        progress.stage(f"upload to {repository}")
        record["notes"].append(f"uploaded: {push(out, repository)}")
    return record


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
