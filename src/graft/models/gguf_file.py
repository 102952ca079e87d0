"""A GGUF file as a base, for models that came from llama.cpp or Ollama: dequantised once into a folder in the cache.

The weights are exactly what the file's bits say; what quantising took from the original does not come back.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import MissingExtra, ModelError, choices
from graft.models.pretokenizers import KNOWN, pre_tokenizer_of
from graft.runs.cache import cache_folder
from graft.runs.files import replacing_folder
from graft.runs.space import require_space

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

LOG = logging.getLogger(__name__)

ARCHITECTURES = ("llama", "qwen2", "qwen3")

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's names of tensors, and transformers'."""

CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
"""Types of tokens."""


def unpack_gguf(path: Path) -> tuple[Path, str]:
    """The model folder of a GGUF file; it is made on the first call.

    Returns:
        The folder in the cache, and what was done, for people.

    Raises:
        MissingExtra: what reads such files is not installed.
        ModelError: the file is damaged, or its architecture or tokenizer cannot be read here.
        StorageError: there is no room for it.
    """
    facts = (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    place = cache_folder() / "unpacked" / f"{path.stem}-{digest}"
    if not place.is_dir():
        _unpack(_open(path), path, place)
    note = f"{path.name} was dequantised into {place}: the weights are those of its bits, not of the original model"
    LOG.info("%s", note)
    return place, note


def _open(path: Path) -> Any:
    if find_spec("gguf") is None:
        raise MissingExtra(f"model.id {path.name} (gguf)", "export")
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise ModelError(f"model.id is {path}, which is damaged or no GGUF file: {error}; copy it again") from error


def _unpack(reader: Any, path: Path, place: Path) -> None:
    from safetensors.torch import save_file

    config, tokenizer = config_of(reader, path), tokenizer_of(reader, path)
    require_space(place, sum(int(tensor.n_elements) * 4 for tensor in reader.tensors), "the dequantised model")
    weights = weights_of(reader, config, path)
    config.dtype = next(iter(weights.values())).dtype
    with replacing_folder(place) as folder:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        generation = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
        (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")


def _value(reader: Any, key: str, default: Any = None) -> Any:
    """A field of the file's metadata."""
    field = reader.fields.get(key)
    return default if field is None else field.contents()


def config_of(reader: Any, path: Path) -> PreTrainedConfig:
    """The config that a file's metadata describe.

    Raises:
        ModelError: the architecture cannot be read here.
    """
    from transformers import LlamaConfig, Qwen2Config, Qwen3Config

    kind = str(_value(reader, "general.architecture"))
    if kind not in ARCHITECTURES or _value(reader, f"{kind}.expert_count"):
        shown = f"{kind} with experts" if kind in ARCHITECTURES else kind
        raise ModelError(
            f"model.id is {path}, of the architecture {shown}, but a GGUF is read as a base only of dense "
            f"{', '.join(ARCHITECTURES)}; take the original model folder"
        )
    heads, width = _value(reader, f"{kind}.attention.head_count"), _value(reader, f"{kind}.embedding_length")
    names = {tensor.name for tensor in reader.tensors}
    ends = [_value(reader, f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    kinds = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
    return kinds[kind](
        vocab_size=len(_value(reader, "tokenizer.ggml.tokens")),
        hidden_size=width,
        intermediate_size=_value(reader, f"{kind}.feed_forward_length"),
        num_hidden_layers=_value(reader, f"{kind}.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=_value(reader, f"{kind}.attention.head_count_kv", heads),
        head_dim=_value(reader, f"{kind}.attention.key_length", width // heads),
        max_position_embeddings=_value(reader, f"{kind}.context_length"),
        rms_norm_eps=_value(reader, f"{kind}.attention.layer_norm_rms_epsilon"),
        rope_parameters=_rope(reader, kind, path),
        attention_bias="blk.0.attn_q.bias" in names,
        tie_word_embeddings="output.weight" not in names,
        bos_token_id=_value(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=[int(end) for end in dict.fromkeys(ends) if end is not None],
        pad_token_id=_value(reader, "tokenizer.ggml.padding_token_id"),
        architectures=[f"{kinds[kind].__name__.removesuffix('Config')}ForCausalLM"],
    )


def _rope(reader: Any, kind: str, path: Path) -> dict[str, Any]:
    scaling = _value(reader, f"{kind}.rope.scaling.type", "none")
    base = {"rope_type": "default", "rope_theta": _value(reader, f"{kind}.rope.freq_base", 10000.0)}
    if scaling == "linear":
        return {**base, "rope_type": "linear", "factor": _value(reader, f"{kind}.rope.scaling.factor")}
    if scaling != "none" or any(tensor.name == "rope_freqs.weight" for tensor in reader.tensors):
        shown = scaling if scaling != "none" else "factors of its own, as those of Llama 3.1 and later"
        raise ModelError(f"model.id is {path}, whose rotary scaling ({shown}) is not read; take the original folder")
    return base


def weights_of(reader: Any, config: PreTrainedConfig, path: Path) -> dict[str, torch.Tensor]:
    """Every tensor under transformers' name and in its order of rows; of a type of few bits in float32.

    Raises:
        ModelError: a tensor has no place in the architecture.
    """
    import torch
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    kinds = {tensor.tensor_type for tensor in reader.tensors if len(tensor.shape) > 1}
    whole = {GGMLQuantizationType.F16: torch.float16, GGMLQuantizationType.BF16: torch.bfloat16}
    dtype = whole.get(next(iter(kinds)), torch.float32) if len(kinds) == 1 else torch.float32
    rotated = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    found = {}
    for tensor in reader.tensors:
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        stem, _, end = tensor.name.rpartition(".")
        block, _, part = stem.removeprefix("blk.").partition(".")
        name = NAMES.get(part or block)
        if name is None:
            raise ModelError(f"model.id is {path}, whose tensor {tensor.name} has no place in {config.model_type}")
        if config.model_type == "llama" and part in rotated:
            weight = unpermuted(weight, rotated[part])
        found[f"model.layers.{block}.{name}.{end}" if part else f"{name}.{end}"] = weight.to(dtype)
    return found


def unpermuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo llama.cpp's order of the rows of q and k, which pairs the two halves of each rotary head."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape).contiguous()


def tokenizer_of(reader: Any, path: Path) -> PreTrainedTokenizerFast:
    """The byte-level BPE tokenizer of a file, with its chat template.

    Raises:
        ModelError: it is of another kind, or its rules for cutting text are not known.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    kind, pre = _value(reader, "tokenizer.ggml.model"), str(_value(reader, "tokenizer.ggml.pre"))
    rules = pre_tokenizer_of(pre)
    if kind != "gpt2" or rules is None:
        raise ModelError(
            f"model.id is {path}, whose tokenizer ({kind}, {pre}) is not read; it must be byte-level BPE (gpt2). "
            f"{choices(pre, KNOWN.values())}"
        )
    tokens: list[str] = _value(reader, "tokenizer.ggml.tokens")
    types: list[int] = _value(reader, "tokenizer.ggml.token_type")
    plain = {token: index for index, token in enumerate(tokens) if types[index] not in (CONTROL, USER_DEFINED, UNUSED)}
    merges = [tuple(line.split(" ", 1)) for line in _value(reader, "tokenizer.ggml.merges")]
    added = [index for index, found in enumerate(types) if found in (CONTROL, USER_DEFINED)]
    vocabulary = {**plain, **{tokens[index]: index for index in added}}
    made = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre == "llama-bpe"))
    made.pre_tokenizer, made.decoder = rules, decoders.ByteLevel()
    if pre == "qwen2":
        made.normalizer = normalizers.NFC()
    for index in added:
        entry = AddedToken(tokens[index], special=types[index] == CONTROL, normalized=False)
        (made.add_special_tokens if types[index] == CONTROL else made.add_tokens)([entry])
    return PreTrainedTokenizerFast(tokenizer_object=made, **_named_tokens(reader, tokens))


def _named_tokens(reader: Any, tokens: list[str]) -> Mapping[str, Any]:
    def named(name: str) -> str | None:
        index = _value(reader, f"tokenizer.ggml.{name}_token_id")
        return None if index is None else tokens[index]

    kind = _value(reader, "general.architecture")
    return {
        "bos_token": named("bos"),
        "eos_token": named("eos"),
        "pad_token": named("padding") or named("eos"),
        "unk_token": named("unknown"),
        "chat_template": _value(reader, "tokenizer.chat_template"),
        "model_max_length": _value(reader, f"{kind}.context_length"),
        "clean_up_tokenization_spaces": False,
    }
