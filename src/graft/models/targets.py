"""Which weights of a model get adapters, and what share of each kind of weights stays without.

PEFT wraps linear layers (`Targets.modules`) and, more roughly, single tensors (`Targets.parameters`): the experts of a
mixture, which are one tensor per layer, and linear layers whose names PEFT would take for those of experts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError, choices
from graft.models.fields import expert_counts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"

ROUTERS = ("router", "gate", "shared_expert_gate")
"""Last names of the modules that choose the experts of a mixture."""

BYPASSED: dict[str, tuple[str, ...]] = {
    "mamba": ("dt_proj", "out_proj"),
    "falcon_mamba": ("dt_proj", "out_proj"),
    "mamba2": ("out_proj",),
    "falcon_h1": ("mamba.out_proj",),
    "nemotron_h": ("mixer.out_proj",),
    "jamba": ("dt_proj",),
    "rwkv": ("attention.output", "feed_forward.value"),
}
"""Layers by model type whose weights the model reads or rescales itself, past any adapter on the layer."""

_PARTS = {
    "gate_up_proj": ("gate_proj", "up_proj", "w1", "w3"),
    "down_proj": ("w2",),
}
"""Fused tensors of experts, and the names that their parts have elsewhere."""

_KINDS = (
    ("shared experts", r"shared_expert|shared_mlp"),
    ("experts", r"(^|\.)experts(\.|$)|block_sparse_moe"),
    ("attention", r"attn|attention|\.q_proj|\.k_proj|\.v_proj"),
    ("recurrent", r"mamba|mixer|(^|\.)(conv|ssm|temporal_block)(\.|$)"),
    ("dense MLP", r"mlp|feed_forward|ffn|densereludense|(^|\.)ff(\.|$)"),
)
"""Kinds of weights, and what the names of their modules hold; the first that fits."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Full names of what gets adapters.

    Attributes:
        modules: linear layers.
        parameters: tensors that PEFT adapts by themselves; it knows neither dropout nor DoRA for them.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]

    @property
    def weights(self) -> frozenset[str]:
        """Names of all weights that are meant."""
        return frozenset(self.parameters) | {f"{name}.weight" for name in self.modules}


def find_targets(model: PreTrainedModel, asked: Sequence[str] | str) -> Targets:
    """Find what a setting means in a model.

    Args:
        model: a model without adapters; its weights are not read, so it may be on the meta device.
        asked: ``all-linear`` for every linear layer and every expert but what `linear_layers` leaves out, or the last
            names of modules or of tensors of experts; ``gate_proj`` means the experts' part of that name too.

    Raises:
        ModelError: a name is not there, or an adapter there would do nothing.
    """
    if asked == ALL_LINEAR:
        layers, experts = linear_layers(model), expert_tensors(model)
    else:
        names = [asked] if isinstance(asked, str) else list(asked)
        layers, experts = [], []
        for name in names:
            found = _named(model, name)
            layers += [one for one in found[0] if one not in layers]
            experts += [one for one in found[1] if one not in experts]
    taken = _names_taken_for_experts(model, {_last(name) for name in layers})
    renamed = [name for name in layers if _last(name) in taken]
    whole = [name for name in renamed if model.get_submodule(name).weight.is_floating_point()]
    return Targets(
        tuple(name for name in layers if name not in renamed),
        (*experts, *(f"{name}.weight" for name in whole)),
    )


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers that get adapters, whole or of few bits, in the model's order.

    Left out are the output head, the routers of a mixture of experts (one that moves re-assigns tokens) and layers
    that the model goes past (`BYPASSED`): an adapter there would do nothing.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    mixture = _is_mixture(model)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not head
        and not (mixture and _last(name) in ROUTERS)
        and not _is_bypassed(model, name)
    ]


def expert_tensors(model: PreTrainedModel) -> list[str]:
    """Names of the tensors that hold all experts of a layer, in the model's order."""
    import torch

    if not _is_mixture(model):
        return []
    convolutions = torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d
    return [
        f"{name}.{key}"
        for name, module in model.named_modules()
        for key, tensor in module.named_parameters(recurse=False)
        if tensor.ndim == 3 and tensor.shape[0] > 1 and tensor.is_floating_point()
        if not isinstance(module, convolutions)
    ]


def carriers(model: PreTrainedModel) -> dict[str, Any]:
    """The weights that carry an adapter, by their full names in the model without adapters."""
    from peft.tuners.lora import LoraLayer, ParamWrapper

    carried = {}
    for path, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            key = layer.parameter_name if isinstance(layer, ParamWrapper) else "weight"
            name = path.replace(".base_layer", "").removeprefix("base_model.model.")
            carried[f"{name}.{key}"] = getattr(layer.get_base_layer(), key)
    return carried


