"""What a model does to hidden states to make logits of them: a layer, a scale, a soft cap, a layer more, a cut.

N positions, D hidden size, V vocabulary. None of it is guessed from a configuration: the model's own forward pass runs
with hidden states in the place of those that its layers would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput


@dataclass(frozen=True, slots=True)
class Head:
    """What turns hidden states into logits.

    Attributes:
        module: the output layer.
        own: all that the model's forward pass does to hidden states; ``None`` where that is the output layer alone.
    """

    module: Any
    own: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __call__(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Logits of shape (N, V)."""
        logits_NV: torch.Tensor = (self.own or self.module)(hidden_ND)
        return logits_NV


def layers_of(model: Any) -> Any:
    """The layers of a causal model, which make hidden states of ids.

    Not every model names them by its `base_model_prefix`; where that leads nowhere they are what all calls ``model``.
    """
    return getattr(model, "model", model) if model.base_model is model else model.base_model


def own_head(model: Any) -> Head:
    """The head as the model's own forward pass applies it."""
    return Head(model.get_output_embeddings(), partial(_own_logits, model))


def is_layer_alone(model: Any) -> bool:
    """Whether the model's own forward pass makes logits by its output layer and nothing else, to the bit."""
    layer = model.get_output_embeddings()
    weight = layer.weight
    width = int(getattr(layer, "in_features", weight.shape[-1]))
    draws = torch.Generator().manual_seed(0)
    hidden_ND = 100 * torch.randn(4, width, generator=draws)  # large, so that a soft cap shows
    hidden_ND = hidden_ND.to(model.device, model.dtype)
    with torch.no_grad():
        return torch.equal(_own_logits(model, hidden_ND), layer(hidden_ND[None])[0])


def _own_logits(model: Any, hidden_ND: torch.Tensor) -> torch.Tensor:
    """The model's forward pass from its last hidden states on."""
    ids_1N = torch.zeros((1, len(hidden_ND)), dtype=torch.long, device=hidden_ND.device)
    inputs: dict[str, Any] = {"input_ids": ids_1N}
    if model.config.is_encoder_decoder:
        inputs = {"encoder_outputs": _LastHidden(last_hidden_state=hidden_ND[None]), "decoder_input_ids": ids_1N}
    layers = {layers_of(model), model.get_decoder()} - {model.get_output_embeddings()}  # some call the latter decoder
    with _returning(layers, hidden_ND[None]):
        logits_NV: torch.Tensor = type(model).forward(model, **inputs, use_cache=False, return_dict=True).logits[0]
    return logits_NV


@contextmanager
def _returning(modules: set[Any], hidden_1ND: torch.Tensor) -> Iterator[None]:
    """Within the block these modules return hidden states, whatever they are given."""
    before = {module: vars(module).get("forward") for module in modules}
    for module in modules:
        module.forward = lambda *_, **__: _LastHidden(last_hidden_state=hidden_1ND)
    try:
        yield
    finally:
        for module, own in before.items():
            if own is None:
                del module.forward
            else:
                module.forward = own


@dataclass
class _LastHidden(BaseModelOutput):  # type: ignore[misc]  # transformers' class has no type here
    """Outputs of layers in which everything that was not asked for is ``None``."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None
