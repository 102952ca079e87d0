"""What a run is made from: hashes of its files and versions, and the refusal to go on when one of them has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from graft.config.schema import Recipe
from graft.data.files import named
from graft.errors import ConfigError, DataError, RunError
from graft.models import remote
from graft.models.source import locate
from graft.models.tokenizer import tokenizer_hash
from graft.pipeline.prepare.lab import Lab
from graft.pipeline.prepare.served import is_remote
from graft.pipeline.prepare.taskbook import hash_path
from graft.runs.directory import RunDirectory
from graft.runs.files import read_json
from graft.runs.provenance import COMPUTING, hash_file, hash_rows, version_of
from graft.runs.redaction import redacted

WHOLE_BYTES = 1 << 28
"""Files of a model up to this size are hashed whole; of larger ones, sizes and pieces all through them."""

ITEMS = "items of "
"""Before the names of what comes of files: words, scored items, texts."""

_PIECES, _PIECE_BYTES = 64, 1 << 20


def hash_inputs(lab: Lab) -> dict[str, str]:
    """Hashes of everything that a run reads and that could be another thing tomorrow.

    Args:
        lab: the shared parts of the run.

    Returns:
        SHA-256 by what is hashed: a setting with the file it names, the tokenizer with its template, the words and
        items that come of them; and the versions of the libraries that compute.

    Raises:
        DataError: a file cannot be read.
    """
    found = {f"{setting} ({path})": hash_path(path) for setting, path in _data_files(lab.recipe)}
    template = str(lab.tokenizer.chat_template)
    found["tokenizer and template"] = hash_rows([tokenizer_hash(lab.tokenizer), template])
    found |= {f"model.id ({path})": _hash_weights(path) for path in _model_files(lab.recipe)}
    found |= {f"{ITEMS}{name}": digest for name, digest in hash_data(lab).items()}
    return found | {name: version for name in COMPUTING if (version := version_of(name)) is not None}


def hash_data(lab: Lab) -> dict[str, str]:
    """SHA-256 of the words, the scored items and the texts, by name."""
    hashes = {}
    if lab.words is not None:
        hashes["train_words"] = hash_rows(word.text for word in lab.words.train)
        hashes["eval_words"] = hash_rows(word.text for word in lab.words.eval)
    for items in lab.items:
        name = f"{items.task.card.name}.{items.split}"
        hashes[name] = hash_rows(f"{e.id}\t{e.prompt}\t{e.gold}" for e in items.examples)
    for corpus in lab.corpora:
        hashes[f"{corpus.task}.eval"] = hash_rows(corpus.texts)
    return hashes | {str(path): hash_file(path) for path in lab.recipe.data.corpus}


def require_same_inputs(run: RunDirectory, lab: Lab) -> None:
    """Refuse to continue a run whose files, words or libraries are no longer those that it was begun with.

    Raises:
        ConfigError: some have changed; the message names them.
        RunError: what they were cannot be read any more.
    """
    now, changed = {redacted(name): redacted(digest) for name, digest in hash_inputs(lab).items()}, []
    for name, before in _stored(run).items():
        after = now.get(name)
        if after != before:
            changed.append(f"{name} {before} (now {after})" if name in COMPUTING else name)
    changed = [name for name in changed if not name.startswith(ITEMS)] or changed  # they follow from the files
    if changed:
        raise ConfigError(
            f"cannot continue {run.name}: {', '.join(changed)} changed since the run began; restore what was there, or "
            "start a new run"
        )


def _stored(run: RunDirectory) -> Mapping[str, str]:
    """What `hash_inputs` gave when the run was begun; runs of before there were manifests say it in their provenance
    only, and older ones not at all. Where the marker is damaged and the stage is run again, that is what is left.
    """
    outputs: Mapping[str, Any] = {}
    if run.is_done("prepare"):
        with suppress(RunError):
            outputs = run.outputs("prepare")
    found = outputs if "inputs" in outputs or not run.provenance.is_file() else read_json(run.provenance)
    inputs: Mapping[str, str] = found.get("inputs", {})
    return inputs


def _data_files(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    for index, task in enumerate(recipe.data.tasks):
        for key, paths in (("train", task.train), ("eval", task.eval)):
            for path in named(paths) if paths is not None else ():
                yield f"data.tasks[{index}].{key}", path
    for index, path in enumerate(recipe.data.corpus):
        yield f"data.corpus[{index}]", path
    if recipe.words.source not in ("package", "tokenizer"):
        yield "words.source", Path(recipe.words.source)
    if recipe.style.data is not None:
        yield "style.data", recipe.style.data


def _model_files(recipe: Recipe) -> list[Path]:
    """The model's own files, where they lie in a folder here; those of a hub id are named by its revision."""
    model = recipe.model
    if is_remote(recipe) or model.id == "sprout":
        return []
    folder = remote.cached_copy(model.id) if remote.is_remote(model.id) else locate(model.id).folder
    return [] if folder is None else sorted(path for path in folder.iterdir() if path.is_file())


def _hash_weights(path: Path) -> str:
    """The whole file, or of a large one its size and pieces that lie evenly through it.

    Raises:
        DataError: it cannot be read.
    """
    size = path.stat().st_size
    if size <= WHOLE_BYTES:
        return hash_file(path)
    digest = hashlib.sha256(str(size).encode())
    try:
        with path.open("rb") as file:
            for piece in range(_PIECES):
                file.seek(piece * (size - _PIECE_BYTES) // (_PIECES - 1))
                digest.update(file.read(_PIECE_BYTES))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    return digest.hexdigest()
