"""Every model has its borders certified before anything is trained, in the words that people read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import toy_model
from tests.data.chat_families import LLAMA31, family, t5
from transformers import AutoConfig, GenerationConfig, GPT2Tokenizer, PreTrainedTokenizerBase

from graft.config.loading import Resolved
from graft.errors import DataError
from graft.models.boundary import UNPROVEN, Limits, positions_of, read_limits, stop_at
from graft.models.loading import load_tokenizer
from graft.pipeline.branches import Branch
from graft.pipeline.prepare.boundary import run_date, stored_certificate
from graft.pipeline.prepare.check import check
from graft.pipeline.prepare.lab import prepare
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import run, train
from graft.pipeline.train.rows import training_rows
from graft.workbench.chat import open_partners

Build = Callable[..., Resolved]

ROWS = [{"prompt": f"Which comes first, elk or fox {n}?", "completion": "elk"} for n in range(40)]

SIZES = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
DEEP = {"n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "q_lora_rank": 16,
        "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}  # fmt: skip

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "phi3": ("phi3", "phi3", {**SIZES, "pad_token_id": 0}),
    "gemma3": ("gemma3_text", "gemma", {**SIZES, "head_dim": 8}),
    "llama3-base": ("llama", "llama3-base", SIZES),
    "llama3": ("llama", "llama3", SIZES),
    "mamba": ("mamba", "llama3-base", {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2}),
    "deepseek-v3": ("deepseek_v3", "llama3", {**SIZES, **EXPERTS, **DEEP, "first_k_dense_replace": 1}),
    "qwen3-moe": ("qwen3_moe", "qwen-base", {**SIZES, **EXPERTS, "head_dim": 8, "num_experts": 4}),
    "t5": ("t5", "t5", {"vocab_size": 300, "d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}),
}
"""By model: its architecture, its tokenizer, and the sizes of its config."""

FOUND = {
    "phi3": ("nothing before", "'<|user|>'", "'<|end|>\\n'", "'<|end|>'", "the conversation as the template", "256"),
    "gemma3": ("'<bos>'", "'<bos>'", "'<end_of_turn>\\n'", "'<end_of_turn>'", "the conversation as", "256"),
    "llama3-base": ("'<|begin_of_text|>'", "'<|begin_of_text|>'", None, "'<|end_of_text|>'", "what generation", "256"),
    "llama3": ("'<|begin_of_text|>'", "'<|begin_of_text|>'", "'<|eot_id|>'", "'<|eot_id|>'", "the conversation", "256"),
    "mamba": ("'<|begin_of_text|>'", "'<|begin_of_text|>'", None, "'<|end_of_text|>'", "what generation", None),
    "deepseek-v3": ("'<|begin_of_text|>'", "'<|begin_of_text|>'", "'<|eot_id|>'", "'<|eot_id|>'", "the conv", "256"),
    "qwen3-moe": ("nothing before", "'<|im_start|>'", "'<|im_end|>\\n'", "'<|im_end|>'", "the conversation", "256"),
    "t5": ("nothing before", "'▁", None, "'</s>'", "what generation continues", None),
    "sprout": ("nothing before", "'<|im_start|>'", "'<|im_end|>\\n'", "'<|im_end|>'", "the conversation as", "512"),
    "qwen3": ("nothing before", "'<|im_start|>'", "'<|im_end|>\\n'", "'<|im_end|>'", "the conversation as", "40,960"),
    "gpt2": ("nothing before", "'Question'", None, "'<|endoftext|>'", "what generation continues", "128"),
    "stories260k": ("'<s>'", "'<s>'", None, "'</s>'", "what generation continues", "512"),
}
"""By model what begins a text and a prompt, what is written and trained after an answer, the row, the positions."""


def model_folder(folder: Path, name: str) -> Path:
    """The JSON files and the tokenizer of a model; nothing here needs weights."""
    data = os.environ.get("GRAFT_TEST_DATA")
    if name in ("qwen3", "gpt2", "stories260k") and data is None:
        pytest.skip("GRAFT_TEST_DATA names no folder with real tokenizers")
    if name in ("qwen3", "stories260k"):
        return Path(str(data)) / {"qwen3": "qwen3_tokenizer"}.get(name, name)
    if name == "gpt2":
        shutil.copy(Path(str(data)) / "gpt2_tokenizer" / "encoder.json", folder / "vocab.json")
        shutil.copy(Path(str(data)) / "gpt2_tokenizer" / "vocab.bpe", folder / "merges.txt")
        AutoConfig.for_model("gpt2", n_embd=16, n_layer=2, n_head=2, n_positions=128).save_pretrained(folder)
        GPT2Tokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")).save_pretrained(folder)
        return folder
    architecture, kind, sizes = MODELS[name]
    tokenizer = t5() if kind == "t5" else family(kind)
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    AutoConfig.for_model(architecture, **sizes | ends).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recipe(build: Build, folder: Path, model: str, rows: list[dict[str, Any]] = ROWS, **changes: Any) -> Resolved:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    task = {"name": "mine", "train": str(path), "eval": str(path)}
    settings = {
        "model__id": model, "data__train": "mine", "data__tasks": [task], "study__arms": ["base", "trained"],
        "eval__tasks": ["mine"], "eval__seen_items": 0, "check__max_leaked": 1.0, "study__seeds": [0],
    }  # fmt: skip
    return build(folder / "runs", **settings | changes)


@pytest.mark.parametrize("name", sorted(FOUND))
def test_the_certificate_says_what_is_tried(name: str, tmp_path: Path, small_recipe: Build) -> None:
    model = "sprout" if name == "sprout" else str(model_folder(tmp_path, name))
    result = check(recipe(small_recipe, tmp_path, model), progress=SilentProgress())
    lines = [line.removeprefix("boundary  ") for line in result.lines if line.startswith("boundary")]
    start, opening, after, end, row, positions = FOUND[name]
    text = "\n".join(lines)
    assert start in lines[0]
    assert lines[1].startswith(f"a prompt begins with {opening}")
    assert (f"after an answer the template writes {after}" if after else "no template ends an answer") in text
    assert f"trained as the end of an answer: {end} [" in text
    assert f"replies stop at {end} " in text
    assert f" tokens, are {row}" in text
    assert (f"at most {positions} positions" if positions else "no limit of positions") in text
    assert lines[-1] == f"decoding with and without a cache: {UNPROVEN}"
    assert "stays text" in text and "is refused" not in text
    assert result.to_json()["boundary"]["lines"] == lines
    assert "Where texts begin and answers end" in result.page.read_text(encoding="utf-8")


def test_a_run_stops_at_every_end_and_says_so_in_what_it_saves(tmp_path: Path, small_recipe: Build) -> None:
    folder = toy_phi(tmp_path)
    done = train(recipe(small_recipe, tmp_path, str(folder), train__max_steps=1), progress=SilentProgress()).run
    final = done.checkpoints / "trained-seed0" / "final"
    ends = json.loads((final / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    tokenizer = family("phi3")
    assert set(ends) == {tokenizer.convert_tokens_to_ids("<|end|>"), tokenizer.eos_token_id}
    stored = stored_certificate(done)
    assert stored["end"] == ["<|end|>"] and set(stored["stop_ids"]) == set(ends)
    assert stored["decoding"] == "the same for 8 tokens"
    assert json.loads((done.path / "preflight.json").read_text())["boundary"]["end_ids"] == stored["end_ids"]


def test_a_run_that_goes_on_another_day_keeps_its_own(
    tmp_path: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers.utils.chat_template_utils as templates

    folder = toy_phi(tmp_path, template=LLAMA31.replace("<|", "<||").replace("{{ bos_token }}", ""))
    asked = recipe(small_recipe, tmp_path, str(folder), train__max_steps=1)
    set_day(monkeypatch, templates, 27)
    begun = train(asked, progress=SilentProgress()).run
    assert run_date(begun) == "2026-11-27"
    set_day(monkeypatch, templates, 28)
    run(asked, progress=SilentProgress(), resume=begun)
    shown = (begun.path / "samples" / "base.mine.jsonl").read_text(encoding="utf-8")
    assert "27 Nov 2026" in shown and "28 Nov 2026" not in shown
    [partner] = open_partners(begun.name, (), begun.path.parent)
    assert partner.policy.date == "2026-11-27"
    saved = load_tokenizer(str(saved_model(begun.checkpoints / "trained-seed0" / "final", folder)))
    written = saved.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False)
    assert "Today Date: 27 Nov 2026" in written


def test_a_model_whose_cache_changes_its_replies_is_said_to_be_written_without_one(
    tmp_path: Path, small_recipe: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.phi3 import modeling_phi3

    folder, cached = toy_phi(tmp_path), modeling_phi3.apply_rotary_pos_emb

    def shifted(q: Any, k: Any, cos: Any, sin: Any, *others: Any) -> Any:
        alone = q.shape[-2] == 1  # one new token: what only decoding with a cache reads
        return cached(q, k, cos.roll(1, -1) if alone else cos, sin, *others)

    monkeypatch.setattr(modeling_phi3, "apply_rotary_pos_emb", shifted)
    done = train(recipe(small_recipe, tmp_path, str(folder), train__max_steps=1), progress=SilentProgress()).run
    assert stored_certificate(done)["decoding"] == "not the same, so replies are written without one"


def test_rows_beyond_the_models_positions_are_refused_with_both_numbers(tmp_path: Path, small_recipe: Build) -> None:
    model = str(model_folder(tmp_path, "llama3-base"))
    long = [{"prompt": "x" * 300, "completion": "elk"}, *ROWS]
    told = r"the longest training row of mine has 3\d\d tokens, but the model has 256 positions; set data.max_length"
    with pytest.raises(DataError, match=told):
        check(recipe(small_recipe, tmp_path, model, long), progress=SilentProgress())
    check(recipe(small_recipe, tmp_path, model, long, data__max_length=250), progress=SilentProgress())


def test_a_row_beyond_the_positions_that_the_preflight_has_not_seen_is_refused_by_name(
    tmp_path: Path, small_recipe: Build
) -> None:
    model = str(model_folder(tmp_path, "llama3-base"))
    long = [{"prompt": "x" * 300, "completion": "elk"}] * 20 + ROWS
    lab = prepare(recipe(small_recipe, tmp_path, model, long).recipe)
    with pytest.raises(DataError, match=r"example mine/\d+/0 has 3\d\d tokens, but the model has 256 positions"):
        training_rows(lab, Branch("trained", 0))


def test_replies_beyond_the_models_positions_are_refused_with_all_numbers(tmp_path: Path, small_recipe: Build) -> None:
    model = str(model_folder(tmp_path, "llama3-base"))
    told = r"the longest prompt of mine has \d\d tokens and sampling.max_new_tokens is 250, but the model has 256"
    with pytest.raises(DataError, match=told):
        check(recipe(small_recipe, tmp_path, model, sampling__max_new_tokens=250), progress=SilentProgress())


def test_training_prompts_that_the_base_answers_itself_leave_room_for_a_reply(
    tmp_path: Path, small_recipe: Build
) -> None:
    model = str(model_folder(tmp_path, "llama3-base"))
    paths = {"train": tmp_path / "train.jsonl", "eval": tmp_path / "eval.jsonl"}
    for part, rows in {"train": [{"prompt": "x" * 200, "completion": "elk"}, *ROWS], "eval": ROWS}.items():
        paths[part].write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    task = {"name": "mine"} | {part: str(path) for part, path in paths.items()}
    changes = {"data__tasks": [task], "sampling__max_new_tokens": 100}
    told = r"the longest prompt of mine in training has 2\d\d tokens and sampling.max_new_tokens is 100, but the model"
    with pytest.raises(DataError, match=told):
        check(recipe(small_recipe, tmp_path, model, study__arms=["base", "trained", "self"], **changes),
              progress=SilentProgress())  # fmt: skip
    check(recipe(small_recipe, tmp_path, model, study__arms=["base", "trained", "format"], **changes),
          progress=SilentProgress())  # fmt: skip


def test_limits_are_read_from_the_files_of_a_model(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, "phi3")
    eos = family("phi3").eos_token_id
    assert read_limits(str(folder)) == Limits("causal", (eos,), 256)
    GenerationConfig(eos_token_id=[eos, 7]).save_pretrained(folder)
    assert read_limits(str(folder)).stops == (eos, 7)


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"max_position_embeddings": 128}, 128),
        ({"n_positions": 64}, 64),
        ({"max_position_embeddings": 100, "rope_scaling": {"factor": 4.0}}, 400),
        ({"max_position_embeddings": 131072, "rope_parameters": {"rope_type": "llama3", "factor": 8.0,
          "original_max_position_embeddings": 8192}}, 131072),
        ({"max_position_embeddings": 512, "relative_attention_num_buckets": 32}, None),
        ({"model_type": "bloom", "seq_length": 2048}, None),
        ({"text_config": {"max_position_embeddings": 77}}, 77),
        ({}, None),
    ],
)  # fmt: skip
def test_positions_are_those_that_a_model_can_read(config: dict[str, Any], positions: int | None) -> None:
    assert positions_of(config) == positions


def test_a_model_stops_where_it_stopped_and_where_it_is_told() -> None:
    model = toy_model()
    before = model.generation_config.eos_token_id
    assert stop_at(model, (7, before)).generation_config.eos_token_id == [before, 7]


def toy_phi(folder: Path, template: str | None = None) -> Path:
    """A model with weights, whose template ends turns otherwise than its tokenizer ends texts."""
    import torch
    from transformers import AutoModelForCausalLM

    place = folder / "model"
    place.mkdir()
    model_folder(place, "phi3")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(place)).save_pretrained(place)
    tokenizer: PreTrainedTokenizerBase = load_tokenizer(str(place))
    if template is not None:
        tokenizer.chat_template = template
        tokenizer.save_pretrained(place)
    return place


def saved_model(final: Path, base: Path) -> Path:
    """An adapter's folder, made one that a tokenizer is loaded from."""
    shutil.copy(base / "config.json", final / "config.json")
    return final


def set_day(monkeypatch: pytest.MonkeyPatch, templates: Any, day: int) -> None:
    import datetime

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime(2026, 11, day, 12)

    monkeypatch.setattr(templates, "datetime", Clock)
