"""A real pretrained model, where `make real-model` has put it: adapted, exported, and run by a real llama.cpp."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.export.trained_runs import trained_run

from graft.config.loading import load_recipe
from graft.pipeline.progress import SilentProgress
from graft.workbench.export.command import export

FOLDER = Path(__file__).parents[2] / "real-model" / "smollm2"

pytest.importorskip("xllamacpp", reason="needs the extra export")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not FOLDER.is_dir(), reason="no real model here; `make real-model` downloads it")
def test_an_adapter_of_a_real_model_replies_the_same_in_llama_cpp(tmp_path: Path) -> None:
    settings = {
        "model.id": str(FOLDER),
        "adapter.kind": "lora",
        "adapter.r": 8,
        "study.arms": ["base", "trained"],
        "study.seeds": [0],
        "runs": str(tmp_path / "runs"),
    }
    run = trained_run(load_recipe(None, (), settings), spread=0.01)
    record = export(run, "gguf", quantize=["f32", "f16", "q4_k_m"], out=tmp_path / "out", progress=SilentProgress())
    for one in record["files"].values():
        found = one["certificate"]
        assert all(found[part][0] == found[part][1] for part in ("tokens", "templates", "ends")), found["wrong"]
    assert record["files"]["f32"]["certificate"]["replies"] == (4, 4)
    sizes = [record["files"][name]["bytes"] for name in ("f32", "f16", "q4_k_m")]
    assert sizes[0] > 1.9 * sizes[1] > 1.9 * 2.4 * sizes[2]
