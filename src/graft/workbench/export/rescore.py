"""Scoring what was exported: the run's own held-out items, asked of the artefact through its real runtime."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import ConfigError
from graft.models.backends.base import Backend
from graft.pipeline.places import samples_path
from graft.pipeline.prepare.boundary import run_date
from graft.pipeline.prepare.lab import Lab, prepare
from graft.pipeline.prepare.thinking import used_sampling, ways
from graft.pipeline.progress import Progress
from graft.pipeline.score.backends import open_backend
from graft.pipeline.score.branch import score_task
from graft.runs.samples import read_samples, samples_name, write_samples
from graft.stats.paired import paired_change
from graft.stats.power import detectable_change
from graft.workbench.export.request import FILES_OF_LLAMA_CPP, Request

SLOTS = 4
"""Replies that llama.cpp writes at once."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rescoring:
    """The run's items, and how they are asked.

    Attributes:
        request: what is exported.
        lab: items and policy.
        progress: what is told.
    """

    request: Request
    lab: Lab
    progress: Progress

    def of_folder(self, folder: Path) -> dict[str, Any]:
        """Score a model folder with transformers, as the branch was."""
        model, recipe = self.request.load(folder), self.lab.recipe
        with closing(open_backend(recipe, self.lab.tokenizer, model, thinking=recipe.thinking == "on")) as backend:
            return self._scored(self.lab, backend, "transformers", self.request.types)

    def of_file(self, path: Path, mixture: str) -> dict[str, Any]:
        """Score a GGUF file through the chat of a llama.cpp server."""
        lab = _served_lab(self.lab)
        with _llama_backend(path, lab) as backend:
            return self._scored(lab, backend, "llama.cpp", mixture)

    def _scored(self, lab: Lab, backend: Backend, runtime: str, kind: str) -> dict[str, Any]:
        """Store every item and compare each task with the branch."""
        branch, form = self.request.branch, self.request.form
        tasks = list(dict.fromkeys(items.task.card.name for items in lab.items if items.split == "eval"))
        way, thinks = next(iter(ways(lab.recipe, branch)))
        bar = self.progress.task(f"score {kind} with {runtime}", sum(len(items) for items in lab.items))
        started = time.monotonic()
        compared: dict[str, Any] = {}
        for task in tasks:
            records = score_task(lab, way, task, backend, thinks=thinks, on_done=bar.advance)
            place = self.request.run.path / "exports" / f"{samples_name(f'{branch.label}-{form}-{kind}', task)}.jsonl"
            write_samples(place, records)
            before = read_samples(samples_path(self.request.run, branch, task))
            found = compare_records(before, records, lab.outcome(task, thinks=thinks))
            compared |= {task: found} if found is not None else {}
        bar.finish()
        seconds = time.monotonic() - started
        # transformers reads most right answers in one pass and writes only the others, which is no speed of writing
        speed = math.nan if backend.local else backend.usage.completion_tokens / seconds
        return {"runtime": runtime, "tasks": compared, "seconds": seconds, "tokens_per_second": speed}


def open_rescoring(request: Request, progress: Progress, *, wanted: bool | None) -> Rescoring | None:
    """The items of the run, to be scored again; ``None`` where that is not wanted or there is nothing to compare with.

    Args:
        request: what is exported.
        progress: what is told.
        wanted: ``None`` for GGUF files of a branch that was scored.

    Raises:
        ConfigError: it is wanted, but the branch was never scored.
    """
    scored = request.run.is_done(f"score-{request.branch.label}")
    if wanted is None:
        wanted = scored and request.form in FILES_OF_LLAMA_CPP
    if not wanted:
        return None
    if request.form == "adapter":
        raise ConfigError("--score scores what is new, but an adapter is the branch itself; leave it out")
    if not scored:
        raise ConfigError(
            f"--score compares with the scores of {request.branch.label}, which it has not; first: graft eval "
            f"{request.run.name}"
        )
    progress.stage("the run's held-out items")
    lab = prepare(request.recipe, date=run_date(request.run))
    if request.form in FILES_OF_LLAMA_CPP:  # a chat cannot be asked as the field asks
        lab = replace(lab, items=tuple(items for items in lab.items if not items.policy.raw))
    return Rescoring(request, lab, progress) if lab.items else None


def compare_records(before: list[dict[str, Any]], after: list[dict[str, Any]], measure: str) -> dict[str, Any] | None:
    """The artefact against its branch on the held-out items of a task that both answered.

    Args:
        before: the branch's records.
        after: the artefact's.
        measure: the score that is compared.

    Returns:
        What was found; ``None`` where no item was judged on both sides.
    """
    known = {record["id"]: record for record in before if record["split"] == "eval" and "undefined" not in record}
    found = [
        (known[record["id"]], record)
        for record in after
        if record["split"] == "eval" and "undefined" not in record and record["id"] in known
    ]
    if not found:
        return None
    first, second = (np.array([float(pair[side][measure]) for pair in found]) for side in (0, 1))
    change = paired_change(first, second, np.array([pair[0]["word"] or pair[0]["id"] for pair in found]))
    moved = float((first != second).mean())
    return {
        "measure": measure,
        "n": len(found),
        "branch": float(first.mean()),
        "exported": float(second.mean()),
        "change": asdict(change.interval),
        "same_replies": float(np.mean([_text(pair[0]) == _text(pair[1]) for pair in found])),
        "smallest_loss": detectable_change(len(found), min(1.0, max(moved, 3 / len(found)))),
    }


def _text(record: Record) -> str:
    """A reply, or all of them where several were drawn."""
    return str(record.get("reply") or record.get("replies") or "").strip()


def _served_lab(lab: Lab) -> Lab:
    """The lab as it is for a model behind a server, of which only replies can be scored."""
    recipe = lab.recipe
    outcome = "strict" if recipe.study.outcome == "strict" else "lenient"
    sections = {
        "model": recipe.model.model_copy(update={"backend": "openai"}),
        "study": recipe.study.model_copy(update={"outcome": outcome}),
    }
    return replace(lab, recipe=recipe.model_copy(update=sections))


@contextmanager
def _llama_backend(path: Path, lab: Lab) -> Iterator[Backend]:
    import torch

    from graft.export.server import ALIAS, served
    from graft.models.backends.openai_http import OpenAIBackend
    from graft.models.backends.remote import Patience

    thinks = lab.recipe.thinking == "on"
    longest = max(len(row.prompt) for items in lab.items for row in items.rows)
    context = longest + used_sampling(lab.recipe, thinks=thinks).max_new_tokens
    patience = Patience(timeout_seconds=600.0, concurrency=SLOTS)
    with served(path, context=context, slots=SLOTS, threads=torch.get_num_threads()) as server:
        backend = OpenAIBackend(server.url, ALIAS, api_key=server.key, thinking=thinks, patience=patience)
        with closing(backend):
            yield backend
