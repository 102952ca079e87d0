"""Quantised files: llama.cpp's mixtures, and what it computes with them is what the weights in the file say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from graft.data.chat import ChatPolicy, render_prompt
from graft.errors import ConfigError
from graft.export.gguf.quantize import FILES, check_name, encode, tensor_type
from graft.types import Sampling

pytest.importorskip("xllamacpp", reason="needs the extra export")


def chosen(mixture: str, *names: str, layers: int = 4, experts: int = 0, tied: bool = True) -> list[str]:
    return [tensor_type(name, (512, 256), mixture, layers=layers, experts=experts, tied=tied) for name in names]


def test_the_mixture_of_q4_k_m_is_that_of_llama_quantize() -> None:
    assert chosen("q4_k_m", *(f"blk.{index}.ffn_down.weight" for index in range(4))) == ["Q4_K", "Q4_K", "Q6_K", "Q6_K"]
    assert chosen("q4_k_m", *(f"blk.{index}.attn_v.weight" for index in range(8)), layers=8) == [
        "Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q6_K",
    ]  # fmt: skip
    assert chosen("q4_k_m", "token_embd.weight", "blk.0.attn_k.weight") == ["Q6_K", "Q4_K"]
    assert chosen("q4_k_m", "token_embd.weight", "output.weight", tied=False) == ["Q4_K", "Q6_K"]
    assert chosen("q5_k_m", "blk.0.attn_qkv.weight", "blk.3.attn_v.weight") == ["Q6_K", "Q6_K"]
    assert chosen("q4_0", "token_embd.weight", "blk.3.attn_v.weight") == ["Q6_K", "Q4_0"]
    assert chosen("q8_0", "token_embd.weight", "blk.0.ffn_gate_inp.weight", "blk.0.attn_q_norm.weight") == [
        "Q8_0", "F32", "F32",
    ]  # fmt: skip
    assert chosen("q4_k_m", "blk.0.attn_k.weight", "blk.0.attn_output.weight", experts=8) == ["Q8_0", "Q5_K"]


def test_rows_that_a_type_cannot_cut_get_another() -> None:
    types = [
        tensor_type("blk.0.attn_q.weight", (8, columns), "q4_k_m", layers=4, experts=0, tied=True)
        for columns in (256, 96, 40)
    ]
    assert types == ["Q4_K", "Q5_0", "F16"]


def test_a_type_that_cannot_be_made_names_the_command_that_makes_it() -> None:
    with pytest.raises(ConfigError, match=r"llama-quantize model-f16\.gguf model-iq2_xs\.gguf IQ2_XS"):
        check_name("IQ2_XS")
    assert check_name("Q4_K_M") == "q4_k_m"


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q4_0", "Q5_0", "Q5_1"])
def test_a_coded_tensor_is_near_what_it_was(kind: str) -> None:
    import gguf
    import numpy as np

    values = np.random.default_rng(0).standard_normal((64, 256), np.float32)
    back = gguf.dequantize(encode(values, kind), gguf.GGMLQuantizationType[kind])
    error = float(np.sqrt(((back - values) ** 2).mean()))
    assert 0 < error < {"Q8_0": 0.02, "Q6_K": 0.03, "Q5_K": 0.06, "Q5_0": 0.08, "Q5_1": 0.08}.get(kind, 0.15)


@pytest.mark.slow
@pytest.mark.parametrize("mixture", [name for name in FILES if name != "f32"])
def test_llama_cpp_computes_with_the_weights_that_are_in_the_file(
    mixture: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    import gguf

    from graft.export.folder import save_model
    from graft.export.gguf.write import write_gguf
    from graft.export.server import served
    from graft.models.loading import load_model

    model = load_model("sprout", device="cpu", dtype="float32")
    save_model(model, tokenizer, ChatPolicy(), Sampling(), tmp_path)
    write_gguf(tmp_path, tmp_path / "model.gguf", mixture, name="toy")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 4)
    places = {names.get_name(name, try_suffixes=(".weight",)): weight for name, weight in model.named_parameters()}
    with torch.no_grad():
        for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors:
            places[tensor.name].copy_(torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy()))
    apart = []
    with served(tmp_path / "model.gguf", context=512) as server:
        for word in ("strawberry", "house", "rhythm", "banana", "zebra"):
            ids = tokenizer(render_prompt(tokenizer, f"Spell the word {word}."), add_special_tokens=False)["input_ids"]
            first = server.continued(ids, 1, n_probs=1)["completion_probabilities"][0]
            right = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[first["id"]]
            apart.append(abs(float(right) - first["logprob"]))
    assert max(apart) < 0.1, apart
