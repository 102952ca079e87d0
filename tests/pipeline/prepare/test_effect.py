"""Whatever is set has an effect or is refused, for every setting of the schema."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import graft
from graft.config.keys import Setting, settings, value_at
from graft.config.loading import Resolved, load_recipe
from graft.config.naming import run_name
from graft.config.schema import Recipe
from graft.errors import ConfigError
from graft.pipeline.branches import branches, target_tasks
from graft.pipeline.prepare.effect import RULES, Use, effective
from graft.pipeline.prepare.plan import make_plan
from graft.pipeline.prepare.thinking import used_sampling

NO_EFFECT: list[tuple[list[str], str]] = [
    (["adapter.kind=none", "adapter.r=8"], "adapter.r is 8 (command line), but adapter.kind is none"),
    (["adapter.kind=none", "adapter.r=16"], "adapter.r is 16 (command line), but adapter.kind is none"),
    (["study.arms=[base]", "train.max_steps=5"], "train.max_steps is 5 (command line), but study.arms is base"),
    (["train.max_steps=5", "train.epochs=3"], "train.epochs is 3.0 (command line), but train.max_steps is 5"),
    (["train.max_steps=5", "train.warmup_steps=5"], "train.warmup_steps is 5 (command line), but train.max_steps is 5"),
    (["train.warmup_share=0.1", "train.schedule=constant"], "set train.schedule=constant_with_warmup"),
    (["train.warmup_share=0.1", "train.warmup_steps=2"], "but train.warmup_steps is 2"),
    (["train.keep_last=3", "train.save_minutes=null"], "set one of them"),
    (["train.eval_max_batches=3"], "set train.eval_steps"),
    (["stopping.min_delta=0.1"], "set stopping.patience"),
    (["grpo.group_size=4"], "but mode is sft"),
    (["mode=grpo", "study.arms=[base,trained]", "engine.compile=on"], "but mode is grpo"),
    (["engine.name=trl", "engine.layout=packed"], "but engine.name is trl"),
    (["engine.name=unsloth", "adapter.dora=true"], "but engine.name is unsloth"),
    (["engine.name=unsloth", "engine.self_check=off"], "no other forward pass to compare with"),
    (["style.held_out=0.2"], "set style.tokens"),
    (["words.pool=base", "words.source=tokenizer"], "set words.source=package"),
    (["data.train=glue/sst2", "words.train=100"], "words.train is 100 (command line), but no word task"),
    (["data.train=[{task: glue/sst2, words: 10}]"], "glue/sst2 asks about no words"),
    (["data.corpus=[x.txt]"], "add prose to data.train or eval.tasks"),
    (["data.prompt_style=field"], "no scored task is one that the field asks in one way; score one (mmlu, mmlu-pro"),
    (["eval.labels=mean"], "no task with labels"),
    (["eval.allow_code_execution=true"], "no task here is answered with code"),
    (["eval.thinking_samples=5"], "set thinking=on"),
    (["sampling.top_p=0.9"], "set sampling.temperature"),
    (["sampling.seed=1"], "set sampling.temperature"),
    (["sampling.preset=qwen3-thinking", "sampling.temperature=0"], "sampling.temperature is 0"),
    (["remote.retries=1"], "set model.backend=openai"),
    (["model.backend=ollama", "study.arms=[base]", "model.dtype=float32"], "but model.backend is ollama"),
    (["model.revision=main"], "model.id is sprout"),
    (["model.init=random", "model.allow_pickle=true"], "no weights are loaded"),
    (["study.control=self", "study.arms=[base,trained,format]"], "which lacks it"),
    (["study.arms=[base]", "study.margin=3"], "nothing to compare it with"),
    (["study.resamples=2000"], "leave it out"),
    (
        ["mode=pretrain", "data.train=prose", "data.corpus=[x.txt]", "sampling.max_new_tokens=9"],
        "only plain text is trained and scored",
    ),
]


@pytest.mark.parametrize(("typed", "said"), NO_EFFECT, ids=[" ".join(typed) for typed, _ in NO_EFFECT])
def test_a_setting_without_effect_is_refused_with_the_way_out(typed: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        effective(load_recipe(None, typed))
    assert said in str(error.value)


@pytest.mark.parametrize("typed", [["engine.name=trl"], ["mode=grpo", "study.arms=[base,trained]"]])
def test_the_self_check_can_be_turned_off_wherever_there_is_one(typed: list[str]) -> None:
    assert effective(load_recipe(None, [*typed, "engine.self_check=off"])).recipe.engine.self_check == "off"


@pytest.mark.parametrize("rule", RULES, ids=[f"{rule.keys[:30]}|{rule.decides[:30]}" for rule in RULES])
def test_every_rule_names_settings_that_exist(rule: Any) -> None:
    assert rule.settings()
    assert set(rule.decides.split()) <= settings().keys()


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_refused_at_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "adapter:\n  kind: none\n  r: 8\n")
    with pytest.raises(ConfigError, match=r"adapter\.r is 8 \(.*mine\.yaml:3\), but adapter\.kind is none"):
        effective(load_recipe(path))


def test_the_command_line_overrules_a_file_and_the_recipe_says_what_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "adapter: {r: 8}\ntrain: {epochs: 3, warmup_steps: 10}\n")
    found = effective(load_recipe(path, ["adapter.kind=none", "train.max_steps=6"])).recipe
    assert (found.adapter.r, found.train.epochs, found.train.warmup_steps) == (16, 1.0, 3)


def test_the_copy_of_a_recipe_with_every_default_in_it_is_accepted(tmp_path: Path) -> None:
    from graft.config.writing import to_yaml

    first = effective(load_recipe(None, ["adapter.kind=none", "train.max_steps=6"]))
    again = effective(load_recipe(write(tmp_path, to_yaml(first))))
    assert again.recipe == first.recipe


def test_a_command_that_reads_less_refuses_the_rest_where_it_was_typed(tmp_path: Path) -> None:
    use = Use("graft eval", "eval model -model.id", "leave it out")
    path = write(tmp_path, "train: {max_steps: 6}\n")
    assert effective(load_recipe(path, ["eval.items=3"]), use).recipe.eval.items == 3
    with pytest.raises(ConfigError, match=r"train\.max_steps is 7 .* graft eval does not read it; leave it out"):
        effective(load_recipe(path, ["train.max_steps=7"]), use)
    with pytest.raises(ConfigError, match=r"model\.id is x"):
        effective(load_recipe(path, ["model.id=x"]), use)


def test_a_task_of_ones_own_that_nothing_names_is_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\na,x\nb,y\n", encoding="utf-8")
    own = f"[{{name: mine, train: {rows}, prompt: '{{text}}', label: label}}]"
    with pytest.raises(ConfigError, match="neither trained nor scored"):
        effective(load_recipe(write(tmp_path, f"data:\n  tasks: {own}\n")))
    held = own.replace("label: label", f"label: label, eval: {rows}, held_out: 0.3")
    with pytest.raises(ConfigError, match=r"held_out is 0\.3, but eval names"):
        effective(load_recipe(write(tmp_path, f"data:\n  train: mine\n  tasks: {held}\n")))


SHIPPED = sorted(Path("recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_every_shipped_recipe_sets_nothing_in_vain(path: Path) -> None:
    assert isinstance(effective(load_recipe(path)), Resolved)


CHANGED = {
    "name": "mine", "data.train": "echo", "data.tasks": "[{name: mine, train: x.csv}]", "eval.tasks": "[count]",
    "eval.roles": "{count: collateral}", "model.template": "'Q: {prompt}'", "adapter.targets": "[q_proj]",
    "sampling.min_p": "0.1",
    "words.source": "tokenizer", "words.pool": "base", "runs": "elsewhere", "study.arms": "[base,trained]",
    "study.seeds": "[7]", "train.optimizer": "sgd", "train.optimizer_args": "{beta1: 0.8}", "train.schedule": "cosine",
    "train.schedule_args": "{num_cycles: 2}", "train.learning_rate": "1e-3", "train.max_steps": "40",
    "model.id": "other",
    "train.warmup_steps": "2", "train.epochs": "2", "stopping.metric": "exact", "stopping.criterion": "json:dumps",
    "sampling.temperature": "0.5", "sampling.top_p": "0.5", "model.quantize": "nf4", "model.backend": "ollama",
    "study.control": "format", "engine.token_budget": "99", "study.resamples": "2000", "train.keep_best": "true",
}  # fmt: skip
"""Another value, where the type gives none."""

_DRAWN = ["sampling.temperature=0.7"]
_WATCHED = ["train.eval_steps=5", "stopping.patience=3"]
BESIDE = {
    "sampling.top_p": _DRAWN, "sampling.top_k": _DRAWN, "sampling.min_p": _DRAWN, "sampling.seed": _DRAWN,
    "data.prompt_style": ["eval.tasks=[glue/cola]"],
    "stopping": _WATCHED, "stopping.patience": ["train.eval_steps=5"], "train.keep_last": ["train.save_steps=5"],
    "train.keep_best": ["train.eval_steps=5"], "train.eval_max_batches": ["train.eval_steps=5"],
    "train.warmup_steps": ["train.max_steps=20"], "train.schedule_args": ["train.schedule=cosine"],
    "grpo": ["mode=grpo", "study.arms=[base,trained]"], "remote": ["model.backend=ollama", "study.arms=[base]"],
    "model.url": ["model.backend=ollama", "study.arms=[base]"], "model.backend": ["study.arms=[base]"],
    "model.tokenizer": ["model.backend=ollama", "study.arms=[base]"], "model.revision": ["model.id=a/b"],
    "eval.labels": ["eval.tasks=[glue/sst2]"], "eval.calibration_items": ["eval.tasks=[glue/sst2]"],
    "eval.allow_code_execution": ["eval.tasks=[bigcodebench]"],
    "eval.weak_sandbox": ["eval.tasks=[bigcodebench]", "eval.allow_code_execution=true"],
    "eval.thinking_samples": ["thinking=on"],
    "eval.thinking_max_new_tokens": ["thinking=on"], "study.resamples": ["eval.tasks=[glue/sst2]"],
    "style.held_out": ["style.tokens=[<STYLE_A>,<STYLE_B>]", "style.data=x.jsonl"],
    "style.data": ["style.tokens=[<STYLE_A>,<STYLE_B>]"], "data.corpus": ["data.train=prose"],
    "study.control": ["study.arms=[base,trained,format,self]"],
}  # fmt: skip
"""What must stand beside a setting or a section for it to count."""


def changed(setting: Setting) -> str:
    """A value that is not the default."""
    if setting.key in CHANGED:
        return CHANGED[setting.key]
    if setting.choices:
        return next(choice for choice in setting.choices if choice != str(setting.default))
    if isinstance(setting.default, bool):
        return str(not setting.default).lower()
    if isinstance(setting.default, float):
        return f"{setting.default / 2 or 0.25}"
    if setting.takes_list or setting.takes_text:
        return "[x.txt]" if setting.takes_list else "text"
    return f"{(setting.default or 3) + 4}"


def behaviour(recipe: Recipe) -> tuple[object, ...]:
    """What is decided of a run before anything is loaded."""
    lab: Any = SimpleNamespace(recipe=recipe, per_step=recipe.train.batch_size * recipe.train.gradient_accumulation)
    found = branches(recipe)
    plan = make_plan(lab, found[-1], steps=recipe.train.max_steps or round(100 * recipe.train.epochs))
    sampling = [used_sampling(recipe, thinks=thinks) for thinks in (False, True)]
    study = recipe.study
    return (
        found,
        plan,
        sampling,
        study.controls,
        study.claims,
        run_name(recipe, datetime(2026, 1, 1)),
        target_tasks(recipe),
    )


READ = "\n".join(
    path.read_text(encoding="utf-8")
    for path in sorted(Path(graft.__file__).parent.rglob("*.py"))
    if path.parent.name != "config"
)


@pytest.mark.parametrize("setting", settings().values(), ids=list(settings()))
def test_every_setting_changes_what_is_done_or_is_read_where_it_counts(setting: Setting) -> None:
    section = setting.key.rpartition(".")[0]
    if setting.key == "data.tasks":
        return  # a task must be named too: see the tests above
    pairs = BESIDE.get(setting.key, BESIDE.get(section, []))
    beside = [pair for pair in pairs if not pair.startswith(f"{setting.key}=")]
    before = effective(load_recipe(None, beside)).recipe
    after = effective(load_recipe(None, [*beside, f"{setting.key}={changed(setting)}"])).recipe
    assert value_at(before, setting.key) != value_at(after, setting.key)
    if behaviour(before) == behaviour(after):  # it decides something later
        assert re.search(rf"\b(recipe|section|{section or 'recipe'})\.{setting.name}\b", READ), "nothing reads it"
