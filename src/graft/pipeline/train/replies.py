"""The training rows of the arm ``self``: the prompts of the trained arm, answered by the model as it came.

Nothing in them is new to the model, so what training on them changes is what any training of this kind disturbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graft.errors import RunError
from graft.models.backends.transformers import TransformersBackend
from graft.pipeline.progress import Progress
from graft.runs.files import read_json, write_json
from graft.runs.manifest import FILES, damage, hash_files
from graft.runs.samples import read_samples, write_samples
from graft.types import Prompt, Sampling, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def own_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[TokenRow],
    path: Path,
    progress: Progress,
    *,
    max_new_tokens: int,
    batch_size: int,
) -> tuple[TokenRow, ...]:
    """Replace each completion by the model's own greedy reply; rows of plain text stay as they are.

    Args:
        model: the model before any training.
        tokenizer: its tokenizer.
        rows: training rows.
        path: where the replies are kept for the reader, and found again when the run is continued; a manifest lies
            beside them, and where they are not what it says they are written anew.
        progress: what is told while it generates.
        max_new_tokens: longest reply; a reply cut there is trained without an end.
        batch_size: prompts per batch.
    """
    if not _is_sound(path):
        asked = [Prompt((), row.prompt) for row in rows if row.prompt]
        bar = progress.task("answer the prompts of self", len(asked))
        backend = TransformersBackend(model, tokenizer, batch_size=batch_size)
        replies = backend.generate(asked, Sampling(max_new_tokens=max_new_tokens), on_done=bar.advance)
        bar.finish()
        write_samples(path, ({"reply": reply.text, "reply_ids": list(reply.token_ids)} for reply in replies))
        write_json(manifest_path(path), {FILES: hash_files(path.parent, [path])})
    stored = iter(read_samples(path))
    return tuple(TokenRow(row.prompt, tuple(next(stored)["reply_ids"])) if row.prompt else row for row in rows)


def manifest_path(path: Path) -> Path:
    """Where the manifest of a file of replies is."""
    return path.with_suffix(".manifest.json")


def _is_sound(path: Path) -> bool:
    try:
        return not damage(path.parent, read_json(manifest_path(path))[FILES])
    except (RunError, KeyError, TypeError, AttributeError):
        return False
