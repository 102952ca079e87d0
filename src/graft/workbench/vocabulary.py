"""The vocabulary commands from model to folder: classify, trim, put an adapter back."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import ConfigError, ModelError
from graft.models.loading import load_model, load_tokenizer
from graft.models.source import stored_dtype
from graft.pipeline.progress import Progress
from graft.runs.files import write_json, write_text
from graft.runs.space import require_space
from graft.vocab.english import Entry, EntryClass, classify, counts
from graft.vocab.entries import Vocabulary, read_vocabulary
from graft.vocab.keep import Keep, choose, count_classes
from graft.vocab.mapping import VocabMap, write_map
from graft.vocab.validation import (
    COVERAGE_GOAL,
    measure_coverage,
    read_text,
    round_trips,
    sample_texts,
    token_ids,
    unequal_ids,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOREIGN = (
    "Здравствуй, мир! 你好，世界。 नमस्ते 🙂",
    "naïve café — “quoted” … Größe",
    "x\u0000y\u001b[0m\tz\r\n",
    "한국어 e\u0301",
)
"""Texts outside the English subset, which must come back all the same."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A tokenizer with everything that is known of its entries."""

    tokenizer: PreTrainedTokenizerBase
    vocabulary: Vocabulary
    entries: tuple[Entry, ...]


def english(
    model: str, *, revision: str | None, corpus: Sequence[Path], out: Path, force: bool, progress: Progress
) -> dict[str, Any]:
    """Classify a tokenizer's entries, check the English subset and write list, summary and picture.

    Args:
        model: ``sprout``, a folder or a hub id; only its tokenizer is loaded.
        revision: branch, tag or commit on the hub.
        corpus: English texts to measure coverage on.
        out: folder for ``entries.jsonl``, ``summary.json`` and ``composition.svg``.
        force: write into a folder that is not empty.
        progress: how far it is.

    Returns:
        The summary.

    Raises:
        ConfigError: the folder is not empty.
        ModelError: the tokenizer cannot be loaded or is not byte-level BPE.
        DataError: a corpus file cannot be read.
    """
    refuse_full(out, force)
    texts = {str(path): read_text(path) for path in corpus}
    source = _open(model, revision, progress)
    keep = choose(source.vocabulary, source.entries, subset="english")
    used = {name: _count(source.tokenizer, [text], progress, name) for name, text in texts.items()}
    summary = {
        "model": model,
        "revision": revision,
        "entries": len(source.entries),
        "classes": _class_rows(source.entries, keep),
        "kept": _kept_facts(keep, source.entries),
        "validation": _validation(source, keep, used, texts.values()),
    }
    with folder_in_place(out) as folder:
        _write_entries(folder / "entries.jsonl", source.entries, set(keep.ids))
        write_json(folder / "summary.json", summary)
        write_text(folder / "composition.svg", _picture(source.entries, keep))
    return summary


def trim(
    model: str,
    *,
    revision: str | None,
    subset: str,
    corpus: Sequence[Path],
    out: Path,
    force: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Write a model folder that knows only a subset of the vocabulary.

    Args:
        model: ``sprout``, a folder or a hub id.
        revision: branch, tag or commit on the hub.
        subset: ``english``.
        corpus: texts whose tokens are kept as well, whatever they are.
        out: folder of the new model.
        force: write into a folder that is not empty.
        progress: how far it is.

    Returns:
        What was kept and saved, as in the folder's ``trim.json``.

    Raises:
        ConfigError: the folder is not empty, or there is no such subset.
        ModelError: tokenizer or model cannot be loaded, do not fit each other or cannot be trimmed.
        DataError: a corpus file cannot be read.
        StorageError: the new model does not fit on the disk.
    """
    refuse_full(out, force)
    texts = [read_text(path) for path in corpus]
    source = _open(model, revision, progress)
    used = _count(source.tokenizer, texts, progress, "corpus") if texts else Counter()
    from graft.vocab.weights import measure, named_ids, rows, trim_model

    bar = progress.task("load the model")
    loaded = load_model(model, revision=revision, device="cpu", dtype=stored_dtype(model, revision))
    bar.finish()
    old_rows, sizes = rows(loaded), {"before": measure(loaded)}
    named = named_ids(loaded) & {entry.id for entry in source.entries}
    keep = choose(source.vocabulary, source.entries, subset=subset, corpus={*used, *named}, rows=old_rows)
    bar = progress.task("trim the model")
    trim_model(loaded, keep.ids)
    sizes["after"] = measure(loaded)
    require_space(out, sizes["after"].bytes, "the trimmed model")
    with folder_in_place(out) as folder:
        loaded.save_pretrained(folder)
        report = {
            "model": model,
            "revision": revision,
            "subset": subset,
            "kept": _kept_facts(keep, source.entries),
            **{name: {**asdict(one), "embedding_share": one.embedding_share} for name, one in sizes.items()},
            "checks": _save_and_check(source, keep, folder, texts),
        }
        write_map(folder, VocabMap(_origin(model), revision, subset, old_rows, keep.ids))
        write_json(folder / "trim.json", report)
    bar.finish()
    return report


def _origin(model: str) -> str:
    """Where the full model is: a folder by its full path, else the name as it was given."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model


def restore(adapter: Path, *, trimmed: Path | None, out: Path, force: bool) -> VocabMap:
    """Put an adapter trained on a trimmed model back onto the full vocabulary.

    Raises:
        ConfigError: the folder is not empty.
        ModelError: see `graft.vocab.restore.restore_adapter`.
    """
    from graft.vocab.restore import restore_adapter

    refuse_full(out, force)
    with folder_in_place(out) as folder:
        return restore_adapter(adapter, folder, trimmed)


def _open(model: str, revision: str | None, progress: Progress) -> _Source:
    tokenizer = load_tokenizer(model, revision=revision)
    vocabulary = read_vocabulary(tokenizer)
    bar = progress.task("classify entries", len(vocabulary))
    entries = classify(vocabulary)
    bar.advance(len(entries))
    bar.finish()
    return _Source(tokenizer, vocabulary, entries)


def _count(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], progress: Progress, what: str) -> Counter[int]:
    """How often each id occurs in texts."""
    bar = progress.task(f"tokenise {what}")
    found: Counter[int] = Counter()
    for text in texts:
        for ids in token_ids(tokenizer, text):
            found.update(ids)
            bar.advance(len(ids))
    bar.finish()
    return found


