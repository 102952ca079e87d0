from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import toy_model

from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.models.adapters import add_lora
from graft.models.forward import answer_logits
from graft.models.fp8 import Fp8Linear, check_fp8, multiply, quantize_rows, to_fp8
from graft.pipeline.train import weights
from graft.train.memory import _LiveBytes

IDS = torch.arange(48).reshape(2, 24) * 7 % 4000


def layers(bias: bool = False) -> tuple[torch.nn.Linear, torch.nn.Module]:
    """A bfloat16 layer whose rows differ in size by orders of magnitude, and the same in fp8."""
    torch.manual_seed(0)
    plain = torch.nn.Linear(128, 256, bias=bias).bfloat16().requires_grad_(False)
    plain.weight.mul_(torch.randn(256, 1).exp())
    holder = toy_model()
    holder.model.layers[0].mlp.up_proj = small = torch.nn.Linear(128, 256, bias=bias).bfloat16().requires_grad_(False)
    small.load_state_dict(plain.state_dict())
    to_fp8(holder.requires_grad_(False))
    return plain, small


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(first.float().flatten(), second.float().flatten(), dim=0).item()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 128), (37, 128), (2, 24, 128)])
def test_a_frozen_layer_multiplies_in_fp8_forward_and_backward(shape: tuple[int, ...], bias: bool) -> None:
    plain, small = layers(bias)
    assert isinstance(small, Fp8Linear)
    assert small.weight.dtype == torch.float8_e4m3fn
    inputs = [torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16() for _ in range(2)]
    for tensor in inputs:
        tensor.requires_grad_()
    exact, near = plain(inputs[0]), small(inputs[1])
    assert near.dtype == torch.bfloat16
    assert near.shape == exact.shape
    assert (near - exact).float().norm() < 0.05 * exact.float().norm()
    gradient = torch.randn(exact.shape).bfloat16() * 1e-6  # as small as gradients are
    exact.backward(gradient)
    near.backward(gradient)
    assert inputs[1].grad.dtype == torch.bfloat16
    assert cosine(inputs[0].grad, inputs[1].grad) > 0.99
    assert inputs[1].grad.float().norm() == pytest.approx(inputs[0].grad.float().norm().item(), rel=0.02)


def test_the_product_is_that_of_the_rounded_matrices() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(9, 64), torch.randn(32, 64) * 100
    (left_8, left_scale), (right_8, right_scale) = quantize_rows(left), quantize_rows(right)
    rounded = (left_8.float() * left_scale) @ (right_8.float() * right_scale).t()
    torch.testing.assert_close(
        multiply(left_8, left_scale, right_8, right_scale, fast=True).float(), rounded, rtol=8e-3, atol=0.5
    )


def test_rounding_holds_one_float32_matrix_beside_the_result() -> None:
    matrix = torch.randn(256, 512).bfloat16()
    with _LiveBytes([matrix]) as live:
        quantize_rows(matrix)
    assert live.peak <= 5.1 * matrix.numel()


def test_gradients_are_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    product, fast = torch._scaled_mm, []

    def noted(*args: object, use_fast_accum: bool, **options: object) -> torch.Tensor:
        fast.append(use_fast_accum)
        return product(*args, use_fast_accum=use_fast_accum, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "_scaled_mm", noted)
    _, small = layers()
    small(torch.ones(3, 128, dtype=torch.bfloat16, requires_grad=True)).sum().backward()
    assert fast == [True, False]


def test_rounding_a_row_is_bounded_and_zeros_stay_zeros() -> None:
    matrix = torch.randn(16, 512).exp()
    matrix[3] = 0.0
    rounded, scale = quantize_rows(matrix)
    back = rounded.float() * scale
    assert ((back - matrix).abs() <= matrix.abs() / 16 + scale * 2**-9).all()  # half a unit of 3 bits of mantissa
    assert torch.equal(back[3], torch.zeros(512))


def test_e4m3_keeps_gradients_better_than_e5m2_with_a_scale_per_row() -> None:
    gradient = torch.randn(64, 512, generator=torch.Generator().manual_seed(0)) ** 3 * 1e-5
    errors = {}
    for kind in (torch.float8_e4m3fn, torch.float8_e5m2):
        rounded, scale = quantize_rows(gradient, kind)
        errors[kind] = (rounded.float() * scale - gradient).norm()
    assert errors[torch.float8_e4m3fn] < 0.6 * errors[torch.float8_e5m2]


def test_adapters_learn_in_the_direction_of_bfloat16_and_stay_float32(tmp_path: Path) -> None:
    found = []
    for fp8 in (False, True):
        model = add_lora(toy_model("llama").bfloat16(), r=4, alpha=8, dropout=0.0, targets="all-linear", seed=0).train()
        if fp8:
            assert to_fp8(model) == 14
            assert not isinstance(model.get_output_embeddings(), Fp8Linear)
        logits_NV, targets_N = answer_logits(model, IDS, IDS)
        torch.nn.functional.cross_entropy(logits_NV.float(), targets_N).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert cosine(*found) > 0.99
    model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()


def test_the_weights_take_half_of_bfloat16() -> None:
    plain, small = layers()
    held = small.weight.nbytes + small.weight_scale.nbytes
    assert held < 0.52 * plain.weight.nbytes


@pytest.mark.parametrize(
    ("device", "capability", "found"),
    [("cpu", None, "device is cpu"), ("mps", None, "device is mps"), ("cuda", (8, 9), "compute capability 8.9")],
)
def test_machines_without_fp8_are_refused_in_one_line(
    device: str, capability: tuple[int, int] | None, found: str
) -> None:
    with pytest.raises(
        ConfigError, match=rf"model\.precision is fp8.*{found}.*use model\.precision: bfloat16"
    ) as error:
        check_fp8(torch.device(device), capability)
    assert "\n" not in str(error.value)
    check_fp8(torch.device("cuda"), (9, 0))


def test_a_model_without_a_layer_that_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiples of 16"):
        to_fp8(toy_model())  # nothing is frozen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter": {"kind": "none"}}, "adapter.kind is none"),
        ({"adapter": {"dora": True}}, "adapter.dora is true"),
        ({"engine": {"name": "trl"}}, "engine.name is trl"),
    ],
)
def test_what_needs_the_weights_themselves_is_refused_beside_fp8(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate({"model": {"precision": "fp8"}, **change})
    assert Recipe.model_validate({"model": {"precision": "fp8"}}).model.precision == "fp8"


def test_a_recipe_with_fp8_is_refused_before_the_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load_model", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match="compute capability"):
        weights.load_untouched(Recipe.model_validate({"model": {"precision": "fp8", "device": "cpu"}}))
