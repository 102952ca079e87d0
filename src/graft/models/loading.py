"""From a model's id to a tokenizer and a model in memory, by configuration alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from graft.errors import ModelError
from graft.models.devices import computes_bfloat16, pick_attention, pick_device, pick_dtype
from graft.models.quantized import check_quantize, check_quantized, keep_trainable, quantization
from graft.models.source import (
    Kind,
    Source,
    cannot_load,
    check_weights,
    locate,
    model_kind,
    offline,
    read_config,
    require_sizes,
    resolve,
    well_formed,
)
from graft.models.tokenizer import load_tokenizer, quiet_libraries

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["Init", "computes_bfloat16", "kind_of", "load_model", "load_tokenizer", "quiet_libraries", "resolve"]

Init = Literal["weights", "random"]


def load_model(
    model_id: str,
    *,
    revision: str | None = None,
    init: Init = "weights",
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    quantize: str = "none",
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> PreTrainedModel:
    """Load a language model onto its device, in evaluation mode; `kind_of` says which kind it is.

    Args:
        model_id: ``sprout``, a folder, a hub id or a URL.
        revision: branch, tag or commit on the hub.
        init: ``weights``, or ``random`` for seeded random weights in the shape of the config.
        seed: seeds the random weights.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        attention: ``auto``, ``eager`` or ``sdpa``.
        quantize: ``none``, or ``nf4`` or ``int8`` for linear layers of 4 or 8 bits, through bitsandbytes.
        trust_remote_code: run Python code from the model's repository if its architecture needs it.
        allow_pickle: load pickled weights if there are no safetensors; that can run code of their maker too.

    Raises:
        MissingExtra: quantising needs a package that is not installed.
        ModelError: the model, the device, the number format or the architecture cannot be had.
    """
    quiet_libraries()
    target = pick_device(device)
    check_quantize(quantize, init, target)
    source = locate(model_id, allow_pickle=allow_pickle)
    raw = read_config(source, model_id, revision)
    if source.folder is not None and init == "weights":
        check_weights(source.folder, allow_pickle=allow_pickle)
    config = load_config(source, model_id, raw, revision=revision, trust_remote_code=trust_remote_code)
    with well_formed(model_id):
        auto = auto_class(model_kind({**config.to_dict(), **raw}, model_id))
    with _told_as_one(model_id):
        counts = dtype == "auto" and target.type == "cpu"  # only there the size decides
        options: dict[str, Any] = {
            "dtype": pick_dtype(dtype, target, _parameters(auto, config, trust_remote_code) if counts else 0),
            "attn_implementation": pick_attention(attention, target, has_sdpa=_has_sdpa(auto, config)),
            "trust_remote_code": trust_remote_code,
        }
        if init == "random":
            return _random(auto, config, seed, options).to(target).eval()
        if quantize != "none":
            options |= {"quantization_config": quantization(quantize, target), "device_map": {"": target}}
        files = {"revision": revision, "use_safetensors": None if allow_pickle else True}
        model = _stored(auto, source, model_id, config=config, **files, **options)
    if quantize != "none":
        check_quantized(model, quantize)
        keep_trainable(model)
        return model.eval()
    return model.to(target).eval()


@contextmanager
def _told_as_one(model_id: str) -> Iterator[None]:
    """transformers, safetensors and the hub each raise types of their own; they become one."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(cannot_load("model", model_id, error)) from error


def _stored(auto: Any, source: Source, model_id: str, **options: Any) -> Any:
    """The model with its stored weights, all of them."""
    model, report = auto.from_pretrained(source.place, local_files_only=offline(), output_loading_info=True, **options)
    _check_complete(report, model_id)
    _check_finite(model, model_id)
    return model


def load_config(
    source: Source,
    model_id: str,
    raw: Mapping[str, Any],
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedConfig:
    """The config as its architecture's class.

    Raises:
        ModelError: this transformers does not know the architecture, or it needs code from the model's repository.
    """
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    quiet_libraries()
    require_sizes(raw, model_id)
    name = str(raw.get("model_type", ""))
    if name not in CONFIG_MAPPING_NAMES and not (trust_remote_code and "auto_map" in raw):
        raise ModelError(_unknown_architecture(name, raw, model_id))
    try:
        return AutoConfig.from_pretrained(
            source.place, revision=revision, local_files_only=offline(), trust_remote_code=trust_remote_code
        )
    except Exception as error:
        raise ModelError(cannot_load("config", model_id, error)) from error


def auto_class(kind: Kind) -> Any:
    """The class of transformers that finds the model class for a config."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if kind == "seq2seq" else AutoModelForCausalLM


def kind_of(model: PreTrainedModel) -> Kind:
    """Whether a loaded model continues texts (``causal``) or turns one into another (``seq2seq``)."""
    return "seq2seq" if model.config.is_encoder_decoder else "causal"


def _unknown_architecture(name: str, raw: Mapping[str, Any], model_id: str) -> str:
    from packaging.version import Version
    from transformers import __version__ as installed

    if not name:
        return f"config.json of {model_id} names no model_type, so its architecture is unknown; add it"
    start = f"model.id is {model_id}, of the architecture {name!r}, which transformers {installed} does not know"
    if "auto_map" in raw:
        return (
            f"{start}; it comes with Python code of its own. If you trust its maker, set model.trust_remote_code=true"
        )
    saved = str(raw.get("transformers_version") or "")
    try:
        newer = bool(saved) and Version(saved) > Version(installed)
    except ValueError:
        newer = False
    needed = f"'transformers>={saved}'" if newer else "transformers"
    why = f"; it was saved by transformers {saved}" if newer else "; a newer one may"
    return f"{start}{why}: pip install -U {needed}"


def _parameters(auto: Any, config: PreTrainedConfig, trust_remote_code: bool) -> int:
    """Number of parameters, counted without taking memory for them."""
    import torch

    with torch.device("meta"):
        model = auto.from_config(config, trust_remote_code=trust_remote_code)
    return sum(parameter.numel() for parameter in model.parameters())


def _has_sdpa(auto: Any, config: PreTrainedConfig) -> bool:
    """Whether the architecture knows sdpa; models with code of their own are taken to."""
    try:
        return bool(getattr(auto._model_mapping[type(config)], "_supports_sdpa", True))
    except KeyError:
        return True


def _random(auto: Any, config: PreTrainedConfig, seed: int, options: Mapping[str, Any]) -> PreTrainedModel:
    import torch

    torch.manual_seed(seed)
    return auto.from_config(config, **options)


def _check_finite(model: PreTrainedModel, model_id: str) -> None:
    """Refuse weights that are no numbers: every loss and every reply would be nonsense."""
    import torch

    wide = ((name, p) for name, p in model.named_parameters() if p.is_floating_point() and p.element_size() > 1)
    broken = [
        name for name, parameter in wide if parameter.numel() and not all(map(torch.isfinite, parameter.aminmax()))
    ]
    if broken:
        shown = ", ".join(broken[:3]) + (" …" if len(broken) > 3 else "")
        raise ModelError(
            f"the weights of {model_id} hold NaN or infinity in {len(broken)} tensors ({shown}); the files are "
            "damaged, or the training that wrote them had diverged"
        )


def _check_complete(report: Any, model_id: str) -> None:
    """Refuse weights that leave a part of the model at random: transformers only warns of them."""
    missing = sorted(report["missing_keys"] if isinstance(report, Mapping) else report.missing_keys)
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise ModelError(
            f"the weights of {model_id} lack {len(missing)} tensors of its architecture ({shown}), which would stay "
            "random; the files are incomplete or belong to another model"
        )
