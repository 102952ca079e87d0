from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.conftest import toy_model

from graft.errors import ConfigError, MissingExtra
from graft.train.backends import ENGINES, fit_with, require_engine, usable_engines
from graft.train.plan import FitResult, Plan
from graft.types import TokenRow

PLAN = Plan(
    steps=2, batch_size=2, token_budget=64, learning_rate=1e-3, optimizer="adamw", schedule="constant", warmup_steps=0,
    weight_decay=0.0, max_grad_norm=1.0, bfloat16=False, seed=0, logging_steps=1, save_steps=None, keep_last=1,
)  # fmt: skip
ROWS = [TokenRow((1, 2, 3), (4, 5, 4093))] * 4


def train_by(name: str, folder: Path) -> FitResult:
    return fit_with(name, toy_model(), ROWS, PLAN, pad_id=4090, folder=folder)  # type: ignore[arg-type]


def test_every_engine_that_is_usable_here_trains(tmp_path: Path) -> None:
    assert usable_engines()[0] == "native"
    for name in usable_engines():
        assert train_by(name, tmp_path / name).steps == 2


def test_an_unknown_engine_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine\.name is 'nativ'. Did you mean 'native'\? Known: native, trl, "):
        train_by("nativ", tmp_path)


@pytest.mark.parametrize("name", ["trl", "unsloth"])
def test_a_missing_engine_names_the_pip_command(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert name not in usable_engines()
    with pytest.raises(MissingExtra) as caught:
        train_by(name, tmp_path)
    message = f"engine.name: {name} needs an optional part of Graft: pip install 'graft-lm[{name}]'"
    assert str(caught.value) == message


def test_unsloth_is_refused_on_a_mac_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match=r"engine\.name is unsloth.*GPUs only: a Mac has no CUDA.*native or trl"):
        require_engine("unsloth")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has its own reason")
def test_unsloth_is_refused_without_cuda_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kernels are written for CUDA GPUs.*PyTorch sees none.*native or trl"):
        train_by("unsloth", tmp_path)


def test_a_missing_engine_is_told_before_torch_is_loaded_and_leaves_no_run(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['trl'] = None\n"
        "from graft.cli.main import main\n"
        "code = main(['train', 'engine.name=trl', '--runs', sys.argv[1]])\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "runs")], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["2", "False"]
    assert done.stderr.strip().endswith("pip install 'graft-lm[trl]'")
    assert not list(tmp_path.glob("runs/*"))


def test_the_recipe_offers_exactly_these_engines() -> None:
    assert ENGINES == ("native", "trl", "unsloth")
