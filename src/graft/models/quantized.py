"""Weights of 4 or 8 bits through bitsandbytes (extra `quant`): NF4 with double quantisation, or LLM.int8()."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from graft.errors import MissingExtra, ModelError, choices
from graft.models.devices import computes_bfloat16

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

QUANTIZATIONS = ("none", "nf4", "int8")


def check_quantize(quantize: str, init: str, target: torch.device) -> None:
    """Check that a number format can be had, before anything is loaded.

    Args:
        quantize: ``none``, ``nf4`` or ``int8``.
        init: where the weights come from; random ones cannot be quantised.
        target: where the model will be.

    Raises:
        MissingExtra: bitsandbytes is not installed.
        ModelError: there is no such format, or it cannot be had here.
    """
    if quantize not in QUANTIZATIONS:
        raise ModelError(
            f"model.quantize is {quantize!r}, but it must be a known format. {choices(quantize, QUANTIZATIONS)}"
        )
    if quantize == "none":
        return
    if init == "random":
        raise ModelError(f"model.quantize is {quantize} and model.init is random; quantising needs weights; drop one")
    if target.type == "mps":
        raise ModelError(f"model.quantize is {quantize}, which runs on CUDA and CPUs, but the device is mps; use none")
    if find_spec("bitsandbytes") is None:
        raise MissingExtra(f"model.quantize {quantize} (bitsandbytes)", "quant")


def quantization(quantize: str, target: torch.device) -> Any:
    """Settings of bitsandbytes: NF4 is dequantised to the type in which the products are computed on that device.

    Source: Dettmers et al. 2023, "QLoRA", section 3 (NF4, double quantisation).
    """
    from transformers import BitsAndBytesConfig

    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=nf4_product_type(target),
    )


def nf4_product_type(target: torch.device) -> torch.dtype:
    """The type of 16 bits that NF4 is multiplied in: bfloat16, but float16 on GPUs that compute that alone."""
    import torch

    emulated = target.type == "cuda" and not computes_bfloat16(target)
    return torch.float16 if emulated else torch.bfloat16


def product_type(model: PreTrainedModel) -> torch.dtype:
    """The type that a model multiplies by its weights in: their own, or what weights of 4 bits are turned into."""
    kinds: set[torch.dtype] = {module.compute_dtype for module in model.modules() if hasattr(module, "compute_dtype")}
    own: torch.dtype = model.dtype
    return kinds.pop() if len(kinds) == 1 else own


def check_quantized(model: PreTrainedModel, quantize: str) -> None:
    """Make sure that the layers really hold few bits: a wrong setting leaves them whole without a word.

    Raises:
        ModelError: no layer holds that format, or one does not.
    """
    import torch
    from bitsandbytes import nn

    kind = nn.Linear4bit if quantize == "nf4" else nn.Linear8bitLt
    small = [module for module in model.modules() if isinstance(module, kind)]
    wrong = sum(
        not _is_nf4(layer, nf4_product_type(model.device)) if quantize == "nf4" else layer.weight.dtype != torch.int8
        for layer in small
    )
    if not small or wrong:
        count = f"{wrong} of {len(small)} linear layers" if small else "no linear layer"
        rule = "lack it or its double quantisation" if small else "holds that format"
        raise ModelError(
            f"model.quantize is {quantize}, but {count} of {model.name_or_path} {rule}; update bitsandbytes, or set "
            "model.quantize to none"
        )


def keep_trainable(model: PreTrainedModel) -> None:
    """Keep 4-bit weights in the layout that has a gradient.

    On CPUs with bfloat16 instructions bitsandbytes repacks them at the first pass in evaluation mode, for good, and the
    products of that layout have none: adapters trained after a look at held-out items would learn from noise.
    """
    from bitsandbytes import nn

    for module in model.modules():
        if isinstance(module, nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _is_nf4(layer: Any, product: torch.dtype) -> bool:
    """Whether a layer holds NF4 with double quantisation and computes in the type that was asked for."""
    import torch

    state = layer.weight.quant_state
    return (
        state is not None
        and layer.weight.dtype == torch.uint8
        and state.quant_type == "nf4"
        and state.nested
        and layer.compute_dtype == product
    )
