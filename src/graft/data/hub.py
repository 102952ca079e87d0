"""Rows of datasets on a hub, read with the clients `datasets` and `huggingface_hub` (extra ``data``).

Datasets that are a script are read from the hub's own Parquet conversion, because nothing runs their code any more.
What was read once is read again without a network. `HF_ENDPOINT` names another hub, `HF_HOME` another cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from graft.errors import DataError, GraftError, MissingExtra
from graft.tasks.dataset import HubSource, Row, Rows, is_held_out

CONVERTED = "refs/convert/parquet"
"""Branch with the hub's Parquet conversion: one folder per configuration, in it one per split."""

WORKED = "worked"
"""Names the worked examples among the parts of a dataset."""

PARTIAL = "partial-"
"""Begins the folder of a split of which the hub converted only the first 5 GB."""


def hub_rows(source: HubSource) -> Rows:
    """The rows of a dataset by part, ``train`` or ``eval``, each read when it is first asked for.

    Where the dataset has no split for ``eval``, a share of its rows is held out: which, is decided by their first
    column, so that rows that are equal there are never on both sides.

    Args:
        source: where the dataset lies.

    Returns:
        A function that gives the rows of a part, or of the worked examples (``worked``), as a memory-mapped sequence of
        mappings. It raises `DataError` when there is no such dataset, configuration, split or column, access is
        missing, or the hub cannot be reached and no copy is there, and `MissingExtra` without the extra ``data``.
    """
    splits: dict[str, Any] = {}

    def rows(part: str) -> Sequence[Row]:
        if part == WORKED:
            name, columns = source.worked or source.train, source.columns + source.worked_columns
            return _columns(replace(source, columns=columns), name, _load(source, name))  # type: ignore[no-any-return]
        name = _split_name(source, part)
        if name not in splits:
            splits[name] = _columns(source, name, _load(source, name))
        found: Sequence[Row] = splits[name] if source.eval else _side(splits[name], source, part)
        return found

    return rows


def stream_rows(source: HubSource, part: str) -> Iterator[Row]:
    """Yield the rows of a part in the dataset's order while they are downloaded, without keeping a copy.

    Args:
        source: where the dataset lies.
        part: ``train`` or ``eval``; see `hub_rows` for a dataset without a split for ``eval``.

    Raises:
        DataError: as `hub_rows`.
        MissingExtra: the extra ``data`` is not installed.
    """
    name = _split_name(source, part)
    with _asking(source) as datasets:
        if source.converted:
            branch = f"hf://datasets/{source.repo}@{CONVERTED.replace('/', '%2F')}"
            files = [f"{branch}/{path}" for path in _converted_paths(source, name)]
            stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
        else:
            found = datasets.load_dataset(source.repo, source.config, revision=source.revision, streaming=True)
            stream = _pick(source, name, found)
        stream = _columns(source, name, stream)
    with _explaining(source):
        for row in stream:
            if source.eval or _is_on_side(row, source, part):
                yield row


def source_version(source: HubSource) -> str:
    """The commit that a dataset has now, without reading it; its name alone where the hub cannot be asked.

    Raises:
        DataError: there is no such dataset, or access is missing.
        MissingExtra: the extra ``data`` is not installed.
    """
    from_branch = CONVERTED if source.converted else source.revision
    with _asking(source):
        if _offline():
            return source.repo
        from huggingface_hub import HfApi

        return f"{source.repo}@{HfApi().dataset_info(source.repo, revision=from_branch).sha}"


def _split_name(source: HubSource, part: str) -> str:
    return source.eval if part == "eval" and source.eval else source.train


def _clients() -> ModuleType:
    """The client `datasets`; importing `graft` has told it to count no downloads, and whether to stay offline."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra("reading datasets of a hub", "data") from None
    module: ModuleType = datasets
    return module


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _load(source: HubSource, split: str) -> Any:
    """One split as a memory-mapped dataset."""
    with _asking(source) as datasets:
        if source.converted:
            files = [str(path) for path in _converted_files(source, split)]
            return datasets.load_dataset("parquet", data_files=files, split="train")
        found = datasets.load_dataset(source.repo, source.config, revision=source.revision)
        return _pick(source, split, found)


@contextmanager
def _asking(source: HubSource) -> Iterator[ModuleType]:
    """The client `datasets`, for a dataset that may be read; without a connection it looks only for copies."""
    datasets = _clients()
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    with _explaining(source):
        if not _may_ask(source):
            datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True  # else it tries again for half a minute
        try:
            yield datasets
        finally:
            datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextmanager
def _explaining(source: HubSource) -> Iterator[None]:
    try:
        yield
    except GraftError:
        raise
    except Exception as error:  # the clients raise types of many libraries
        raise _explained(source, error) from error


def _may_ask(source: HubSource) -> bool:
    """Whether the hub answers; when it does, the dataset is there and may be read.

    Raises:
        DataError: there is no such dataset, or its owner must be asked first.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if _offline():
        return False
    try:
        HfApi().auth_check(source.repo, repo_type="dataset")
    except GatedRepoError:
        raise DataError(
            f"dataset {source.repo} is gated: its owner asks for your consent first; accept the terms on "
            f"{_page(source)}, then run `hf auth login` or set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise DataError(
            f"dataset {source.repo} was not found at {_page(source)}; check its name, "
            "or run `hf auth login` if it is private"
        ) from None
    except Exception as error:
        if not _is_connection_error(error):
            raise
        return False
    return True


