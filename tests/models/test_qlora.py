from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graft.errors import ModelError
from graft.models import quantized
from graft.models.adapters import add_lora
from graft.models.forward import answer_logits
from graft.models.loading import load_model
from graft.train.engine import fit
from graft.train.plan import Hooks, Plan
from graft.train.precision import choose_arithmetic
from graft.types import TokenRow

pytest.importorskip("bitsandbytes", reason="needs the extra quant")

Folder = Callable[[str], Path]


def four_bit(architecture_folder: Folder) -> torch.nn.Module:
    return load_model(str(architecture_folder("llama@wide")), device="cpu", quantize="nf4")


def small_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    from bitsandbytes.nn import Linear4bit

    return [module for module in model.modules() if isinstance(module, Linear4bit)]


def test_the_layers_hold_nf4_with_double_quantisation_and_compute_in_bfloat16(architecture_folder: Folder) -> None:
    layers = small_layers(four_bit(architecture_folder))
    assert layers
    for layer in layers:
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested
        assert layer.compute_dtype == torch.bfloat16


def test_gpus_without_bfloat16_multiply_in_float16_with_a_scaled_loss(
    architecture_folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as turing:
        turing.setattr(quantized, "computes_bfloat16", lambda device: False)
        assert quantized.nf4_product_type(torch.device("cuda")) == torch.float16
        assert quantized.nf4_product_type(torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(quantized, "nf4_product_type", lambda device: torch.float16)
    model = add_lora(four_bit(architecture_folder), r=2, alpha=4, dropout=0.0, targets="all-linear", seed=0)
    assert {layer.compute_dtype for layer in small_layers(model)} == {torch.float16}
    plan = Plan(
        steps=3, batch_size=1, token_budget=64, learning_rate=1e-2, optimizer="adamw", schedule="constant",
        warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None,
        keep_last=1,
    )  # fmt: skip
    losses: list[float] = []
    assert choose_arithmetic(model, plan).scales
    hooks = Hooks(on_report=lambda report: losses.append(report.loss))
    fit(model, [TokenRow((3, 4, 5), (6, 7))] * 3, plan, pad_id=0, folder=tmp_path, hooks=hooks)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("wrong", ["compute", "nested", "type"])
def test_another_four_bit_format_is_noticed(architecture_folder: Folder, wrong: str) -> None:
    model = four_bit(architecture_folder)
    layer = small_layers(model)[0]
    if wrong == "compute":
        layer.compute_dtype = torch.float32
    elif wrong == "nested":
        layer.weight.quant_state.nested = False
    else:
        layer.weight.quant_state.quant_type = "fp4"
    with pytest.raises(ModelError, match=r"nf4, but 1 of \d+ linear layers"):
        quantized.check_quantized(model, "nf4")


def test_adapters_on_four_bits_learn_while_the_weights_stay_to_the_bit(architecture_folder: Folder) -> None:
    small = four_bit(architecture_folder)
    whole = load_model(str(architecture_folder("llama@wide")), device="cpu")
    weights = [layer.weight for layer in small_layers(small)]
    linear = whole.model.layers[0].mlp.up_proj.weight
    assert weights[0].nbytes * 8 == weights[0].quant_state.shape.numel() * 4
    assert sum(p.nbytes for p in small.parameters()) < sum(p.nbytes for p in whole.parameters())
    assert linear.element_size() == 4
    before = [weight.detach().clone() for weight in weights]
    model = add_lora(small, r=8, alpha=16, dropout=0.0, targets="all-linear", seed=0).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    ids = torch.arange(36).reshape(3, 12) * 5 % small.config.vocab_size
    losses = []
    for _ in range(25):
        logits_NV, targets_N = answer_logits(model, ids, ids)
        loss = torch.nn.functional.cross_entropy(logits_NV.float(), targets_N)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
    assert all(torch.equal(old, new) for old, new in zip(before, weights, strict=True))


def test_a_look_in_evaluation_mode_leaves_the_gradient_as_it_was(architecture_folder: Folder) -> None:
    model = add_lora(four_bit(architecture_folder), r=8, alpha=16, dropout=0.0, targets="all-linear", seed=0)
    ids = torch.arange(36).reshape(3, 12) * 5

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        logits_BTV = model.train()(ids).logits.float()
        torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    before = gradients()
    with torch.no_grad():
        model.eval()(ids)
    for old, new in zip(before, gradients(), strict=True):
        torch.testing.assert_close(old, new)
