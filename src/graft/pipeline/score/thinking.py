"""Items that are asked so that the model thinks before it answers."""

from __future__ import annotations

from graft.evals.items import Items, prepare_items
from graft.pipeline.prepare.lab import Lab


def thinking_items(lab: Lab, items: Items) -> Items:
    """The same items, rendered so that the model thinks first."""
    if items.think:
        return items
    length = lab.recipe.data.max_length
    return prepare_items(
        lab.tokenizer, items.task, items.split, items.examples, max_length=length, policy=lab.policy, think=True
    )
