"""Names of runs: the parts in their order, and nothing a file system dislikes."""

from __future__ import annotations

from datetime import datetime

import pytest

from graft.config.loading import load_recipe
from graft.config.naming import run_name, task_label

NOW = datetime(2026, 11, 20, 14, 32, 59)
START = "2026-11-20_14h32m_"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["train.max_steps=300"], "sprout_spelling_sft_bs16_lora-r16_steps300"),
        ([], "sprout_spelling_sft_bs16_lora-r16_ep1"),
        (["train.epochs=0.5", "data.train=count"], "sprout_count_sft_bs16_lora-r16_ep0.5"),
        (["train.gradient_accumulation=4", "adapter.r=8"], "sprout_spelling_sft_bs64_lora-r8_ep1"),
        (["adapter.kind=none"], "sprout_spelling_sft_bs16_full_ep1"),
        (["model.id=Qwen/Qwen3-0.6B", "name=first try"], "Qwen-Qwen3-0.6B_spelling_sft_first-try"),
        (["model.id=./models/my model"], "my-model_spelling_sft_bs16_lora-r16_ep1"),
        (["model.id=/models/tuned/"], "tuned_spelling_sft_bs16_lora-r16_ep1"),
        (["name=../../etc/passwd"], "sprout_spelling_sft_etc-passwd"),
        (["name='\"<>:|?*\\'"], "sprout_spelling_sft_bs16_lora-r16_ep1"),
        (["name=größer"], "sprout_spelling_sft_größer"),
    ],
)
def test_a_run_is_named_by_model_task_mode_and_parameters(overrides: list[str], name: str) -> None:
    assert run_name(load_recipe(None, overrides).recipe, NOW) == START + name


def test_a_mixture_names_its_tasks_and_rounded_percents() -> None:
    sources = "data.train=[{task: imdb, rate: 0.704}, {task: glue/sst2, rate: 0.296}]"
    recipe = load_recipe(None, [sources, "train.max_steps=9"]).recipe
    assert task_label(recipe) == "mix_imdb-70_glue-sst2-30"
    assert run_name(recipe, NOW) == f"{START}sprout_mix_imdb-70_glue-sst2-30_sft_bs16_lora-r16_steps9"


@pytest.mark.parametrize("letter", ["x", "ß", "字"])
@pytest.mark.parametrize("key", ["name", "model.id", "data.train"])
def test_a_long_name_is_cut_and_keeps_its_parts(letter: str, key: str) -> None:
    name = run_name(load_recipe(None, [f"{key}={letter * 500}"]).recipe, NOW)
    assert len(name.encode()) <= 120
    assert name.startswith(START)
    assert "_sft_" in name
    assert name.count(letter) > 10
