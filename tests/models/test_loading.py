"""Loading by configuration: every kind of architecture, and one clear error for each thing that can be wrong."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.models.conftest import CAUSAL, ENCODERS, SEQ2SEQ
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from graft.config.loading import load_recipe
from graft.errors import ConfigError, GraftError, MissingExtra, ModelError
from graft.models import quantized
from graft.models.adapters import add_lora
from graft.models.forward import answer_logits
from graft.models.loading import kind_of, load_model, load_tokenizer
from graft.models.source import locate

Folder = Callable[[str], Path]
IDS = torch.tensor([[5, 9, 12, 40]])


def copied(folder: Path, target: Path, **changes: object) -> Path:
    """A copy of a model folder with other values in its config."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))
    return target


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_models_load_as_they_were_saved(name: str, architecture_folder: Folder) -> None:
    folder = architecture_folder(name)
    model = load_model(str(folder), device="cpu")
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    assert kind_of(model) == "causal"
    assert model.dtype == torch.float32
    assert not model.training
    with torch.inference_mode():
        assert torch.equal(model(IDS).logits, plain(IDS).logits)


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_encoder_decoders_take_the_seq2seq_path(name: str, architecture_folder: Folder) -> None:
    folder = architecture_folder(name)
    model = load_model(str(folder), device="cpu")
    plain = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    assert kind_of(model) == "seq2seq"
    with torch.inference_mode():
        read, written = IDS, IDS[:, :2]
        ours, theirs = (m(input_ids=read, decoder_input_ids=written).logits for m in (model, plain))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_only_models_are_refused_with_the_reason(name: str, architecture_folder: Folder) -> None:
    with pytest.raises(ModelError, match=r"encoder-only model \(\w+ForMaskedLM\).*cannot write"):
        load_model(str(architecture_folder(name)), device="cpu")


def test_an_encoder_without_architectures_is_still_refused(architecture_folder: Folder, tmp_path: Path) -> None:
    folder = copied(architecture_folder("bert"), tmp_path / "bert", architectures=None)
    with pytest.raises(ModelError, match="encoder-only"):
        load_model(str(folder), device="cpu")


def test_random_weights_are_seeded(architecture_folder: Folder) -> None:
    folder = str(architecture_folder("qwen3"))
    first, same, other = (load_model(folder, init="random", seed=seed, device="cpu") for seed in (1, 1, 2))
    weights = [model.get_input_embeddings().weight for model in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_asked_attention_and_type_are_used(architecture_folder: Folder) -> None:
    model = load_model(str(architecture_folder("qwen3")), device="cpu", dtype="bfloat16", attention="sdpa")
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("quantize", "bits"), [("nf4", 4), ("int8", 8)])
def test_quantised_layers_really_hold_few_bits(quantize: str, bits: int, architecture_folder: Folder) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quant")
    folder = str(architecture_folder("llama@wide"))
    whole, small = load_model(folder, device="cpu"), load_model(folder, device="cpu", quantize=quantize)
    layer = small.model.layers[0].mlp.down_proj
    numbers = whole.model.layers[0].mlp.down_proj.weight.numel()
    assert layer.weight.nbytes * 8 == numbers * bits
    assert small.get_input_embeddings().weight.is_floating_point()
    with torch.inference_mode():
        near, exact = small(IDS).logits.float(), whole(IDS).logits
    assert torch.nn.functional.cosine_similarity(near.flatten(), exact.flatten(), dim=0) > 0.95


def test_a_model_that_was_not_quantised_is_noticed(architecture_folder: Folder) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quant")
    model = load_model(str(architecture_folder("llama")), device="cpu")
    with pytest.raises(ModelError, match="no linear layer"):
        quantized.check_quantized(model, "nf4")


