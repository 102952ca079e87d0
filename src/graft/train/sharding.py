"""A model spread over processes: each holds a part of every layer and of its optimizer's state (FSDP2).

A layer is gathered when it is computed and given up afterwards, so what a GPU holds of weights, gradients and optimizer
shrinks with the number of processes. All processes must compute the same number of passes, because every pass gathers.

Source: Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from graft.errors import ConfigError
from graft.train.compile import decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FLAGS = ("_is_fsdp_managed_module", "_fsdp_use_orig_params")
_STATE_KEY = "__composable_api_state_key"


def shard(model: PreTrainedModel, computes: torch.dtype | None = None) -> None:
    """Spread a model over all processes of the group, in place: layer by layer, the rest as one.

    Gradients are summed over the processes, not averaged.

    Args:
        model: the model.
        computes: the type that float32 weights are gathered and computed in, while their gradients are summed in
            float32; ``None`` for the type of each.

    Raises:
        ConfigError: its weights are in a form that cannot be cut.
    """
    if getattr(model, "is_quantized", False) or any(not p.is_floating_point() for p in model.parameters()):
        raise ConfigError("engine.parallel is fsdp, but quantised weights cannot be spread; use engine.parallel: ddp")
    mesh = init_device_mesh(model.device.type, (torch.distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=computes, reduce_dtype=computes and torch.float32)
    for layer in decoder_layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for part in _parts(model):
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)


@contextmanager
def called_as(model: Any, work: Callable[..., Any]) -> Iterator[None]:
    """Within the block calling the model does this work: embeddings and head are whole only during its call."""
    vars(model)["forward"] = work
    try:
        yield
    finally:
        vars(model).pop("forward", None)


def sums_gradients(model: Any, on: bool) -> None:
    """Whether the next way back sums the gradients over the processes; without, they pile up where they are."""
    model.set_requires_gradient_sync(on)
    model.set_is_last_backward(on)


@contextmanager
def readable(model: Any) -> Iterator[None]:
    """Within the block parts of the model may be called by themselves, without gradient, by all processes alike."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        for part in _parts(model):
            part.reshard()


def make_whole(model: PreTrainedModel, *, keeps: bool) -> None:
    """Undo `shard`, in all processes together.

    Args:
        model: the model.
        keeps: this process gets the whole weights; elsewhere they are empty afterwards.
    """
    for part in _parts(model):
        part.reshard()
    whole: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if isinstance(parameter, DTensor):
                if id(parameter) not in whole:  # tied weights stay tied
                    tensor: torch.Tensor = parameter.full_tensor().detach()
                    tensor = tensor if keeps else tensor.new_empty(0)
                    whole[id(parameter)] = torch.nn.Parameter(tensor, parameter.requires_grad)
                module._parameters[name] = whole[id(parameter)]
    for part in list(_parts(model)):
        _forget(part)


def whole_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's state dict with all shards of every tensor, on the CPU; all processes call this."""
    states = {
        index: {key: value.full_tensor().cpu() if isinstance(value, DTensor) else value for key, value in own.items()}
        for index, own in state["state"].items()
    }
    return {**state, "state": states}


def spread_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A whole state dict as the optimizer's parameters are spread; all processes call this."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {
        index: {key: _like(value, parameters[index]) for key, value in own.items()}
        for index, own in state["state"].items()
    }
    return {**state, "state": states}


def _like(value: Any, parameter: Any) -> Any:
    if isinstance(parameter, DTensor) and isinstance(value, torch.Tensor) and value.shape == parameter.shape:
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value


def _parts(model: Any) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def _forget(module: Any) -> None:
    """Make a module again what it was; PyTorch has no call for that."""
    state = module._get_fsdp_state()
    for group in state._fsdp_param_groups:
        hooks = [*group._module_to_pre_save_state_dict_hook_handle.values()]
        hooks += group._module_to_pre_load_state_dict_hook_handle.values()
        hooks += [parameter._post_load_hook_handle for parameter in group.fsdp_params]
        for hook in hooks:
            hook.remove()
    state._pre_forward_hook_handle.remove()
    state._post_forward_hook_handle.remove()
    module.__class__ = type(module).__mro__[module._orig_cls_mro_index]
    for inner in module.modules():
        for name in _FLAGS:
            vars(inner).pop(name, None)
    for name in [key for key in vars(module) if key.startswith(_STATE_KEY)]:
        vars(module).pop(name)
