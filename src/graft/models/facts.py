"""What a model is, before its weights are loaded: sizes, experts, context, and the memory that it will need.

Parameters are counted on the meta device: the architecture is built, but no memory is taken for its weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graft.errors import ModelError
from graft.models.fields import CONTEXTS, expert_counts, first_number
from graft.models.loading import auto_class, load_config
from graft.models.source import Kind, Source, cannot_load, locate, model_kind, read_config, text_config, well_formed
from graft.models.targets import expert_tensors, linear_layers

STORED_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}

QUANTIZED_BYTES = {"nf4": 0.52, "int8": 1.02}
"""Bytes per weight of a quantised linear layer with its scales (blocks of 64, double quantisation)."""

_EXPERT = re.compile(r"(^|\.)experts\.")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's config says, and what follows from it.

    Attributes:
        model_type: the architecture's name in transformers.
        kind: ``causal`` or ``seq2seq``.
        parameters: all parameters; tied weights count once.
        active_parameters: parameters that one token passes; fewer than all only in a mixture of experts.
        embedding_parameters: those of the input and output embeddings.
        linear_parameters: those of the other linear layers, which are what quantising shrinks.
        linear_features: sum of inputs and outputs over all that ``adapter.targets: all-linear`` reaches, each expert
            counted; LoRA of rank r adds r times as many parameters.
        experts: experts of a layer; 0 for a dense model.
        experts_per_token: experts that a token visits; 0 for a dense model.
        context_length: longest text in tokens; 0 when the config sets no limit.
        layers: number of layers, of encoder and decoder together.
        hidden_size: width of the hidden state.
        heads: attention heads.
        kv_heads: key and value heads; fewer than ``heads`` with grouped queries.
        vocabulary: rows of the input embedding.
        dtype_bytes: bytes of a parameter as the weights are stored; 4 when the config does not say.
    """

    model_type: str
    kind: Kind
    parameters: int
    active_parameters: int
    embedding_parameters: int
    linear_parameters: int
    linear_features: int
    experts: int
    experts_per_token: int
    context_length: int
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    vocabulary: int
    dtype_bytes: int

    @property
    def embedding_share(self) -> float:
        """Share of the parameters that are embeddings, in [0, 1]."""
        return self.embedding_parameters / self.parameters

    @property
    def is_mixture(self) -> bool:
        """Whether it is a mixture of experts."""
        return self.experts > 1

    def weight_bytes(self, dtype_bytes: float, quantize: str = "none") -> int:
        """Memory of the weights.

        Args:
            dtype_bytes: bytes of a parameter that is not quantised.
            quantize: ``none``, ``nf4`` or ``int8``.
        """
        shrunk = self.linear_parameters if quantize != "none" else 0
        return round((self.parameters - shrunk) * dtype_bytes + shrunk * QUANTIZED_BYTES.get(quantize, 0.0))


@dataclass(frozen=True, slots=True)
class MemoryForecast:
    """Bytes that a run is expected to need; an estimate from above for what the engine lays out by its token budget.

    Attributes:
        weights: the model.
        training: gradients, optimizer state and the adapters themselves; 0 for scoring alone.
        activations: what the backward pass needs of one micro-batch; for scoring one layer of it.
    """

    weights: int
    training: int
    activations: int

    @property
    def total(self) -> int:
        """Everything together."""
        return self.weights + self.training + self.activations


def model_facts(
    model_id: str, *, revision: str | None = None, trust_remote_code: bool = False, source: Source | None = None
) -> ModelFacts:
    """Find out about a model without loading its weights.

    Args:
        model_id: ``sprout``, a folder, a hub id or a URL.
        revision: branch, tag or commit on the hub.
        trust_remote_code: run code from the model's repository if its architecture needs it.
        source: where it is, if that is known already.

    Raises:
        ModelError: there is no such model, or its architecture is unknown or cannot write.
    """
    model, known, kind = weightless(
        model_id, revision=revision, trust_remote_code=trust_remote_code, source=source or locate(model_id)
    )
    with well_formed(model_id):
        return describe(model, known, kind)