def test_quantising_without_its_extra_names_the_command(
    architecture_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'graft-lm\[quant\]'"):
        load_model(str(architecture_folder("llama")), device="cpu", quantize="nf4")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.quantize=nf4", "model.init=random"], "needs weights"),
        (["model.quantize=int8", "adapter.kind=none"], "cannot be trained"),
        (["model.quantize=fp4"], "nf4"),
    ],
)
def test_combinations_that_cannot_be_are_refused_in_the_recipe(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(None, overrides)


def test_gzipped_json_files_are_read_and_reported(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "packed"
    shutil.copytree(toy_folder, folder)
    for path in sorted(folder.glob("*.json")):
        packed = gzip.compress(path.read_bytes())
        if path.name == "tokenizer.json":
            path.write_bytes(packed)  # gzipped under its own name
        else:
            path.unlink()
            path.with_name(f"{path.name}.gz").write_bytes(packed)
    source = locate(str(folder))
    assert "config.json.gz" in source.notes[0]
    assert "tokenizer.json" in source.notes[0]
    assert source.folder is not None
    assert source.folder.is_relative_to(tmp_path / "cache")
    text = "Spell straw."
    assert load_tokenizer(str(folder)).encode(text) == load_tokenizer(str(toy_folder)).encode(text)
    with torch.inference_mode():
        assert torch.equal(
            load_model(str(folder), device="cpu")(IDS).logits, load_model(str(toy_folder), device="cpu")(IDS).logits
        )
    assert locate(str(folder)) == source


def test_pickled_weights_are_loaded_only_when_asked(architecture_folder: Folder, tmp_path: Path) -> None:
    folder = copied(architecture_folder("gpt2"), tmp_path / "pickled")
    model = load_model(str(folder), device="cpu")
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\).*allow_pickle"):
        load_model(str(folder), device="cpu")
    again = load_model(str(folder), device="cpu", allow_pickle=True)
    with torch.inference_mode():
        assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_code_of_the_models_own_runs_only_when_asked(architecture_folder: Folder, tmp_path: Path) -> None:
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    folder = copied(architecture_folder("llama"), tmp_path / "own", model_type="own", auto_map=auto_map)
    (folder / "own.py").write_text(
        "import pathlib\nfrom transformers import LlamaConfig, LlamaForCausalLM\n"
        "pathlib.Path(__file__)\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(ModelError, match="trust_remote_code=true"):
        load_model(str(folder), device="cpu")
    assert type(load_model(str(folder), device="cpu", trust_remote_code=True)).__name__ == "OwnModel"


def test_a_transformers_that_is_too_old_is_told_the_version(architecture_folder: Folder, tmp_path: Path) -> None:
    folder = copied(architecture_folder("llama"), tmp_path / "new", model_type="qwen9", transformers_version="99.1.0")
    with pytest.raises(ModelError, match=r"'qwen9', which transformers .* 'transformers>=99.1.0'"):
        load_model(str(folder), device="cpu")


def test_damaged_weights_are_noticed_before_they_are_loaded(architecture_folder: Folder, tmp_path: Path) -> None:
    folder = copied(architecture_folder("llama"), tmp_path / "cut")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"<!DOCTYPE html>", b"", whole + b"more"):
        weights.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"model.safetensors is damaged.*again"):
            load_model(str(folder), device="cpu")


def test_weights_that_lack_a_tensor_are_refused(architecture_folder: Folder, tmp_path: Path) -> None:
    folder = copied(architecture_folder("llama"), tmp_path / "more", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"lack \d+ tensors.*random"):
        load_model(str(folder), device="cpu")


def test_a_missing_shard_is_named(architecture_folder: Folder, tmp_path: Path) -> None:
    folder = copied(architecture_folder("llama"), tmp_path / "shards")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"lacks model-00002.safetensors"):
        load_model(str(folder), device="cpu")


def test_a_tokenizer_larger_than_the_embedding_is_refused(toy_folder: Path, tmp_path: Path) -> None:
    folder = copied(toy_folder, tmp_path / "small", vocab_size=4000)
    with pytest.raises(ModelError, match=r"4,096 entries, but the model's embedding only 4,000 rows"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "flash"}, "model.attention is 'flash'"),
        ({"device": "tpu"}, "model.device is 'tpu'"),
        ({"dtype": "float8"}, "model.dtype is 'float8'"),
        ({"quantize": "nf5"}, "Did you mean 'nf4'"),
    ],
)
def test_an_unknown_choice_names_the_known_ones(
    options: dict[str, str], message: str, architecture_folder: Folder
) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(str(architecture_folder("llama")), **{"device": "cpu", **options})  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_accelerator_is_named_with_what_is_there(architecture_folder: Folder) -> None:
    with pytest.raises(ModelError, match=r"model.device is cuda, but this machine offers .*cpu"):
        load_model(str(architecture_folder("llama")), device="cuda")


@pytest.mark.parametrize(
    ("model_id", "message"),
    [
        ("no-such-model", "there is no such folder"),
        ("./no-such-folder", "there is no such folder"),
        ("nobody/no-such-model", "offline"),
        ("nope://bucket/model", "nope"),
    ],
)
def test_an_unknown_model_is_one_clear_error(
    model_id: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    for load in (load_model, load_tokenizer):
        with pytest.raises(GraftError, match=message):
            load(model_id)


def test_a_folder_without_a_config_and_a_damaged_config_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config.json"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config.json is damaged"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no weights"):
        load_model(str(tmp_path))
    with pytest.raises(ModelError, match="names no model_type"):
        load_model(str(tmp_path), init="random")


def test_adapters_on_4_bit_weights_get_a_gradient_and_the_weights_none(architecture_folder: Folder) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quant")
    small = load_model(str(architecture_folder("llama@wide")), device="cpu", quantize="nf4")
    model = add_lora(small, r=2, alpha=4.0, dropout=0.0, targets="all-linear", seed=0).train()
    logits, targets = answer_logits(model, IDS, torch.tensor([[-100, -100, 12, 40]]))
    torch.nn.functional.cross_entropy(logits.float(), targets).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora" in name for name in gradients)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())
