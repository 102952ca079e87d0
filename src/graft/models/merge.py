"""One plain model of a base and what was trained on it, in float32 arithmetic and rounded once.

Every weight that carries an adapter is cast up, changed and rounded to the exported type, one layer at a time, so that
the base may be held in the few bits it is stored in. Nothing is merged into quantised weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError
from graft.models.style import DELTA, IDS
from graft.models.trial import bare

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

UNTIED = "the embedding and the output layer were one tensor and are two now: {why}"


def merge(
    model: PreTrainedModel, dtype: torch.dtype, on_layer: Callable[[int], None] = lambda count: None
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """Fold adapters and style rows into the weights, in place.

    Args:
        model: as it was trained, on a base that is not quantised; a model without adapters is only rounded.
        dtype: what the weights are rounded to.
        on_layer: told of each adapted layer.

    Returns:
        The plain model, and what changed that a person should know.

    Raises:
        ModelError: a weight does not fit into the type.
    """
    notes = []
    if _untie_adapted(model):
        notes.append(UNTIED.format(why="one of them has an adapter of its own"))
    for layer in _adapted(model):
        _merge_layer(layer, dtype)
        on_layer(1)
    plain = model.base_model.unload() if hasattr(model, "peft_config") else model
    if _fold_style(plain):
        notes.append(UNTIED.format(why="control tokens were trained on the way in alone"))
    plain = plain.to(dtype)
    _require_finite(plain, dtype)
    plain.config.dtype = dtype
    return plain, tuple(notes)


def _adapted(model: PreTrainedModel) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def _merge_layer(layer: Any, dtype: torch.dtype) -> None:
    """Add an adapter to its weight; where PEFT wraps single tensors, to that tensor."""
    base = layer.get_base_layer()
    weight = getattr(base, getattr(layer, "parameter_name", "weight"))
    stored = weight.data
    weight.data = stored.float()
    layer.merge()
    # rounding into the place that it had takes no memory for a second model
    weight.data = stored.copy_(weight.data) if stored.dtype == dtype else weight.data.to(dtype)


def _untie_adapted(model: PreTrainedModel) -> bool:
    """Take the tie of embedding and output layer apart where an adapter changed only one of them.

    Returns:
        Whether it did.
    """
    plain = bare(model)
    head, embedding = plain.get_output_embeddings(), plain.get_input_embeddings()
    adapted = [end for end in (head, embedding) if end is not None and hasattr(end, "lora_A")]
    return bool(adapted) and _untie(plain)


def _untie(model: Any) -> bool:
    import torch

    head, embedding = (
        end.get_base_layer() if hasattr(end, "get_base_layer") else end
        for end in (model.get_output_embeddings(), model.get_input_embeddings())
    )
    if head is None or head.weight.data_ptr() != embedding.weight.data_ptr():
        return False
    head.weight = torch.nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    model.config.get_text_config().tie_word_embeddings = False
    return True


def _fold_style(model: Any) -> bool:
    """Add the rows of control tokens to the embedding; the output layer keeps the frozen ones.

    Returns:
        Whether that took a tie apart.
    """
    import torch

    embedding = model.get_input_embeddings()
    delta_KD = getattr(embedding, DELTA, None)
    if delta_KD is None:
        return False
    untied, ids = _untie(model), getattr(embedding, IDS)
    with torch.no_grad():
        rows = embedding.weight[ids].float() + delta_KD.float()
        embedding.weight[ids] = rows.to(embedding.weight.dtype)
    embedding._forward_hooks.clear()
    delattr(embedding, DELTA)
    delattr(embedding, IDS)
    return untied


def _require_finite(model: PreTrainedModel, dtype: torch.dtype) -> None:
    for name, weight in model.named_parameters():
        if not math.isfinite(float(weight.amax()) - float(weight.amin())):  # isfinite would copy the weight
            raise ModelError(
                f"--dtype is {str(dtype).removeprefix('torch.')}, but {name} holds values that it cannot hold; "
                "export it as bfloat16 or float32"
            )
