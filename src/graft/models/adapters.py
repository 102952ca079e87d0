"""Low-rank adapters (Hu et al. 2022, "LoRA") on a frozen model, through PEFT.

The factors are kept in float32, where small updates are not lost, and compute in the type of what flows through them:
on a bfloat16 model nothing is cast up. PEFT alone would keep them in bfloat16 or cast every activation to float32.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft import sprout
from graft.errors import ModelError
from graft.models.loading import kind_of
from graft.models.targets import Targets, carriers, find_targets, short_name
from graft.runs.files import write_json, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_lora(
    model: PreTrainedModel,
    *,
    r: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str] | str,
    seed: int,
    rslora: bool = False,
    dora: bool = False,
) -> PreTrainedModel:
    """Freeze the model and add trainable adapters; the model's function is unchanged until they are trained.

    Args:
        model: a model without adapters.
        r: rank, at least 1.
        alpha: the adapters' output is multiplied by alpha / r.
        dropout: probability in [0, 1) of dropping an adapter's input; 0 where the experts of a mixture are adapted.
        targets: names, or ``all-linear``; see `find_targets`.
        seed: seeds the adapters' initial weights.
        rslora: multiply by alpha / √r instead.
        dora: train the magnitude of each weight's rows beside the direction; not where experts are adapted.

    Raises:
        ModelError: a name is not there, PEFT cannot adapt what has it, or what carries an adapter afterwards is not
            what was asked for.

    Source: Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", equation 6; Liu et al.
        2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", equation 5.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    found = find_targets(model, targets)
    _require_plain(model, found, dropout=dropout, dora=dora)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(found.modules),
        target_parameters=list(found.parameters) or None,
        task_type="SEQ_2_SEQ_LM" if kind_of(model) == "seq2seq" else "CAUSAL_LM",
        use_rslora=rslora,
        use_dora=dora,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    try:
        adapted = keep_masters(get_peft_model(model, config))
    except ValueError as error:
        raise ModelError(f"adapter.targets is {targets!r}, but PEFT refuses: {error}; name other layers") from error
    _require_reached(adapted, found)
    return adapted


def _require_plain(model: PreTrainedModel, found: Targets, *, dropout: float, dora: bool) -> None:
    """Refuse dropout and DoRA where PEFT adapts single tensors.

    Raises:
        ModelError: it does, and one of them is asked for.
    """
    setting = f"adapter.dropout is {dropout:g}" if dropout else "adapter.dora is true" if dora else None
    if setting is None or not found.parameters:
        return
    total = sum(weight.numel() for weight in model.parameters())
    share = sum(model.get_parameter(name).numel() for name in found.parameters) / total
    others = sorted({short_name(name, found.parameters) for name in found.modules})
    raise ModelError(
        f"{setting}, but PEFT can only adapt the experts of {model.config.model_type} without "
        f"({found.parameters[0]} and {len(found.parameters) - 1} more tensors, {share:.0%} of the weights); set "
        f"adapter.{'dropout=0' if dropout else 'dora=false'}, or leave them untrained: "
        f"adapter.targets=[{', '.join(others)}]"
    )


def _require_reached(model: PreTrainedModel, found: Targets) -> None:
    """Compare what carries an adapter with what was asked for.

    Raises:
        ModelError: they differ.
    """
    carried = frozenset(carriers(model))
    missing, extra = sorted(found.weights - carried), sorted(carried - found.weights)
    if missing or extra:
        told = f"{len(missing)} have none (first: {missing[0]})" if missing else f"{extra[0]} has one unasked"
        raise ModelError(
            f"of the {len(found.weights)} weights of {model.config.model_type} that should get an adapter {told}: PEFT "
            "takes their names for others; name the layers in adapter.targets by more of their path"
        )


def require_loadable(model: PreTrainedModel) -> None:
    """Make sure that PEFT finds all of an adapter again in the file that it saves of it, before it is trained.

    Args:
        model: has an adapter, which is put back as it is; it may be on the meta device.

    Raises:
        ModelError: it would not: transformers renames these layers on the way back.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    saved = get_peft_model_state_dict(model, save_embedding_layers=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the meta device nothing is copied, and torch says so for each tensor
        missing = set(set_peft_model_state_dict(model, saved).missing_keys)
    lost = sorted(name for name, weight in model.named_parameters() if weight.requires_grad and name in missing)
    if lost:
        raise ModelError(
            f"an adapter on {model.config.model_type} could not be loaded again: PEFT would not find {len(lost)} of "
            f"its tensors in the file that it saves (first: {lost[0]}); name other layers in adapter.targets"
        )


def keep_masters(model: PreTrainedModel) -> PreTrainedModel:
    """Let the adapters hold float32 and compute in the type of their input, in place.

    Names in the state dict and saved files stay PEFT's. Where the input is float32 nothing changes, to the bit.

    Args:
        model: has PEFT's LoRA layers.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if not isinstance(layer, LoraLayer):
            continue
        layer.cast_input_dtype_enabled = False
        for factor in (*layer.lora_A.values(), *layer.lora_B.values()):
            if type(factor) is torch.nn.Linear:
                factor.float()
                factor.__class__ = master_linear()
        for magnitude in layer.lora_magnitude_vector.values():
            magnitude.float()
    return model


@cache
def master_linear() -> Any:
    """The class of a linear layer whose weight is cast to the type of the input, and its gradient back.

    It is made on the first call because torch loads late; there is one.
    """
    import torch

    class MasterLinear(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            bias = None if self.bias is None else self.bias.to(input.dtype)
            return torch.nn.functional.linear(input, self.weight.to(input.dtype), bias)

    return MasterLinear


def save_adapter(model: PreTrainedModel, folder: Path, **options: Any) -> None:
    """Save an adapter as PEFT does, but name its base model without a path of this machine; see `portable_name`.

    Args:
        model: has an adapter.
        folder: where to.
        **options: of PEFT's ``save_pretrained``.
    """
    model.save_pretrained(folder, **options)
    place = folder / "adapter_config.json"
    settings = json.loads(place.read_text(encoding="utf-8"))
    recorded = str(settings["base_model_name_or_path"])
    name = portable_name(recorded)
    write_json(place, {**settings, "base_model_name_or_path": name})
    card = folder / "README.md"
    write_text(card, card.read_text(encoding="utf-8").replace(recorded, name))


def portable_name(name: str) -> str:
    """What a model is called on any machine: ``sprout``, its hub id, or the last name of its folder.

    Args:
        name: what transformers recorded: a hub id or a folder, such as a snapshot in the hub's cache.
    """
    path = Path(name)
    if path == sprout.path():
        return "sprout"
    cached = re.search(r"models--([^/\\]+)[/\\]snapshots", name)
    if cached:
        return cached[1].replace("--", "/")
    return path.resolve().name if path.is_dir() or path.is_absolute() else name


def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put a saved adapter onto its base model.

    Raises:
        ModelError: the adapter is damaged, was trained on a model of another shape, or PEFT finds only a part of it.
    """
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")  # they would stay untrained
            return keep_masters(PeftModel.from_pretrained(model, str(folder))).eval()
    except (RuntimeError, ValueError, OSError, UserWarning) as error:
        raise ModelError(f"cannot put the adapter {folder} onto {model.name_or_path}: {error}") from error


def count_parameters(model: PreTrainedModel) -> tuple[int, int]:
    """Total and trainable parameters; tied weights count once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
