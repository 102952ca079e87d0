"""Switches of the test run and the toy models that several rooms share. Nothing talks to another machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("GRAFT_OFFLINE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from graft.config.loading import Resolved


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; add --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing that a test makes stays in the user's cache, and nothing there changes a test."""
    os.environ["GRAFT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The embedded model's real tokenizer."""
    from graft.models.loading import load_tokenizer

    return load_tokenizer("sprout")


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Path:
    """A model folder: Qwen3 with random weights, two layers, and the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("toy")
    toy_model("qwen3").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_recipe(toy_folder: Path) -> Callable[..., Resolved]:
    """A complete study on the toy model in seconds; keyword arguments are overrides with ``__`` for the dot."""

    from graft.config.loading import load_recipe

    def build(runs: Path, **overrides: Any) -> Resolved:
        settings: dict[str, Any] = {
            "model.id": str(toy_folder),
            "words.train": 200,
            "words.eval": 60,
            "train.max_steps": 4,
            "train.batch_size": 8,
            "train.learning_rate": 3e-3,
            "train.logging_steps": 2,
            "eval.items": 60,
            "eval.seen_items": 20,
            "sampling.max_new_tokens": 6,
            "study.arms": ["base", "trained", "format"],
            "study.resamples": 1000,
            "study.seeds": [0],
            "runs": str(runs),
        }
        if overrides.get("mode") == "pretrain":
            del settings["study.arms"]  # those of its mode
        settings |= {key.replace("__", "."): value for key, value in overrides.items()}
        return load_recipe(None, (), settings)

    return build


def toy_model(architecture: str = "qwen3", seed: int = 0) -> PreTrainedModel:
    """A two-layer model of a real architecture with seeded random weights and the embedded model's vocabulary size."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        GPT2Config,
        LlamaConfig,
        PreTrainedConfig,
        Qwen3Config,
        Qwen3MoeConfig,
    )

    sizes = {
        "vocab_size": 4096,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": 4093,
        "pad_token_id": 4090,
    }
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    configs: dict[str, PreTrainedConfig] = {
        "qwen3": Qwen3Config(**sizes, head_dim=8, tie_word_embeddings=True),
        "llama": LlamaConfig(**sizes),
        "gpt2": GPT2Config(vocab_size=4096, n_embd=32, n_layer=2, n_head=4, n_positions=512, resid_pdrop=0.0,
                           embd_pdrop=0.0, attn_pdrop=0.0),
        "qwen3-moe": Qwen3MoeConfig(**sizes, head_dim=8, **experts),
    }  # fmt: skip
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(configs[architecture], attn_implementation="eager").eval()
