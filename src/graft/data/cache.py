"""Token rows that were made once are found again, as long as nothing they depend on has changed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.data.table import TableWriter, TokenTable
from graft.runs.cache import ENTRY, ROWS, cache_folder, cache_lock
from graft.runs.files import is_committed, read_json, replacing_folder, write_json
from graft.runs.manifest import folder_damage, has_manifest, sentences
from graft.runs.space import storage_errors

LOG = logging.getLogger(__name__)

FORMAT = 2
"""Raised when the layout of a table changes."""


@dataclass(frozen=True, slots=True)
class CachedRows:
    """Token rows of the cache.

    Attributes:
        table: the rows.
        facts: what was told of them when they were made.
        fresh: they were made just now.
    """

    table: TokenTable
    facts: Mapping[str, Any]
    fresh: bool


def row_key(parts: Mapping[str, Any]) -> str:
    """The name of an entry: a hash of everything that its rows depend on.

    Args:
        parts: JSON-ready values by name: content of sources, code of tasks, tokenizer, template, policy, length.

    Returns:
        32 hexadecimal digits.
    """
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached_rows(what: str, parts: Mapping[str, Any], write: Callable[[TableWriter], Mapping[str, Any]]) -> CachedRows:
    """Find the rows in the cache, or make them.

    When several processes want the same rows, one makes them and the others wait. An entry whose files are not what was
    written, or that says nothing of their hashes, is made anew.

    Args:
        what: the rows in words, for people who look at the cache.
        parts: what the rows depend on; another value of any is another entry.
        write: writes the rows and returns JSON-ready facts about them.

    Raises:
        StorageError: the cache cannot be written.
    """
    folder = cache_folder() / ROWS / row_key(parts)
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with cache_lock(folder.with_name(f".{folder.name}.lock")):
        fresh = not _is_sound(folder)
        if fresh:
            with replacing_folder(folder) as temporary:
                with TableWriter(temporary) as writer:
                    facts = dict(write(writer))
                write_json(temporary / ENTRY, {"what": what, "parts": dict(parts), "facts": facts})
    return CachedRows(TokenTable(folder), read_json(folder / ENTRY)["facts"], fresh)


def _is_sound(folder: Path) -> bool:
    if not is_committed(folder) or not has_manifest(folder):
        return False
    found = folder_damage(folder)
    for sentence in sentences(found):
        LOG.warning("%s; the rows are made anew", sentence)
    return not found
