"""Tasks of one's own in a recipe: loaded, overridden, written back, and refused with the line at fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft.config.data import TaskSection
from graft.config.keys import entry_settings
from graft.config.loading import load_recipe
from graft.config.reference import json_schema, reference_markdown
from graft.config.schema import Recipe
from graft.config.writing import to_yaml
from graft.errors import ConfigError
from graft.tasks.custom import TaskSpec

RECIPE = """
data:
  train:
    - {task: reviews, rate: 0.7}
    - {task: chat, rate: 0.3}
  exhausted: stop
  tasks:
    - name: reviews
      train: data/reviews.csv
      header: [id, body, stars]
      columns: {text: body}
      prompt: "Good or bad?\\n\\n{text}\\nAnswer:"
      label: stars
      labels: {0: bad, 1: good, 2: true}
    - name: chat
      train: data/chat.jsonl
      eval: data/held-out.jsonl
      format: messages
"""

FORMAT, LABEL = "      format: messages\n", "      label: stars\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def refused(recipe: Path, old: str, new: str) -> str:
    text = recipe.read_text(encoding="utf-8")
    assert old in text
    recipe.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe)
    return str(caught.value)


def test_a_block_of_tasks_loads_with_text_for_every_label(recipe: Path) -> None:
    reviews, chat = load_recipe(recipe).recipe.data.tasks
    assert reviews.labels == {"0": "bad", "1": "good", "2": "true"}
    assert (reviews.columns, reviews.header) == ({"text": "body"}, ("id", "body", "stars"))
    assert (reviews.held_out, reviews.metric, reviews.train) == (0.1, "auto", Path("data/reviews.csv"))
    assert (chat.format, chat.eval) == ("messages", Path("data/held-out.jsonl"))


def test_labels_can_be_a_list_and_a_list_of_truths_stays_text() -> None:
    section = TaskSection.model_validate(
        {"name": "a", "train": "x", "prompt": "{t}", "label": "y", "labels": ["no", "b"]}
    )
    assert section.labels == {"no": "no", "b": "b"}
    overridden = load_recipe(
        None, ["data.tasks=[{name: a, train: x.csv, prompt: '{t}', label: y, labels: [true, false, 3]}]"]
    )
    assert list(overridden.recipe.data.tasks[0].labels) == ["true", "false", "3"]


def test_an_override_replaces_the_whole_list(recipe: Path) -> None:
    [task] = load_recipe(recipe, ["data.tasks=[{name: other, train: a.csv}]"]).recipe.data.tasks
    assert task.name == "other"


def test_a_resolved_recipe_with_tasks_loads_again_to_the_same(recipe: Path, tmp_path: Path) -> None:
    resolved = load_recipe(recipe)
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(resolved), encoding="utf-8")
    assert load_recipe(again).recipe == resolved.recipe
    assert "tasks:  # from " in to_yaml(resolved)


def test_the_fields_of_a_section_are_those_of_the_task_it_makes() -> None:
    section = TaskSection(name="a", train=Path("x"))
    spec = TaskSpec(**section.model_dump())
    assert spec == TaskSpec("a", train=Path("x"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    - name: chat\n", "    - name: reviews\n", "names of tasks must differ, but reviews"),
        ("rate: 0.3", "rate: 0.4", "the rates must sum to 1, but 0.7 + 0.4 = 1.1"),
        ("      train: data/chat.jsonl\n      eval: data/held-out.jsonl\n", "", "task chat has no rows"),
        (FORMAT, FORMAT + "      prompt: x\n", "task chat has prompt, but needs a prompt"),
        (LABEL, "", "task reviews has prompt and labels, but needs a prompt with either a label"),
        (LABEL, LABEL + "      completion: x\n", "needs a prompt with either a label or a compl"),
        (LABEL, LABEL + "      like: imdb\n", "task reviews is like imdb, which has its own"),
        (LABEL, LABEL + "      metric: f1\n", "has metric f1, but labels; take accuracy"),
        (FORMAT, "      metric: mcc\n", "task chat has metric mcc, which needs labels"),
        (FORMAT, "      format: columns\n", "task chat has format columns, but no prompt"),
        (FORMAT, "      format: xml\n", "data.tasks[1].format must be one of auto, columns, completion"),
        (FORMAT, "      formats: messages\n", "data.tasks[1].formats"),
        ("      columns: {text: body}\n", "      columns: body\n", "data.tasks[0].columns must be a mapping of text"),
        ("- name: chat", "- nam: chat", "tasks[1].nam"),
        (FORMAT, "      held_out: 1.5\n", "data.tasks[1].held_out must be less than 1, but got 1.5"),
    ],
)  # fmt: skip
def test_a_block_that_breaks_a_rule_says_which_and_where(recipe: Path, old: str, new: str, message: str) -> None:
    said = refused(recipe, old, new)
    assert message in said
    assert "mine.yaml:" in said


def test_the_reference_and_the_schema_know_every_field_of_a_task() -> None:
    page = reference_markdown()
    properties = json_schema()["$defs"]["TaskSection"]["properties"]
    for name in TaskSection.model_fields:
        assert f"data.tasks.{name}" in entry_settings()
        assert f"| `data.tasks[].{name}` |" in page
        assert name in properties
    assert "| `data.tasks` | list of tasks |" in page
    assert "mapping of text to text" in page
    assert Recipe().data.tasks == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "mae", "label": "l"}, "has metric mae, but labels"),
        ({"tolerance": 0.5, "completion": "{a}"}, r"has tolerance 0\.5, but metric auto; take number, mae or rmse"),
        ({"metric": "micro_f1", "label": "l"}, "needs several labels a row; set several"),
        ({"several": ",", "completion": "{a}"}, "has several labels a row, but no label"),
        ({"several": ",", "label": "l", "metric": "mcc"}, "has several labels a row, but metric mcc"),
        ({"quote": "ab", "label": "l"}, "has quote 'ab', but it is one character or none"),
        ({"explode": "a.b", "label": "l"}, r"has explode 'a\.b', but it names lists from the outside"),
    ],
)
def test_settings_of_a_task_that_do_not_fit_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskSection.model_validate({"name": "t", "train": "a.csv", "prompt": "{q}", **fields})


def test_a_task_takes_one_path_a_pattern_or_a_list() -> None:
    assert TaskSection.model_validate({"name": "t", "train": "a/*.csv"}).train == Path("a/*.csv")
    assert TaskSection.model_validate({"name": "t", "train": ["a.csv", "b.csv"]}).train == (
        Path("a.csv"),
        Path("b.csv"),
    )
