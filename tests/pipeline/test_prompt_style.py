"""A recipe's benchmarks in the field's style: which tasks are asked so, what a run stores, and what its report says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graft.config.loading import Resolved, load_recipe
from graft.config.schema import Recipe
from graft.errors import ConfigError, DataError
from graft.models.loading import load_tokenizer
from graft.pipeline.outcome import Outcome
from graft.pipeline.prepare.boundary import check_positions
from graft.pipeline.prepare.lab import prepare
from graft.pipeline.prepare.preflight import preflight, task_table
from graft.pipeline.prepare.prompts import asked_as_field, check_prompt_style, prompt_style
from graft.pipeline.progress import SilentProgress
from graft.pipeline.run import run
from graft.report.load import load
from graft.report.sampling import FIELD_NOTE, STRICT_NOTE, sampling_notes
from graft.report.tables import main_table
from graft.runs.samples import read_samples
from graft.workbench import predict

Build = Callable[..., Resolved]

SENTENCES = [f"{name} {verb} the {thing}." for name in ("Ann", "Ben", "They", "A cat", "Nobody", "The king")
             for verb in ("see", "sees", "saw") for thing in ("house", "books")]  # fmt: skip


def recipe(**settings: Any) -> Recipe:
    return load_recipe(None, (), {key.replace("__", "."): value for key, value in settings.items()}).recipe


def own(folder: Path, name: str = "cola", like: str = "glue/cola") -> dict[str, Any]:
    path = folder / f"{name}.csv"
    path.write_text("sentence,label\n" + "".join(f"{text},{place % 2}\n" for place, text in enumerate(SENTENCES)))
    return {"name": name, "like": like, "train": str(path), "held_out": 0.4}


def test_benchmarks_that_are_only_scored_are_asked_as_the_field_does() -> None:
    known = recipe(data__train="glue/sst2", eval__tasks=["glue/sst2", "glue/cola", "spelling", "financial-phrasebank"])
    styles = {name: prompt_style(known, name) for name in known.eval.tasks}
    assert styles == {"glue/sst2": "instruct", "glue/cola": "field", "spelling": "", "financial-phrasebank": ""}


@pytest.mark.parametrize(
    "changes",
    [
        {"data__prompt_style": "instruct"},
        {"thinking": "on"},
        {"model__backend": "openai", "model__url": "http://127.0.0.1:1/v1"},
        {"data__train": "glue/cola", "study__arms": ["base", "trained", "direct"]},
    ],
)
def test_otherwise_they_are_asked_as_graft_does(changes: dict[str, Any]) -> None:
    assert not asked_as_field(recipe(**{"eval__tasks": ["glue/sst2"], **changes}), "glue/sst2")


def test_files_are_asked_as_the_field_does_where_the_recipe_says_so(tmp_path: Path) -> None:
    rows = {"data__tasks": [own(tmp_path)], "eval__tasks": ["cola"]}
    assert not asked_as_field(recipe(**rows), "cola")
    assert asked_as_field(recipe(**rows, data__prompt_style="field"), "cola")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"thinking": "on"}, "asks without thinking, but thinking is on; set data.prompt_style: instruct"),
        (
            {"model__backend": "openai", "model__url": "http://127.0.0.1:1/v1"},
            "needs likelihoods and plain text, but model.backend is openai",
        ),
    ],
)
def test_a_style_that_cannot_be_had_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_prompt_style(recipe(**{"eval__tasks": ["glue/sst2"], "data__prompt_style": "field", **changes}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_recipe: Build) -> Outcome:
    """A run that trains on labelled files in the chat template and scores them in the field's style."""
    folder = tmp_path_factory.mktemp("style")
    resolved = small_recipe(
        folder / "runs",
        data__tasks=[own(folder)],
        data__train="cola",
        data__max_length=64,
        data__prompt_style="field",
        eval__tasks=["cola"],
        eval__calibration_items=4,
        train__max_steps=2,
        study__arms=["base", "trained"],
    )
    return run(resolved, progress=SilentProgress())


@pytest.mark.slow
def test_a_run_stores_what_the_field_asks_and_how_likely_each_answer_is(finished: Outcome) -> None:
    for arm in ("base", "trained-seed0"):
        records = read_samples(finished.run.samples / f"{arm}.cola.jsonl")
        assert len(records) > 5
        for record in records:
            sentence = record["prompt"].partition("\n")[0]
            assert record["rendered"] == f"{sentence}\nQuestion: Does this sentence make sense?\nAnswer:"
            assert record["options"] == ["no", "yes"] and record["label_way"] == "sum"
            assert record["reply"] == record["label_choice"] and not record["generated"]
            assert record["right"] == record["strict"] == (record["reply"] == record["gold"])


@pytest.mark.slow
def test_the_report_names_the_style_beside_the_numbers(finished: Outcome) -> None:
    (row,) = main_table(load(finished.run.path)).rows
    assert row[0].text == "cola (MCC, field style)"
    told = sampling_notes(load(finished.run.path))
    assert FIELD_NOTE in told and STRICT_NOTE not in told
    assert not [note for note in finished.notes if note.startswith("replies")]


def test_training_rows_stay_in_the_chat_template(tmp_path: Path, small_recipe: Build) -> None:
    settings = {"data__tasks": [own(tmp_path)], "data__train": "cola", "data__max_length": 64, "eval__tasks": ["cola"]}
    lab = prepare(small_recipe(tmp_path, **settings, data__prompt_style="field").recipe)
    looked = preflight(lab, SilentProgress())
    assert task_table(looked).rows[0][0] == "cola (field style)"
    trained = "".join(text for text, _ in looked.shown[0].pieces)
    assert "Determine if this sentence" in trained and "acceptable" in trained
    longest = {survey.part: survey for survey in looked.surveys}["eval"]
    assert longest.labels.keys() == {"no", "yes"} and longest.too_long == 0


def test_a_benchmark_longer_than_the_model_reads_is_refused(tmp_path: Path, small_recipe: Build) -> None:
    rows = tmp_path / "gsm8k.jsonl"
    rows.write_text("".join(f'{{"question": "{place}+1?", "answer": "#### {place + 1}"}}\n' for place in range(20)))
    task = {"name": "sums", "like": "gsm8k", "train": str(rows), "held_out": 0.5}
    resolved = small_recipe(tmp_path, data__tasks=[task], eval__tasks=["sums"], data__prompt_style="field")
    lab = prepare(resolved.recipe)
    with pytest.raises(DataError, match=r"sums takes up to [\d,]+ tokens as the field asks it, but the model has 512"):
        check_positions(lab, ())


def test_a_model_is_used_in_the_words_that_it_was_trained_in(tmp_path: Path) -> None:
    """For predictions and chats, whatever the style in which it was scored."""
    known = recipe(data__tasks=[own(tmp_path)], eval__tasks=["cola"], data__train="cola", data__prompt_style="field")
    made = predict._task(known, "cola")
    asked = made.example({"sentence": "He go.", "label": 0}, 0)
    assert asked is not None and asked.options == ("unacceptable", "acceptable")


def test_the_field_reads_no_system_turn_and_no_template(tmp_path: Path, small_recipe: Build) -> None:
    settings = {"data__tasks": [own(tmp_path)], "eval__tasks": ["cola"], "data__prompt_style": "field"}
    items = prepare(small_recipe(tmp_path, **settings, model__system="Be brief.").recipe).of_task("cola")
    text = load_tokenizer("sprout").decode(list(items.rows[0].prompt))
    assert text == items.examples[0].prompt
