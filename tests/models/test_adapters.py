from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import toy_model

from graft.models.adapters import add_lora, count_parameters, load_adapter
from graft.models.forward import answer_logits

IDS = torch.arange(48).reshape(2, 24) * 7 % 4000
SETTINGS = {"r": 4, "alpha": 8.0, "dropout": 0.0, "targets": "all-linear", "seed": 0}
ARCHITECTURES = ["qwen3", "llama", "gpt2", "qwen3-moe"]


def adapted(architecture: str = "qwen3", dtype: torch.dtype = torch.float32, **change: object) -> torch.nn.Module:
    model = add_lora(toy_model(architecture).to(dtype), **{**SETTINGS, **change}).train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def backward(model: torch.nn.Module) -> torch.Tensor:
    logits_NV, targets_N = answer_logits(model, IDS, IDS)
    loss = torch.nn.functional.cross_entropy(logits_NV.float(), targets_N)
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_adapters_that_change_nothing_until_trained(
    architecture: str, rslora: bool, dora: bool
) -> None:
    plain = toy_model(architecture)
    before = plain(IDS).logits
    plainly = {"targets": ["q_proj", "k_proj", "v_proj", "o_proj"]} if architecture == "qwen3-moe" else {}
    model = add_lora(plain, **{**SETTINGS, "rslora": rslora, "dora": dora, "dropout": 0.1, **plainly}).eval()
    torch.testing.assert_close(model(IDS).logits, before, atol=1e-5, rtol=1e-4)
    backward(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    assert any("lora_magnitude" in name for name in trained) == dora
    assert all(p.grad is not None for name, p in model.named_parameters() if name in trained)


def test_rslora_scales_by_the_root_of_the_rank() -> None:
    from peft.tuners.lora import LoraLayer

    scales = {
        rslora: {m.scaling["default"] for m in adapted(rslora=rslora).modules() if isinstance(m, LoraLayer)}
        for rslora in (False, True)
    }
    assert scales == {False: {2.0}, True: {4.0}}


def test_adapters_on_a_bfloat16_model_hold_float32_and_compute_in_bfloat16() -> None:
    model = adapted(dtype=torch.bfloat16)
    seen: set[torch.dtype] = set()
    for name, module in model.named_modules():
        if "lora_" in name and isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda module, args, output: seen.update((args[0].dtype, output.dtype)))
    backward(model)
    assert seen == {torch.bfloat16}
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {p.grad.dtype for p in trained} == {torch.float32}


def test_masters_keep_updates_that_bfloat16_would_lose() -> None:
    model = adapted(dtype=torch.bfloat16)
    factor = next(p for name, p in model.named_parameters() if "lora_A" in name)
    before = factor.detach().clone()
    optimizer = torch.optim.AdamW([factor], lr=1e-5, weight_decay=0.0)
    backward(model)
    optimizer.step()
    moved = (factor - before).abs()
    assert (moved > 0).float().mean() > 0.99
    assert (factor.bfloat16() == before.bfloat16()).float().mean() > 0.5


def test_on_a_float32_model_nothing_changes_to_the_bit() -> None:
    from peft import LoraConfig, get_peft_model

    ours = add_lora(toy_model(), **SETTINGS)
    plain_base = toy_model()
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8.0, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = get_peft_model(plain_base, config)
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    for model in (ours, theirs):
        backward(model)
    for mine, plain in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, plain)
        assert mine.grad is plain.grad is None or torch.equal(mine.grad, plain.grad)


@pytest.mark.parametrize("change", [{}, {"rslora": True}, {"dora": True}])
def test_a_saved_adapter_comes_back_with_its_masters(tmp_path: Path, change: dict[str, bool]) -> None:
    model = adapted(dtype=torch.bfloat16, **change).eval()
    model.save_pretrained(tmp_path)
    again = load_adapter(toy_model().bfloat16(), tmp_path)
    with torch.inference_mode():
        assert torch.equal(model(IDS).logits, again(IDS).logits)
    assert {p.dtype for name, p in again.named_parameters() if "lora_" in name} == {torch.float32}
    assert count_parameters(model)[0] == count_parameters(again)[0]
