"""`graft export` from a trained run to folders that other programs load."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.trained_runs import BRANCH, trained_run
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from graft.cli.main import main
from graft.config.loading import Resolved
from graft.data.chat import render_prompt
from graft.errors import ConfigError, ModelError
from graft.export.agreement import greedy_rows, read
from graft.models.loading import load_tokenizer
from graft.pipeline.progress import SilentProgress
from graft.pipeline.train.weights import load_branch
from graft.runs.directory import RunDirectory
from graft.workbench.export.command import export


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_recipe: Callable[..., Resolved]) -> RunDirectory:
    """A run whose adapters changed the model; it thinks off, and samples with a temperature."""
    settings = {"adapter__kind": "lora", "adapter__r": 4, "study__arms": ["base", "trained"]}
    drawn = {"sampling__temperature": 0.7, "sampling__top_k": 20}
    return trained_run(small_recipe(tmp_path_factory.mktemp("runs"), **settings, **drawn))


def exported(run: RunDirectory, out: Path, target: str = "merged", **options: Any) -> dict[str, Any]:
    return export(run, target, out=out, progress=SilentProgress(), **options)


def test_a_merged_model_loads_in_transformers_alone_and_replies_as_the_branch(
    trained: RunDirectory, tmp_path: Path
) -> None:
    from graft.config.loading import load_recipe

    record = exported(trained, tmp_path / "out")
    recipe = load_recipe(trained.recipe).recipe
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    branch = load_branch(trained, recipe, BRANCH)
    text = render_prompt(tokenizer, "Spell the word apple.")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Spell the word apple."}], tokenize=False, add_generation_prompt=True
    )
    assert asked == text and "<think>\n\n</think>" in asked
    rows = greedy_rows(branch, tokenizer, [tokenizer(text)["input_ids"]])
    ids = torch.tensor([rows[0].prompt])
    written = model.generate(ids, do_sample=False, max_new_tokens=24)[0, ids.shape[1] :]
    assert tuple(written.tolist()) == rows[0].completion
    assert torch.allclose(read(model, rows).logits[0], read(branch, rows).logits[0], atol=1e-4)
    generation = model.generation_config
    assert (generation.do_sample, generation.temperature, generation.top_k) == (True, 0.7, 20)
    assert tokenizer.eos_token_id in generation.eos_token_id
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert record["agreement"]["same_replies"] == record["agreement"]["prompts"] == 4
    assert not (tmp_path / "out" / "COMPLETE").exists()
    stored = json.loads((trained.path / "exports" / "trained-seed0-merged-float32.json").read_text())
    assert stored == json.loads((tmp_path / "out" / "export.json").read_text()) == record


def test_an_adapter_loads_in_peft_alone_with_identical_logits(trained: RunDirectory, tmp_path: Path) -> None:
    from peft import PeftModel

    from graft.config.loading import load_recipe

    exported(trained, tmp_path / "out", "adapter")
    recipe = load_recipe(trained.recipe).recipe
    base = AutoModelForCausalLM.from_pretrained(recipe.model.id, dtype="float32", attn_implementation="eager").eval()
    model = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    branch = load_branch(trained, recipe, BRANCH)
    rows = greedy_rows(branch, AutoTokenizer.from_pretrained(tmp_path / "out"), [(11, 12, 13)])
    assert torch.equal(read(model, rows).logits[0], read(branch, rows).logits[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arm": "base"}, r"--arm is base, the untouched model.*Known: trained-seed0"),
        ({"arm": "trained-seed1"}, r"--arm is 'trained-seed1', but the run has no such arm"),
        ({"target": "adapter", "dtype": "float16"}, r"--dtype is float16, but an adapter stays in float32"),
        ({"target": "gguf", "dtype": "float16"}, r"--dtype is float16, but --quantize says the types of a GGUF"),
        (
            {"target": "merged", "quantize": ["q8_0"]},
            r"--quantize is q8_0, but only --to gguf and ollama have such types",
        ),
        ({"target": "ollama", "quantize": ["q8_0", "f16"]}, r"a model of Ollama is one file; name one type"),
        ({"target": "gguf", "create": "mine"}, r"--create is mine, but only --to ollama makes a model for Ollama"),
        ({"target": "gguf", "quantize": ["q3_k_m"]}, r"cannot be made here.*llama-quantize model-f16.gguf"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_exported_is_refused_before_anything_is_loaded(
    options: dict[str, Any], words: str, trained: RunDirectory, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        exported(trained, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_inside_the_run_and_a_full_one_are_refused_and_force_replaces(
    trained: RunDirectory, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="inside the run"):
        exported(trained, trained.path / "export")
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.safetensors").write_text("old")
    with pytest.raises(ConfigError, match=r"which is not empty; name another folder, or replace it with --force"):
        exported(trained, out)
    assert (out / "old.safetensors").read_text() == "old"
    assert main(["export", str(trained.path), "--out", str(out), "--force", "--dtype", "bfloat16", "--json"]) == 0
    assert not (out / "old.safetensors").exists()
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_no_room_is_told_before_the_model_is_loaded(
    trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft.errors import StorageError
    from graft.runs import space
    from graft.workbench.export import forms

    monkeypatch.setattr(space, "free_bytes", lambda path: 1000)
    monkeypatch.setattr(forms, "load_branch", lambda *args: pytest.fail("the model was loaded"))
    with pytest.raises(StorageError, match=r"the model in float32 needs .* but 1\.0 kB are free"):
        exported(trained, tmp_path / "out")


def test_a_model_too_far_from_its_branch_is_an_error_that_keeps_the_files(
    trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graft.models import merge

    monkeypatch.setattr(merge, "_merge_layer", lambda layer, dtype: None)  # the adapter is forgotten
    with pytest.raises(ModelError, match=r"nats per token from the branch.*The files are in .*out\.refused"):
        exported(trained, tmp_path / "out")
    assert (tmp_path / "out.refused" / "model.safetensors").is_file()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"adapter__kind": "none"},
        {"style__tokens": ["<STYLE_TERSE>", "<STYLE_VERBOSE>"], "data__train": "style"},
        {"generation__restrict_to": "english"},
        {"model__system": 'Answer like a pirate\'s "parrot".\nBe brief.'},
    ],
    ids=["every-weight", "control-tokens", "restricted", "system-turn"],
)
def test_other_branches_merge_too_and_their_template_writes_what_was_measured(
    settings: dict[str, Any], small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    from graft.data.chat import ChatPolicy

    settings = {"adapter__kind": "lora", "adapter__r": 4, "study__arms": ["base", "trained"], **settings}
    resolved = small_recipe(tmp_path / "runs", **settings)
    run = trained_run(resolved)
    record = exported(run, tmp_path / "out")
    assert record["agreement"]["same_replies"] == 4
    assert any("restricted to english" in note for note in record["notes"]) == ("generation__restrict_to" in settings)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    turns = [{"role": "user", "content": "Spell the word apple."}]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    measured = ChatPolicy(system=resolved.recipe.model.system)
    assert asked == render_prompt(load_tokenizer("sprout"), "Spell the word apple.", measured)


def test_the_plain_prompt_of_a_model_without_a_template_becomes_its_template(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    from graft.data.chat import ChatPolicy, render_chat
    from graft.export.template import pinned
    from graft.types import Message

    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    policy = ChatPolicy(system="It's a \\ test.", template="Q: {prompt}\nA's:\n")
    turns = [Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
    right = render_chat(bare, turns, policy)
    with pinned(bare, policy) as told:
        found = told.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in turns], tokenize=False, add_generation_prompt=True
        )
    assert found == right and bare.chat_template is None


@pytest.mark.slow
def test_a_branch_on_four_bits_is_merged_into_the_whole_base(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quant")
    settings = {"adapter__kind": "lora", "adapter__r": 4, "study__arms": ["base", "trained"], "model__quantize": "nf4"}
    resolved = small_recipe(tmp_path / "runs", **settings)
    run = trained_run(resolved, spread=0.01)
    record = exported(run, tmp_path / "out")
    assert "the branch computed on weights of few bits, this does not" in record["notes"][0]
    base = AutoModelForCausalLM.from_pretrained(resolved.recipe.model.id, dtype="float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="float32")
    name = "model.layers.0.mlp.up_proj.weight"
    change = (merged.get_parameter(name) - base.get_parameter(name)).detach()
    singular = torch.linalg.svdvals(change)
    assert singular[0] > 0 and singular[4] < 1e-4 * singular[0], "more than the adapter of rank 4 has changed"


@pytest.mark.parametrize("quantize", [("f32",), pytest.param(("f16", "q8_0", "q4_k_m"), marks=pytest.mark.slow)])
def test_gguf_files_are_certified_by_a_real_llama_cpp(
    quantize: tuple[str, ...], trained: RunDirectory, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra export")
    record = exported(trained, tmp_path / "out", "gguf", quantize=quantize)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["README.md", "export.json", *(f"{trained_name(trained)}-{name}.gguf" for name in quantize)]
    )
    for one in record["files"].values():
        found = one["certificate"]
        assert all(found[part][0] == found[part][1] for part in ("tokens", "templates", "ends"))
    assert quantize != ("f32",) or record["files"]["f32"]["certificate"]["replies"] == (4, 4)
    stored = json.loads((trained.path / "exports" / f"trained-seed0-gguf-{'-'.join(quantize)}.json").read_text())
    assert stored["files"].keys() == set(quantize)


def trained_name(run: RunDirectory) -> str:
    from graft.config.loading import load_recipe

    return f"{Path(load_recipe(run.recipe).recipe.model.id).name}-trained-seed0"


def test_records_are_compared_item_by_item() -> None:
    from graft.workbench.export.rescore import compare_records

    def record(index: int, right: bool, reply: str, **more: Any) -> dict[str, Any]:
        return {"id": f"i{index}", "split": "eval", "word": f"w{index}", "lenient": right, "reply": reply, **more}

    before = [record(index, index < 60, "a") for index in range(100)]
    after = [record(index, 5 <= index < 62, "a" if index >= 10 else "b") for index in range(100)]
    extra = [record(100, True, "a", undefined="no answer"), {**record(101, True, "a"), "split": "seen"}]
    found = compare_records([*before, *extra], [*after, *extra], "lenient")
    assert found is not None
    assert (found["n"], found["branch"], found["exported"]) == (100, 0.6, 0.57)
    assert found["change"]["estimate"] == pytest.approx(-0.03)
    assert found["change"]["low"] < -0.03 < found["change"]["high"]
    assert found["same_replies"] == 0.9
    assert compare_records(before, extra, "lenient") is None
    assert found["smallest_loss"] == pytest.approx(0.0767, abs=1e-4)  # 10√δ = 1.96 + 0.84√(1−δ)


@pytest.mark.slow
def test_exported_files_are_scored_on_the_run_s_items_and_told_in_its_report(
    small_recipe: Callable[..., Resolved], tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra export")
    from graft.pipeline.run import evaluate

    settings = {"adapter__kind": "lora", "adapter__r": 4, "model__id": "sprout", "study__arms": ["base", "trained"]}
    resolved = small_recipe(tmp_path / "runs", **settings)
    run = trained_run(resolved, spread=0.01)
    with pytest.raises(ConfigError, match="--score compares with the scores of trained-seed0, which it has not; first"):
        exported(run, tmp_path / "merged", score=True)
    evaluate(str(run.path), resolved, progress=SilentProgress())
    record = exported(run, tmp_path / "gguf", "gguf", quantize=("f32", "q4_k_m"))
    merged = exported(run, tmp_path / "merged", dtype="float32", score=True)
    for name, scores in (("f32", record["files"]["f32"]["scores"]), ("merged", merged["scores"])):
        assert (scores["tokens_per_second"] > 0) == (name == "f32")
        for task, found in scores["tasks"].items():
            assert (found["n"], found["same_replies"], found["change"]["estimate"]) == (60, 1.0, 0.0), (name, task)
    assert record["files"]["q4_k_m"]["scores"]["tokens_per_second"] > 0
    assert (run.path / "exports" / "trained-seed0-gguf-q4_k_m.spelling.jsonl").is_file()
    page = run.report.read_text(encoding="utf-8")
    assert "What leaves the lab" in page and "trained-seed0, gguf q4_k_m" in page and "Size against accuracy" in page


def test_the_model_card_has_valid_front_matter_and_no_place_of_this_machine(
    trained: RunDirectory, tmp_path: Path
) -> None:
    from huggingface_hub import ModelCard

    exported(trained, tmp_path / "out", "adapter")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    front = {"library_name": "peft", "pipeline_tag": "text-generation", "tags": ["graft", "adapter"]}
    assert card.data.to_dict() == front
    assert "trained on spelling with Graft" in card.text and "Licence:" in card.text
    assert "This branch was not scored." in card.text and "learning_rate: 0.003" in card.text
    assert str(trained.path.parent) not in card.text and str(tmp_path) not in card.text
    assert "# " not in card.text.split("```yaml")[1].split("```")[0]
