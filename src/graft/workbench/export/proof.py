"""How an export is held against its branch: prompts of the run and the branch's greedy replies to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.data.chat import PROBE
from graft.data.tokens import prompt_ids
from graft.pipeline.places import samples_path
from graft.pipeline.train.weights import load_branch
from graft.runs.samples import read_samples
from graft.types import Message, TokenRow
from graft.workbench.export.request import Request

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from graft.export.agreement import Agreement, Readings

PROMPTS = 16
"""Prompts of the run on which an export is compared with its branch."""

QUESTIONS = (PROBE, "Write one sentence about the sea.", "What is 17 + 25?", "Name three colours.")
"""Asked where a branch has not been scored, so that the run holds no prompts of it."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found.

    Attributes:
        rows: prompts with the branch's greedy replies.
        exact: the branch computes in float32, so that an unrounded export must reply the same.
        agreement: the export against the branch on its whole base.
        scored: the export against the branch as it computed, where that was with weights of few bits.
    """

    rows: tuple[TokenRow, ...]
    exact: bool
    agreement: Agreement
    scored: Agreement | None

    def notes(self) -> list[str]:
        """What a person should know of it."""
        if self.scored is None:
            return []
        return [f"the branch computed on weights of few bits, this does not: {self.scored.line()}"]


def prove(request: Request, load: Callable[[], PreTrainedModel]) -> Proof:
    """Hold an exported model against its branch.

    Args:
        request: names the branch.
        load: gives the exported model, after the branch is out of memory.

    Raises:
        ModelError: it is further from the branch than rounding explains.
    """
    import torch

    from graft.export.agreement import compare, greedy_rows, read, require_agreement

    model = load_branch(request.run, request.whole, request.branch)
    rows = greedy_rows(model, request.tokenizer, run_prompts(request))
    branch, base = read(model, rows), _without_adapter(model, rows)
    computed = model.dtype
    coarsest = max(computed, getattr(torch, request.dtype), key=lambda dtype: torch.finfo(dtype).eps)
    del model
    found = read(load(), rows)
    agreement = compare(branch, found)
    require_agreement(agreement, coarsest, compare(branch, base) if base is not None else None)
    scored = None
    if request.reduced:
        scored = compare(read(load_branch(request.run, request.recipe, request.branch), rows), found)
    return Proof(rows, computed == torch.float32, agreement, scored)


def _without_adapter(model: PreTrainedModel, rows: Sequence[Any]) -> Readings | None:
    """What the base says; ``None`` where every weight was trained."""
    from graft.export.agreement import read

    if not hasattr(model, "disable_adapter"):
        return None
    with model.disable_adapter():
        return read(model, rows)


def run_prompts(request: Request) -> list[tuple[int, ...]]:
    """Prompts of the run as ids, the same number from every task; of a branch without scored items a few questions."""
    stored = []
    for task in request.recipe.eval.tasks:
        path = samples_path(request.run, request.branch, task)
        found = read_samples(path) if path.is_file() else []
        stored.append([tuple(row["prompt_ids"]) for row in found if row.get("prompt_ids")])
    scored = [ids for ids in stored if ids]
    if not scored:
        turns = ([Message("user", question)] for question in QUESTIONS)
        return [
            prompt_ids(request.tokenizer, turn, request.policy, think=request.policy.thinking == "on") for turn in turns
        ]
    share = max(1, PROMPTS // len(scored))
    return [ids[index * len(ids) // share] for ids in scored for index in range(min(share, len(ids)))]
