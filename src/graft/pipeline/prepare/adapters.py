"""The recipe's adapters, put onto its model without weights, before anything heavy."""

from __future__ import annotations

from graft.config.schema import Recipe
from graft.models import remote
from graft.models.source import locate


def rehearse_adapters(recipe: Recipe) -> str | None:
    """Put the adapters onto the architecture on the meta device.

    Args:
        recipe: something of it is trained.

    Returns:
        What share of which weights stays without one, as a sentence; ``None`` without adapters, with an engine that
        makes its own, or where the model is still to be copied from a URL.

    Raises:
        ModelError: a target is not there, or PEFT cannot adapt it as the recipe says or would not load it again.
    """
    from graft.models.adapters import add_lora, require_loadable
    from graft.models.facts import weightless
    from graft.models.targets import told, uncovered

    model, adapter = recipe.model, recipe.adapter
    if adapter.kind != "lora" or recipe.engine.name == "unsloth" or remote.is_remote(model.id):
        return None
    bare, _, _ = weightless(
        model.id, revision=model.revision, trust_remote_code=model.trust_remote_code, source=locate(model.id)
    )
    adapted = add_lora(
        bare, r=adapter.r, alpha=adapter.alpha, dropout=adapter.dropout, targets=adapter.targets, seed=0,
        rslora=adapter.rslora, dora=adapter.dora,
    )  # fmt: skip
    require_loadable(adapted)
    return told(uncovered(adapted))