def bare_weights(model: PreTrainedModel) -> list[Any]:
    """The weights that carry an adapter by themselves, not through their layer."""
    from peft.tuners.lora import ParamWrapper

    return [layer.get_param() for layer in model.modules() if isinstance(layer, ParamWrapper)]


def uncovered(model: PreTrainedModel) -> dict[str, tuple[int, int]]:
    """Weights without an adapter, per kind: how many, and of how many.

    Args:
        model: has PEFT's adapters; counted are its own tensors of two or more dimensions.
    """
    covered = {id(weight) for weight in carriers(model).values()}
    ends = {
        id(end.weight): kind
        for end, kind in ((model.get_output_embeddings(), "head"), (model.get_input_embeddings(), "embeddings"))
        if end is not None
    }
    counts: dict[str, tuple[int, int]] = {}
    for name, tensor in model.named_parameters():
        if tensor.ndim < 2 or "lora_" in name:
            continue
        kind = ends.get(id(tensor)) or kind_of_weight(name, mixture=_is_mixture(model))
        size = math.prod(tensor.quant_state.shape) if hasattr(tensor, "quant_state") else tensor.numel()
        without, total = counts.get(kind, (0, 0))
        counts[kind] = without + (0 if id(tensor) in covered else size), total + size
    return counts


def told(counts: dict[str, tuple[int, int]]) -> str:
    """What `uncovered` found, as one sentence."""
    total = sum(size for _, size in counts.values())
    without = sum(size for size, _ in counts.values())
    trained = [kind for kind, (size, _) in counts.items() if size == 0]
    rest = [f"{kind} {size / of:.0%}" for kind, (size, of) in counts.items() if size]
    reached = f"all of {', '.join(trained)}" if trained else "no kind of weights whole"
    return (
        f"adapters reach {reached}; without one stay {without / total:.1%} of the weights: {', '.join(rest) or 'none'}"
    )


def short_name(module: str, experts: Sequence[str]) -> str:
    """The last name of a module, with the one before where the last alone would mean one of these experts too."""
    ambiguous = any(_last(module) in _parts(name) for name in experts)
    return ".".join(module.split(".")[-2 if ambiguous else -1 :])


def kind_of_weight(name: str, *, mixture: bool = False) -> str:
    """Kind of a weight by its full name: ``attention``, ``dense MLP``, ``experts``, ``router`` … or ``other``."""
    path = name.replace(".base_layer", "").removesuffix(".weight").lower()
    if mixture and _last(path) in ROUTERS:
        return "router"
    return next((kind for kind, pattern in _KINDS if re.search(pattern, path)), "other")


def _named(model: PreTrainedModel, asked: str) -> tuple[list[str], list[str]]:
    """Modules with a weight, and tensors of experts, that have this last name or these last names."""
    import torch

    modules = [
        name
        for name, module in model.named_modules()
        if _ends(name, asked) and isinstance(getattr(module, "weight", None), torch.nn.Parameter)
    ]
    experts = [
        name
        for name in expert_tensors(model)
        if any(_ends(name, asked) or _ends(f"{name.rpartition('.')[0]}.{part}", asked) for part in _parts(name))
        or _ends(name.rpartition(".")[0], asked)
    ]
    idle = [name for name in modules if _is_bypassed(model, name)]
    if idle:
        raise ModelError(
            f"adapter.targets names {asked!r}, but {model.config.model_type} goes past that layer and uses its weight "
            f"itself ({idle[0]}), so an adapter would do nothing; leave it out"
        )
    if not modules and not experts:
        known = {_last(name) for name in (*linear_layers(model), *expert_tensors(model))}
        raise ModelError(
            f"adapter.targets names {asked!r}, but no linear layer of {model.config.model_type} has that name. "
            f"{choices(asked, known)}"
        )
    return modules, experts


def _parts(name: str) -> Iterable[str]:
    return (_last(name), *_PARTS.get(_last(name), ()))


def _names_taken_for_experts(model: PreTrainedModel, names: set[str]) -> set[str]:
    """Those last names that PEFT would take for parts of experts and then look for elsewhere."""
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    taken = set()
    for name in names:
        config: Any = LoraConfig(target_modules=[name])
        try:
            convert_peft_config_for_transformers(config, model, None)
        except ValueError:  # it is a part of a fused tensor, and the others are missing
            taken.add(name)
            continue
        if name not in config.target_modules:
            taken.add(name)
    return taken


def _is_mixture(model: PreTrainedModel) -> bool:
    return expert_counts(model.config.to_dict())[0] > 0


def _is_bypassed(model: PreTrainedModel, name: str) -> bool:
    return any(_ends(name, last) for last in BYPASSED.get(str(model.config.model_type), ()))


def _ends(name: str, last: str) -> bool:
    return name == last or name.endswith(f".{last}")


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