def _class_rows(entries: Sequence[Entry], keep: Keep) -> dict[str, dict[str, float]]:
    kept = count_classes(keep.ids, entries)
    return {
        kind.value: {"entries": count, "percent": 100 * count / len(entries), "kept": kept[kind]}
        for kind, count in counts(entries).items()
    }


def _kept_facts(keep: Keep, entries: Sequence[Entry]) -> dict[str, Any]:
    added = {name: getattr(keep, name) for name in ("subset", "bytes", "corpus", "closure", "fill")}
    other = count_classes(keep.ids, entries)[EntryClass.OTHER_SCRIPT]
    return {"entries": len(keep), "percent": 100 * len(keep) / len(entries), **added, "other_script": other}


def _validation(source: _Source, keep: Keep, used: dict[str, Counter[int]], texts: Iterable[str]) -> dict[str, Any]:
    kept = set(keep.ids)
    coverage = {name: measure_coverage(found, kept, source.entries) for name, found in used.items()}
    total, failed = round_trips(source.tokenizer, [*sample_texts(source.entries, kept), *FOREIGN, *texts])
    other = count_classes(keep.ids, source.entries)[EntryClass.OTHER_SCRIPT]
    return {
        "coverage_goal": COVERAGE_GOAL,
        "coverage": {name: {**asdict(found), "share": found.share} for name, found in coverage.items()},
        "coverage_note": "" if used else "no text was given to measure coverage on; name English files with --corpus",
        "other_script_kept": other,
        "other_script_share": other / len(kept),
        "round_trips": {"texts": total, "failed": failed},
    }


def _save_and_check(source: _Source, keep: Keep, folder: Path, texts: Iterable[str]) -> dict[str, Any]:
    """Write the tokenizer, load it anew and compare it with the original."""
    from graft.vocab.tokenizer import save_trimmed

    save_trimmed(source.tokenizer, source.vocabulary, keep, folder)
    written = load_tokenizer(str(folder))
    words = [entry.surface for entry in source.entries if entry.kind is EntryClass.ENGLISH_WORD]
    samples = ["".join(words[start : start + 50]) for start in range(0, len(words), 50)]
    compared, unequal = unequal_ids(source.tokenizer, written, keep.new_ids(), samples)
    total, failed = round_trips(written, [*samples, *FOREIGN, *texts])
    if len(written) != len(keep) or unequal or failed:
        raise ModelError(
            f"the trimmed tokenizer of {source.vocabulary.name} failed its own check: {len(written)} entries for "
            f"{len(keep)} kept ones, {unequal} of {compared} texts with other ids, {failed} of {total} texts that did "
            "not come back; nothing was written. Please report this"
        )
    return {"same_ids": {"texts": compared, "failed": unequal}, "round_trips": {"texts": total, "failed": failed}}


def _write_entries(path: Path, entries: Iterable[Entry], kept: set[int]) -> None:
    lines = (
        json.dumps({"id": e.id, "surface": e.surface, "class": e.kind.value, "kept": e.id in kept}, ensure_ascii=False)
        for e in entries
    )
    write_text(path, "\n".join(lines) + "\n")


def _picture(entries: Sequence[Entry], keep: Keep) -> str:
    from graft.report.svg import draw_panel, standalone
    from graft.vocab.picture import draw_composition

    found, kept = counts(entries), count_classes(keep.ids, entries)
    label = "Entries of the vocabulary by class, kept and not kept"
    return standalone(draw_panel("composition", label, 330, lambda axes: draw_composition(axes, found, kept)))


def refuse_full(out: Path, force: bool) -> None:
    """Refuse to write where something is already.

    Raises:
        ConfigError: ``out`` is a file, or a folder that is not empty and `force` is unset.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ConfigError(f"--out {out} is a folder that is not empty; name another or write into it with --force")


@contextmanager
def folder_in_place(out: Path) -> Iterator[Path]:
    """Give a temporary folder whose files move to ``out`` once all of them are written; nothing is left on an error.

    Weights that were there before go when new ones come, so that no old shard stays beside them; other files stay.
    """
    from tempfile import TemporaryDirectory

    from graft.runs.space import storage_errors

    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=".tmp-vocab-") as temporary:
            folder = Path(temporary)
            yield folder
            out.mkdir(exist_ok=True)
            if any(folder.glob("*.safetensors")):
                for old in (*out.glob("*.safetensors"), *out.glob("*.safetensors.index.json")):
                    old.unlink()
            for path in folder.iterdir():
                shutil.move(path, out / path.name)
