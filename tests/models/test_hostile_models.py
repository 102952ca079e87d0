"""Model folders that are made to hang, to fill memory or to mislead: refused by name, soon, before weights load."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from graft.data.chat import RENDER_SECONDS, ChatPolicy, check_policy, with_date
from graft.errors import ModelError
from graft.models import source
from graft.models.boundary import read_limits
from graft.models.facts import model_facts
from graft.models.loading import load_model, load_tokenizer
from graft.models.source import check_weights, locate

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, toy_folder: Path) -> Path:
    return Path(shutil.copytree(toy_folder, tmp_path / "model"))


def change(folder: Path, name: str = "config.json", **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def index(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors.index.json").write_text(text) and None


def sparse_header(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.write((30 * 10**9).to_bytes(8, "little"))
        file.truncate(8 + 30 * 10**9)


def pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (index("["), "index.json is damaged"),
        (index("[]"), "index.json is damaged"),
        (index("{}"), "index.json is damaged"),
        (index('{"weight_map": 3}'), "index.json is damaged"),
        (index('{"weight_map": {"a": [1]}}'), "lacks"),
        (index('{"weight_map": {"a": "../../etc/passwd"}}'), "no file of its folder"),
        (index("[" * 100_000), "index.json is damaged"),
        (sparse_header, "its header cannot be read"),
        (pipe, "is no file, but a pipe or device"),
    ],
)
def test_files_that_are_not_what_they_seem_are_refused_by_name(
    folder: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(folder)
    began = time.process_time()
    with pytest.raises(ModelError, match=said) as caught:
        check_weights(Path(locate(str(folder)).place), allow_pickle=False)
    assert len(str(caught.value)) < 2000 and time.process_time() - began < 5


@pytest.mark.parametrize("ends", ["x", -1, 1.5, [1, "x"], [[1]], {"a": 1}, 10**30, True])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_an_end_that_is_no_token_is_named(folder: Path, name: str, ends: object) -> None:
    change(folder, name, eos_token_id=ends)
    with pytest.raises(ModelError, match=r"eos_token_id of .* must be the number of a token"):
        read_limits(str(folder))


@pytest.mark.parametrize(
    "values",
    [{"num_hidden_layers": 10**8}, {"model_type": "mixtral", "num_local_experts": 10**8}, {"n_layer": 10**12}],
)
def test_more_layers_than_any_model_has_are_not_laid_out(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    with pytest.raises(ModelError, match=r"says \w+: [0-9,]+, which no model has"):
        model_facts(str(folder))


@pytest.mark.parametrize(
    "values",
    [{"architectures": 5}, {"rope_scaling": 3}, {"rope_parameters": {"factor": 1e308}}, {"vocab_size": "many"},
     {"max_position_embeddings": [1]}, {"text_config": {"num_hidden_layers": None}}],
)  # fmt: skip
def test_a_config_of_wrong_kinds_ends_in_one_message(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    for look in (read_limits, model_facts, load_tokenizer):
        try:
            look(str(folder))
        except ModelError as error:
            assert len(str(error)) < 2000


def test_a_setting_of_the_tokenizer_of_the_wrong_kind_ends_in_one_message(folder: Path) -> None:
    change(folder, "tokenizer_config.json", model_max_length={"x": 1})
    with pytest.raises(ModelError, match="cannot load the tokenizer of"):
        load_tokenizer(str(folder))


def test_files_of_absurd_size_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(30 * 10**9)
    with pytest.raises(ModelError, match=r"tokenizer\.json has 30,000,000,000 bytes"):
        locate(str(folder))
    (folder / "tokenizer.json").unlink()
    monkeypatch.setattr(source, "MOST_JSON", 10_000)
    (folder / "added.json.gz").write_bytes(gzip.compress(bytes(1_000_000)))
    with pytest.raises(ModelError, match=r"added\.json\.gz unpacks to more than 10,000"):
        locate(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(folder: Path, value: float) -> None:
    weights = load_file(folder / WEIGHTS)
    name = sorted(weights)[-1]
    weights[name].view(-1)[0] = value
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(ModelError, match=rf"hold NaN or infinity in 1 tensors \({name}\)"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize("endless", ["{{ a }}", "{% for b in range(99999) %}{% endfor %}"])
def test_a_template_without_end_is_stopped(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, endless: str) -> None:
    monkeypatch.setattr("graft.data.chat.RENDER_SECONDS", 0.5)
    template = f"{{% for a in range(99999) %}}{{% for c in range(99999) %}}{endless}{{% endfor %}}{{% endfor %}}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"chat template of .* did not end within 0\.5 s"):
        check_policy(tokenizer, ChatPolicy())
    assert time.monotonic() - began < RENDER_SECONDS + 5


def test_a_template_that_throws_dice_is_refused(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{{ messages[0]['content'] }}{{ range(9) | random }}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(ModelError, match="something else each time"):
        with_date(tokenizer, ChatPolicy())


def test_weights_of_a_sound_model_pass(folder: Path) -> None:
    check_weights(folder, allow_pickle=False)
    assert torch.isfinite(next(load_model(str(folder), device="cpu").parameters())).all()