def weightless(
    model_id: str, *, revision: str | None, trust_remote_code: bool, source: Source
) -> tuple[Any, dict[str, Any], Kind]:
    """A model on the meta device, which takes no memory; everything its config says, and its kind.

    Raises:
        ModelError: its architecture is unknown or cannot write.
    """
    import torch

    raw = read_config(source, model_id, revision)
    config = load_config(source, model_id, raw, revision=revision, trust_remote_code=trust_remote_code)
    known = {**config.to_dict(), **raw}
    with well_formed(model_id):
        kind = model_kind(known, model_id)
    try:
        with torch.device("meta"):
            model = auto_class(kind).from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # every architecture has rules of its own for its config
        raise ModelError(cannot_load("config", model_id, error)) from error
    return model, known, kind


def describe(model: Any, config: Mapping[str, Any], kind: Kind) -> ModelFacts:
    """The facts of a model in memory or on the meta device."""
    import torch

    text = text_config(config)
    experts, per_token = expert_counts(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total = sum(sizes.values())
    in_experts = sum(size for name, size in sizes.items() if _EXPERT.search(name))
    idle = round(in_experts * (1 - per_token / experts)) if experts else 0
    ends = [end for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None]
    embeddings = {id(end.weight): end.weight.numel() for end in ends}
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m not in ends]
    heads = first_number(text, ("num_attention_heads", "n_head", "num_heads"))
    return ModelFacts(
        model_type=str(config.get("model_type", "")),
        kind=kind,
        parameters=total,
        active_parameters=total - idle,
        embedding_parameters=sum(embeddings.values()),
        linear_parameters=sum(layer.weight.numel() for layer in linear),
        linear_features=_features(model),
        experts=experts,
        experts_per_token=per_token,
        context_length=first_number(text, CONTEXTS),
        layers=_layers(text),
        hidden_size=first_number(text, ("hidden_size", "n_embd", "d_model")),
        heads=heads,
        kv_heads=first_number(text, ("num_key_value_heads", "n_head_kv")) or heads,
        vocabulary=model.get_input_embeddings().weight.shape[0],
        dtype_bytes=STORED_BYTES.get(str(text.get("torch_dtype") or text.get("dtype")).removeprefix("torch."), 4),
    )


def forecast_memory(
    facts: ModelFacts,
    *,
    dtype_bytes: int,
    quantize: str = "none",
    trainable: int = 0,
    tokens: int,
    rounded: bool = False,
) -> MemoryForecast:
    """Estimate the memory of training or scoring.

    Args:
        facts: the model.
        dtype_bytes: bytes of a weight in memory.
        quantize: ``none``, ``nf4`` or ``int8``.
        trainable: trained parameters; 0 for scoring alone. Each is float32, with its gradient and two moments of AdamW.
        tokens: tokens of one micro-batch.
        rounded: trained parameters, gradients and moments have the type of the weights instead, as where memory is
            scarce (`graft.train.precision`).

    Source: activations by Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models",
        equation 2 without its attention term (17 numbers per token, layer and hidden unit).
    """
    per_layer = 17 * tokens * facts.hidden_size * max(dtype_bytes, 2)
    number = dtype_bytes if rounded else 4
    state = trainable * (4 * number - (0 if trainable < facts.parameters else dtype_bytes))
    layers = facts.layers if trainable else 1
    return MemoryForecast(facts.weight_bytes(dtype_bytes, quantize), state, layers * per_layer)


def _features(model: Any) -> int:
    layers: list[tuple[int, int]] = [model.get_submodule(name).weight.shape for name in linear_layers(model)]
    experts: list[tuple[int, int, int]] = [model.get_parameter(name).shape for name in expert_tensors(model)]
    return sum(left + right for left, right in layers) + sum(many * (left + right) for many, left, right in experts)


def _layers(text: Mapping[str, Any]) -> int:
    both = [text.get("encoder_layers"), text.get("decoder_layers")]
    if all(isinstance(count, int) for count in both):
        return sum(int(count or 0) for count in both)
    one = first_number(text, ("num_hidden_layers", "n_layer", "num_layers"))
    return one + first_number(text, ("num_decoder_layers",))
