"""Replies to neutral prompts under every control token, beside the scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from typing import TYPE_CHECKING, Any

from graft.config.schema import Recipe
from graft.data.style import check_tokens
from graft.evals.separation import NONE, UNTRAINED
from graft.models.sampling import from_section
from graft.pipeline.branches import Branch
from graft.pipeline.places import final_folder, journal_path, lengths_path, weights_hash
from graft.pipeline.progress import Progress
from graft.pipeline.score.backends import open_backend
from graft.runs.directory import RunDirectory
from graft.runs.journal import journal_of
from graft.runs.manifest import MARKER
from graft.runs.markers import Leaves
from graft.runs.samples import write_samples
from graft.tasks.style import StyleTask
from graft.types import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from graft.pipeline.prepare.lab import Lab


def separates(recipe: Recipe) -> bool:
    """Whether replies are measured under control tokens."""
    return bool(recipe.style.tokens)


def measure_branch(run: RunDirectory, lab: Lab, branch: Branch, model: PreTrainedModel, progress: Progress) -> None:
    """Let one model answer the neutral held-out prompts under every token, and store every reply.

    All conditions decode alike, by the recipe's `sampling`; the presets that serve a style play no part.
    """
    from graft.evals.separation import styled_replies
    from graft.models.style import untrained_tokens

    recipe, task = lab.recipe, lab.book.load(StyleTask.card.name)
    assert isinstance(task, StyleTask)
    asked = task.neutral_prompts(recipe.eval.items)
    prompts = [prompt for prompt, _ in asked]
    check_tokens(lab.tokenizer, recipe.style.tokens, prompts[0], lab.policy)
    conditions = [(name, token, False) for name, token in task.tokens.items()] + [(NONE, "", False)]
    if branch.seed is not None:
        conditions.append((UNTRAINED, recipe.style.tokens[0], True))
    bar = progress.task(f"separate {branch.label}", len(conditions) * len(prompts))
    replies: dict[str, list[Completion]] = {}
    leaves = Leaves((lengths_path(run, branch),), reads=(final_folder(run, branch) / MARKER,))
    with run.stage(f"style-{branch.label}", leaves) as outputs, ExitStack() as stack:
        with closing(open_backend(recipe, lab.tokenizer, model, thinking=False)) as backend:
            for name, token, untrained in conditions:
                kept = journal_of(journal_path(run, f"style-{branch.label}-{name}"), weights_hash(run, branch))
                backend.journal = stack.enter_context(kept)
                with untrained_tokens(model) if untrained else nullcontext():
                    replies[name] = styled_replies(
                        backend, lab.tokenizer, prompts, token, from_section(recipe.sampling), lab.policy,
                        on_done=bar.advance,
                    )  # fmt: skip
        outputs["prompts"] = write_samples(lengths_path(run, branch), _records(asked, replies))
    bar.finish()


def _records(asked: Sequence[tuple[str, str]], replies: dict[str, list[Completion]]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt,
            "cluster": cluster,
            "replies": {name: _reply(found[index]) for name, found in replies.items()},
        }
        for index, (prompt, cluster) in enumerate(asked)
    ]


def _reply(reply: Completion) -> dict[str, Any]:
    return {"text": reply.text, "tokens": len(reply.token_ids), "finished": reply.finished}
