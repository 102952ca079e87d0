"""vLLM's documented rules for adapters, walked one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graft.errors import ModelError
from graft.export.adapter import broken_rules, copy_adapter

GOOD: dict[str, Any] = {"r": 16, "lora_alpha": 32, "bias": "none", "modules_to_save": None, "use_dora": False}


def write(folder: Path, **settings: Any) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps(GOOD | settings))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "adapter.dora is true"),
        ({"r": 1024}, "its rank is 1024, and the largest is 512"),
        ({"rank_pattern": {"q_proj": 768}}, "its rank is 768"),
        ({"modules_to_save": ["lm_head"]}, r"it replaces whole layers \(lm_head\)"),
        ({"bias": "lora_only"}, "it trains biases"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "tensors of experts"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_vllm_cannot_load_is_refused_with_the_way_out(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "to").mkdir()
    with pytest.raises(ModelError, match=f"vLLM cannot load the adapter: .*{words}.*--to merged"):
        copy_adapter(write(tmp_path, **settings), tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_control_tokens_are_refused_and_a_plain_adapter_breaks_no_rule() -> None:
    assert not list(broken_rules(GOOD | {"use_rslora": True}, styled=False))
    assert "control tokens" in next(broken_rules(GOOD, styled=True))


def test_whole_weights_are_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds whole weights, no adapter; export the branch with --to merged"):
        copy_adapter(tmp_path, tmp_path)
