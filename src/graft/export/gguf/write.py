"""One GGUF file of a model folder, written tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graft.errors import MissingExtra, ModelError
from graft.export.gguf.architectures import find_architecture, layers_of, write_settings
from graft.export.gguf.quantize import FILES, encode, tensor_type
from graft.export.gguf.tensors import Tensor, tensors_of
from graft.export.gguf.vocabulary import read_vocabulary, write_vocabulary

QUANTIZATION_VERSION = 2


def require_gguf() -> None:
    """Make sure that files can be written and tried.

    Raises:
        MissingExtra: they cannot.
    """
    if find_spec("gguf") is None or find_spec("xllamacpp") is None:
        raise MissingExtra("graft export --to gguf (gguf, xllamacpp)", "export")


def write_gguf(
    folder: Path, path: Path, mixture: str, *, name: str, on_tensor: Callable[[int], None] = lambda count: None
) -> tuple[str, ...]:
    """Write a model folder as one file.

    Args:
        folder: a model of transformers with tokenizer, template and generation config.
        path: the file.
        mixture: a name of `graft.export.gguf.quantize.FILES`.
        name: what the model is called.
        on_tensor: told of each tensor written.

    Returns:
        What differs from the folder and cannot be helped.

    Raises:
        ModelError: llama.cpp would compute or cut text otherwise, or a value does not fit into the type.
    """
    import gguf
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    config = AutoConfig.from_pretrained(folder)
    found = find_architecture(config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = read_vocabulary(tokenizer, config.vocab_size)
    generation = GenerationConfig.from_pretrained(folder)
    writer = gguf.GGUFWriter(path, found.name)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[FILES[mixture].name])
    writer.add_quantization_version(QUANTIZATION_VERSION)
    write_settings(writer, config, found)
    write_vocabulary(writer, tokenizer, vocabulary, ends_of(generation, tokenizer.eos_token_id))
    _write_sampling(writer, generation)
    chosen = partial(
        tensor_type,
        mixture=mixture,
        layers=layers_of(config),
        experts=int(getattr(config, "num_local_experts", 0) or 0),
        tied=bool(config.tie_word_embeddings),
    )
    _write_tensors(writer, tensors_of(folder, config, found), chosen, on_tensor)
    writer.close()
    return (*_notes(config), *vocabulary.notes)


def ends_of(generation: Any, eos: int | None) -> tuple[int, ...]:
    """The ids at which a reply stops, the tokenizer's own first."""
    named = generation.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return tuple(dict.fromkeys(int(end) for end in (eos, *listed) if end is not None))


def _write_sampling(writer: Any, generation: Any) -> None:
    """The recipe's sampling, as the default of whoever runs the file."""
    if generation.do_sample:
        writer.add_sampling_temp(generation.temperature)
        writer.add_sampling_top_k(generation.top_k)
        writer.add_sampling_top_p(generation.top_p)
        writer.add_sampling_min_p(generation.min_p or 0.0)
    else:
        writer.add_sampling_temp(0.0)
    if generation.repetition_penalty:
        writer.add_sampling_penalty_repeat(generation.repetition_penalty)


def _write_tensors(
    writer: Any, tensors: list[Tensor], chosen: Callable[[str, tuple[int, ...]], str], on_tensor: Callable[[int], None]
) -> None:
    import gguf
    import numpy as np

    types = [chosen(tensor.name, tensor.shape) for tensor in tensors]
    for tensor, type_name in zip(tensors, types, strict=True):
        kind = gguf.GGMLQuantizationType[type_name]
        bytes_shape = gguf.quant_shape_to_byte_shape(tensor.shape, kind)
        plain = {"F32": np.float32, "F16": np.float16}.get(kind.name)
        shape, dtype = (bytes_shape, np.uint8) if plain is None else (tensor.shape, plain)
        size = int(np.prod(bytes_shape))
        writer.add_tensor_info(tensor.name, shape, np.dtype(dtype), size, None if plain else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, type_name in zip(tensors, types, strict=True):
        coded = encode(tensor.read(), type_name)
        if coded.dtype.kind == "f" and not np.isfinite(coded).all():
            raise ModelError(f"{tensor.name} holds values that {type_name} cannot hold; use bf16 or f32")
        writer.write_tensor_data(coded)
        on_tensor(1)


def _notes(config: Any) -> tuple[str, ...]:
    window = getattr(config, "sliding_window", None)
    if config.model_type == "phi3" and window and window < config.max_position_embeddings:
        return (f"llama.cpp lets Phi-3 attend to all tokens, this config to the last {window:,} only",)
    return ()
