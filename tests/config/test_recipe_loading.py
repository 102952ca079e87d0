"""Recipes from files, flags and overrides: precedence, types, origins, and what is said about mistakes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from graft.config.keys import value_at
from graft.config.loading import load_recipe
from graft.config.schema import Recipe
from graft.errors import ConfigError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()


def recipe(text: str, name: str = "recipes/x.yaml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def complaint(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "train:\n", "train:\n  # max_steps: 5\ndata: ~\n"])
def test_a_file_that_sets_nothing_is_all_defaults(text: str) -> None:
    resolved = load_recipe(recipe(text))
    assert resolved.recipe == Recipe()
    assert resolved.origins == {}


def test_each_source_wins_over_the_one_before() -> None:
    path = recipe("train:\n  batch_size: 2\n  epochs: 2\n  max_steps: 2\n")
    resolved = load_recipe(path, ["train.max_steps=4"], {"train.epochs": 3, "train.max_steps": 3})
    train = resolved.recipe.train
    assert (train.gradient_accumulation, train.batch_size, train.epochs, train.max_steps) == (1, 2, 3.0, 4)


def test_origins_name_the_line_or_the_command_line() -> None:
    path = recipe("name: first\n\ntrain:\n  batch_size: 2\n  epochs: 2\ndata:\n  train:\n    - {task: count}\n")
    origins = load_recipe(path, {"train.epochs": "3"}, {"model.id": "./m"}).origins
    assert origins == {
        "name": "recipes/x.yaml:1",
        "train.batch_size": "recipes/x.yaml:4",
        "train.epochs": "command line",
        "data.train": "recipes/x.yaml:7",
        "model.id": "command line",
    }


def test_a_value_that_comes_in_by_a_yaml_merge_has_the_line_of_its_section() -> None:
    origins = load_recipe(recipe("train:\n  <<: {epochs: 2}\n  batch_size: 4\n")).origins
    assert origins == {"train.epochs": "recipes/x.yaml:1", "train.batch_size": "recipes/x.yaml:3"}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.max_steps=20", "train.max_steps", 20),
        ("train.max_steps=null", "train.max_steps", None),
        ("train.learning_rate=1e-3", "train.learning_rate", 0.001),
        ("train.learning_rate=2", "train.learning_rate", 2.0),
        ("study.seeds=[0,1,2]", "study.seeds", (0, 1, 2)),
        ("study.seeds=0,1,2", "study.seeds", (0, 1, 2)),
        ("study.seeds=3", "study.seeds", (3,)),
        ("eval.tasks=count", "eval.tasks", ("count",)),
        ("eval.tasks=[count, 'position']", "eval.tasks", ("count", "position")),
        ("adapter.targets=all-linear", "adapter.targets", "all-linear"),
        ("adapter.targets=q_proj,v_proj", "adapter.targets", ("q_proj", "v_proj")),
        ("data.corpus=a.txt,b.txt", "data.corpus", (Path("a.txt"), Path("b.txt"))),
        ("name=2026", "name", "2026"),
        ("name=2026-01-01", "name", "2026-01-01"),
        ("name=2026-13-45", "name", "2026-13-45"),
        ("name=off", "name", "off"),
        ("name=true", "name", "true"),
        ("name=a: b", "name", "a: b"),
        ("name='7'", "name", "7"),
        ("name=a=b", "name", "a=b"),
        ("model.revision=1e5", "model.revision", "1e5"),
        ("words.source=./my words.txt", "words.source", "./my words.txt"),
        ("runs=2026", "runs", Path("2026")),
        ("adapter={r: 4, alpha: 8}", "adapter.r", 4),
    ],
)
def test_an_override_is_typed_by_its_setting(override: str, key: str, value: object) -> None:
    found = value_at(load_recipe(None, [override]).recipe, key)
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)


def test_a_bare_task_name_trains_that_task_alone() -> None:
    (source,) = load_recipe(None, ["data.train=count"]).recipe.data.train
    assert (source.task, source.rate) == ("count", 1.0)


def test_a_list_on_the_command_line_replaces_the_one_in_the_file() -> None:
    path = recipe("data:\n  train:\n    - {task: count, rate: 0.5}\n    - {task: length, rate: 0.5}\n")
    text = complaint(path, ["data.train=[{task: first, rate: 2}]"])
    assert text == "data.train[0].rate must be at most 1, but got 2 (command line)"


def test_off_stays_text_and_a_boolean_is_no_number() -> None:
    assert load_recipe(recipe("model:\n  revision: off\n")).recipe.model.revision == "off"
    text = complaint(recipe("train:\n  batch_size: true\n"))
    assert text == "train.batch_size must be a whole number, but got 'true' (recipes/x.yaml:2)"


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("train.max_step", "train.max_steps"),
        ("max_steps", "train.max_steps"),
        ("train.r", "adapter.r"),
        ("model.max_steps", "train.max_steps"),
        ("trian.max_steps", "train.max_steps"),
        ("trian.batch_size", "train.batch_size"),
        ("evals.batch_size", "eval.batch_size"),
        ("trian", "train"),
        ("Train", "train"),
        ("train.learningrate", "train.learning_rate"),
        ("learning-rate", "train.learning_rate"),
        ("lr", "train.learning_rate"),
        ("lora_alpha", "adapter.alpha"),
        ("adapter.rank", None),
        ("adaptor.dropout", "adapter.dropout"),
        ("task", "data.train"),
        ("seed", "words.seed"),
        ("train.seeds", "study.seeds"),
        ("model.name", "name"),
        ("xyzzy", None),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(unknown: str, meant: str | None) -> None:
    text = complaint(None, [f"{unknown}=1"])
    assert text.startswith(f"command line: unknown key {unknown}.")
    assert (f"Did you mean {meant}?" in text) if meant else ("Known " in text and "Did you mean" not in text)


def test_an_unknown_key_in_a_file_names_its_line() -> None:
    path = recipe("# a comment\n\nmodel:\n  id: sprout\ntrain:\n  epochs: 1\n  max_step: 20\n")
    assert complaint(path) == "recipes/x.yaml:7: unknown key train.max_step. Did you mean train.max_steps?"


def test_a_key_at_the_wrong_level_names_its_section() -> None:
    assert complaint(recipe("max_steps: 20\n")) == (
        "recipes/x.yaml:1: unknown key max_steps. Did you mean train.max_steps?"
    )
    assert complaint(recipe("train.max_steps: 20\n")) == (
        "recipes/x.yaml:1: train.max_steps is written as `max_steps:` indented under `train:`."
    )


def test_a_key_inside_a_list_is_named_with_its_place() -> None:
    text = complaint(recipe("data:\n  train:\n    - task: count\n      ratio: 1\n"))
    assert text == "recipes/x.yaml:4: unknown key data.train[0].ratio. Did you mean data.train[0].rate?"
    assert "give the whole list: data.train=" in complaint(None, ["data.train[0].rate=0.5"])


def test_every_problem_is_listed_in_the_order_of_the_file() -> None:
    path = recipe(
        "model:\n  device: cdua\ntrain:\n  batch_size: 0\n  epochs: fast\n  max_step: 3\n"
        "adapter:\n  dropout: 1\nstudy:\n  margin: 51\n  seeds: [0, -1]\n  arms: []\nname: 7\nreport: 5\n"
    )
    assert complaint(path, ["eval.items=1.5", "nonsense"]).splitlines() == [
        "an override is written key=value, such as train.max_steps=20, but got 'nonsense'",
        "model.device must be one of auto, cuda, mps, cpu, but got 'cdua' (recipes/x.yaml:2). Did you mean cuda?",
        "train.batch_size must be at least 1, but got 0 (recipes/x.yaml:4)",
        "train.epochs must be a number, but got 'fast' (recipes/x.yaml:5)",
        "recipes/x.yaml:6: unknown key train.max_step. Did you mean train.max_steps?",
        "adapter.dropout must be less than 1, but got 1 (recipes/x.yaml:8)",
        "study.margin must be at most 50, but got 51 (recipes/x.yaml:10)",
        "study.seeds[1] must be at least 0, but got -1 (recipes/x.yaml:11)",
        "study.arms must hold at least 1 entry, but got [] (recipes/x.yaml:12)",
        "name must be text, but got 7 (recipes/x.yaml:13). Put it in quotes",
        "report must be a section of `key: value` lines, but got 5 (recipes/x.yaml:14)",
        "eval.items must be a whole number, but got 1.5 (command line)",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "eval:\n  tasks: count\n",
            "eval.tasks must be a list of text, but got 'count' (recipes/x.yaml:2). Write [count]",
        ),
        (
            "adapter:\n  targets: 5\n",
            "adapter.targets must be a list of text or all-linear, but got 5 (recipes/x.yaml:2)",
        ),
        ("study:\n  seeds: [1, 1]\n", "study.seeds must not repeat, but got [1, 1] (recipes/x.yaml:2)"),
        (
            "data:\n  train:\n  - {task: count, rate: 0.5}\n  - {task: length, rate: 0.25}\n",
            "data: the rates must sum to 1, but 0.5 + 0.25 = 0.75 (recipes/x.yaml:2)",
        ),
        ("data:\n  train: [{rate: 1}]\n", "data.train[0].task is missing (recipes/x.yaml:2)"),
        (
            "data:\n  train: [count]\n",
            "data.train[0] must be a section such as {task: …, rate: …, words: …, pseudo: …}, "
            "but got 'count' (recipes/x.yaml:2)",
        ),
        ("model:\n  id: null\n", "model.id must be text, but got null (recipes/x.yaml:2)"),
        ("train:\n  epochs: .nan\n", "train.epochs must be a number, but got nan (recipes/x.yaml:2)"),
    ],
)
def test_a_broken_rule_says_the_rule_the_value_and_the_place(text: str, said: str) -> None:
    assert complaint(recipe(text)) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train:\n\tepochs: 1\n", "recipes/x.yaml:2:1: this is not YAML: "),
        ("train: [1, 2\n", "recipes/x.yaml:2:1: this is not YAML: "),
        ("train: {a: b: c}\n", "recipes/x.yaml:1:13: this is not YAML: "),
        ("name: 'open\n", "recipes/x.yaml:2:1: this is not YAML: while scanning a quoted scalar"),
        ("train:\n  epochs: 1\n  epochs: 2\n", "recipes/x.yaml:3:3: this is not YAML: "),
        ("a: 1\n---\nb: 2\n", "recipes/x.yaml:2:1: this is not YAML: "),
        ("name: !!python/object:os.system x\n", "recipes/x.yaml:1:7: this is not YAML: could not determine"),
        ("name: \x07\n", "recipes/x.yaml: this is not YAML: "),
        ("name: 2026-13-45\n", "recipes/x.yaml: this is not YAML: month must be in 1..12"),
        ("- a\n- b\n", "recipes/x.yaml: a recipe is a list of `key: value` lines, but got a list."),
        ("just words\n", "recipes/x.yaml: a recipe is a list of `key: value` lines, but got only 'just words'."),
        ("[" * 5000, "recipes/x.yaml: this is not YAML: it is nested too deeply."),
    ],
)
def test_what_is_not_a_recipe_is_named_with_its_place(text: str, said: str) -> None:
    assert complaint(recipe(text)).startswith(said)


def test_an_endless_anchor_is_refused_and_not_followed() -> None:
    text = complaint(recipe("train: &a\n  epochs: *a\n  loop: [*a, *a]\n"))
    assert "more than 50,000 values" in text
    assert len(text) < 2000


def test_a_file_that_is_not_text_is_refused() -> None:
    Path("recipes/x.yaml").write_bytes(b"name: caf\xe9\n")
    assert complaint(Path("recipes/x.yaml")) == "recipes/x.yaml: this is not text in UTF-8 (byte 9)."


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    Path("recipes/x.yaml").write_bytes(b"\xef\xbb\xbfname: a\n")
    assert load_recipe(Path("recipes/x.yaml")).recipe.name == "a"


@pytest.mark.parametrize("wanted", ["recipes/quikstart.yaml", "quickstart.yaml", "recipes/quickstart", "far/x.yaml"])
def test_a_missing_recipe_names_the_ones_near(wanted: str) -> None:
    recipe("", "recipes/quickstart.yaml")
    text = complaint(Path(wanted))
    assert text.startswith(f"{wanted}: there is no such recipe.")
    assert "recipes/quickstart.yaml" in text
    assert ("Did you mean recipes/quickstart.yaml?" in text) == ("start" in wanted)


def test_a_folder_is_not_a_recipe() -> None:
    assert complaint(Path("recipes")).startswith("recipes is a folder; name the recipe file.")


def test_an_override_without_a_value_says_how_to_unset() -> None:
    assert complaint(None, ["train.max_steps="]) == (
        "train.max_steps= has no value; write train.max_steps=null to unset it (command line)"
    )


def test_an_override_that_is_not_yaml_is_named() -> None:
    assert complaint(None, ["train.batch_size=[1"]).startswith("train.batch_size=[1: ")


def test_a_relative_path_is_kept_as_it_is_written() -> None:
    path = recipe("data:\n  corpus: [books/a.txt]\nwords:\n  source: ../words.txt\n")
    resolved = load_recipe(path).recipe
    assert resolved.data.corpus == (Path("books/a.txt"),)
    assert resolved.words.source == "../words.txt"


def test_an_entry_of_the_scored_tasks_may_say_its_role() -> None:
    tasks = ["spelling", {"task": "position", "role": "target"}, {"task": "glue/sst2", "role": "collateral"}]
    recipe = Recipe.model_validate({"eval": {"tasks": tasks}})
    assert recipe.eval.tasks == ("spelling", "position", "glue/sst2")
    assert recipe.eval.roles == {"position": "target", "glue/sst2": "collateral"}
    assert Recipe.model_validate(recipe.model_dump()).eval == recipe.eval


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"tasks": [{"name": "position"}]}, "an entry is a name or"),
        ({"tasks": ["position"], "roles": {"count": "target"}}, "roles names count, which tasks does not"),
        ({"tasks": [{"task": "position", "role": "aim"}]}, "'target' or 'collateral'"),
    ],
)
def test_roles_that_mean_nothing_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({"eval": section})


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
MERGED = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {max_steps: !!int ''}", "not what its tag says"),
        ("train: {max_steps: !!bool x}", "not what its tag says"),
        ("train: {max_steps: !!float x}", "not YAML"),
        ("name: !!timestamp x", "not YAML"),
        ("? !!set [a]", "not YAML"),
        ('name: "\\ud800"', "half of a surrogate pair"),
        ('runs: "a\\0b"', "a NUL character"),
        ('data: {corpus: ["\\0"]}', "a NUL character"),
        ('"\\udfff": 1', "half of a surrogate pair"),
        (BOMB, "more than 50,000 values"),
        (MERGED, "more than 50,000 values"),
        ("a: &a [*a]", "more than 50,000 values"),
        ("a: " + "[" * 2000, "nested too deeply"),
        (f"train: {{max_steps: {'9' * 400}}}", "beyond 9,007,199,254,740,992"),
        (f"train: {{max_steps: {'9' * 5000}}}", "not YAML"),
        ("x" * 600_000, "at most 500,000 bytes"),
    ],
)
def test_what_no_recipe_can_hold_is_one_short_line_in_no_time(text: str, said: str) -> None:
    began = time.process_time()
    told = complaint(recipe(text))
    assert said in told and "\n" not in told and len(told) < 400
    assert time.process_time() - began < 5


def test_thousands_of_wrong_keys_are_told_by_their_number() -> None:
    began = time.process_time()
    told = complaint(recipe("".join(f"kye{n}: 1\n" for n in range(5000))))
    assert told.count("unknown key") == 20 and told.endswith("… and 4,980 more")
    assert time.process_time() - began < 10


def test_a_recipe_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "but this is no file" in complaint(tmp_path / "pipe.yaml")
    assert "cannot be read" in complaint(Path("x" * 5000))
