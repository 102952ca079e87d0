"""The training examples of a branch, drawn from its sources."""

from __future__ import annotations

from collections.abc import Iterator

from graft.data.mixture import Mixture
from graft.pipeline.branches import Branch, branch_sources
from graft.pipeline.prepare.lab import Lab
from graft.tasks.controls import formed, shuffled
from graft.tasks.style import swap_styles
from graft.types import Example


def branch_examples(lab: Lab, branch: Branch, count: int) -> Iterator[Example]:
    """The first training examples of a branch; the arms of one seed see the same prompts in the same order.

    The answers of the arm ``self`` are made later, by the model itself: `graft.pipeline.train.replies`.

    Raises:
        DataError: a source runs out of rows that may not be repeated.
    """
    examples = mixture(lab, branch, count)
    if branch.arm == "shuffled":
        return iter(shuffled(list(examples), branch.seed or 0))
    if branch.arm == "format":
        places = {
            source.task: lab.book.load(source.task).letter_places for source in branch_sources(lab.recipe, branch)
        }
        return iter(formed(list(examples), branch.seed or 0, places))
    if branch.arm == "swapped":
        return swap_styles(examples, lab.recipe.style.tokens)
    return iter(examples)


def mixture(lab: Lab, branch: Branch, count: int) -> Mixture:
    """The sources of a branch as one stream of so many examples."""
    assert branch.seed is not None
    sources = [(lab.book.source(source, branch.seed), source.rate) for source in branch_sources(lab.recipe, branch)]
    return Mixture(sources, count=count, seed=branch.seed, exhausted=lab.recipe.data.exhausted)