def _is_connection_error(error: BaseException) -> bool:
    """Whether the hub could not be reached; the HTTP client's types depend on the version of huggingface_hub."""
    return isinstance(error, ConnectionError) or any(
        kind.__name__ in ("TransportError", "RequestException") for kind in type(error).__mro__
    )


def _page(source: HubSource) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/datasets/{source.repo}"


def _converted_paths(source: HubSource, split: str) -> list[str]:
    """Paths of a split's files on the conversion branch, as the hub lists them."""
    from huggingface_hub import HfApi

    listed = HfApi().list_repo_files(source.repo, repo_type="dataset", revision=CONVERTED)
    return _converted_of(source, split, [Path(path) for path in listed])


def _converted_files(source: HubSource, split: str) -> list[Path]:
    """The files of a split of the conversion branch, downloaded or from the cache."""
    from huggingface_hub import snapshot_download

    patterns = [f"{_config(source)}/{start}{split}/*.parquet" for start in ("", PARTIAL)]
    folder = Path(snapshot_download(source.repo, repo_type="dataset", revision=CONVERTED, allow_patterns=patterns))
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return found or [folder / path for path in _converted_paths(source, split)]  # which says what is there instead


def _converted_of(source: HubSource, split: str, listed: Sequence[Path]) -> list[str]:
    parquet = [path for path in listed if path.suffix == ".parquet" and len(path.parts) == 3]
    configs = sorted({path.parts[0] for path in parquet})
    config = _config(source)
    if config not in configs:
        raise DataError(f"dataset {source.repo} has no configuration {config!r}; it has {', '.join(configs) or 'none'}")
    found = {path.parts[1].removeprefix(PARTIAL): path.parts[1] for path in parquet if path.parts[0] == config}
    if split not in found:
        raise DataError(_no_split(source, split, found))
    return sorted(path.as_posix() for path in parquet if path.parts[:2] == (config, found[split]))


def _config(source: HubSource) -> str:
    return source.config or "default"


def _pick(source: HubSource, split: str, found: Any) -> Any:
    if split not in found:
        raise DataError(_no_split(source, split, found))
    return found[split]


def _no_split(source: HubSource, split: str, known: Any) -> str:
    of = f" ({source.config})" if source.config else ""
    return f"dataset {source.repo}{of} has no split {split!r}; it has {', '.join(sorted(known)) or 'none'}"


def _columns(source: HubSource, split: str, rows: Any) -> Any:
    """The columns that the task reads; others, such as images, are never decoded."""
    there = list(rows.column_names or ())
    if missing := [name for name in source.columns if name not in there]:
        raise DataError(
            f"dataset {source.repo}, split {split}: column {missing[0]!r} is missing; it has {', '.join(there)}"
        )
    return rows.select_columns(list(source.columns)) if source.columns else rows


def _side(rows: Any, source: HubSource, part: str) -> Any:
    """The held-out rows or the others."""
    texts = rows[source.columns[0]]
    return rows.select([index for index, text in enumerate(texts) if is_held_out(str(text)) == (part == "eval")])


def _is_on_side(row: Row, source: HubSource, part: str) -> bool:
    return is_held_out(str(row[source.columns[0]])) == (part == "eval")


def _explained(source: HubSource, error: Exception) -> DataError:
    """What went wrong in one line, and what to do."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if isinstance(error, LocalEntryNotFoundError) or _is_connection_error(error):
        why = "Graft is offline" if _offline() else "the hub cannot be reached"
        return DataError(
            f"dataset {source.repo}: {why}, and there is no copy of it here; read it once with a network, "
            "or name local files in data.tasks"
        )
    return DataError(f"dataset {source.repo} cannot be read from {_page(source)}: {first}")
