from __future__ import annotations

import pytest
import torch

from graft.models.loading import load_model
from graft.models.shapes import SHAPE_NAMES, Shape, named_shape, random_model

SMALL = Shape(64, 96, 3, 4, 2, 16, 500, tied=False)


@pytest.mark.parametrize("tied", [True, False])
def test_the_parameters_are_those_of_the_built_model(tied: bool) -> None:
    shape = Shape(64, 96, 3, 4, 2, 16, 500, tied=tied)
    model = random_model(shape, device=torch.device("cpu"), dtype=torch.float32, attention="eager")
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    assert sum(p.numel() for p in model.model.layers.parameters()) + 64 == shape.backbone


def test_the_embedded_models_shape_is_its_own() -> None:
    built = load_model("sprout", init="random")
    assert named_shape("sprout").parameters == sum(p.numel() for p in built.parameters())


@pytest.mark.parametrize(
    ("name", "billions"), [("qwen3-0.6b", 0.596), ("qwen3-1.7b", 1.721), ("qwen3-4b", 4.022), ("qwen3-14b", 14.768)]
)
def test_the_shapes_have_the_published_sizes(name: str, billions: float) -> None:
    assert named_shape(name).parameters / 1e9 == pytest.approx(billions, abs=1e-3)
    assert name in SHAPE_NAMES


def test_useful_work_counts_the_head_only_where_a_token_is_trained() -> None:
    assert SMALL.useful_flops(10, 0) == 40 * SMALL.backbone
    assert SMALL.useful_flops(10, 3) - SMALL.useful_flops(10, 0) == 4 * 64 * 500 * 3


def test_more_tokens_need_more_memory_and_none_need_the_weights() -> None:
    assert SMALL.memory(0, 4) == 4 * SMALL.parameters
    assert SMALL.memory(200, 4) - SMALL.memory(100, 4) == SMALL.memory(100, 4) - SMALL.memory(0, 4) > 0
