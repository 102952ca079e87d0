"""Tasks without code, tasks like another one, and tasks of other packages by entry point."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graft import tasks
from graft.data.user_tasks import TaskSpec, check_spec, load_user_task
from graft.errors import ConfigError, DataError
from graft.tasks.custom import Template, column
from graft.tasks.dataset import DatasetTask, is_held_out
from graft.tasks.labels import label_key
from graft.types import Example

DATA = os.environ.get("GRAFT_TEST_DATA")
real_data = pytest.mark.skipif(DATA is None, reason="GRAFT_TEST_DATA names no folder of real data")

REVIEWS = "id,body,stars\n1,Wonderful.,1\n2,Awful.,0\n3,Great fun.,1\n"
ASK = "Good or bad?\n\n{body}\nAnswer:"
GOOD_BAD = {"0": "bad", "1": "good"}


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(REVIEWS, encoding="utf-8")
    return path


def own(path: Path, **spec: Any) -> DatasetTask:
    return load_user_task(TaskSpec("mine", train=path, eval=path, **spec))


def examples(task: DatasetTask) -> list[Example]:
    return sorted(task.examples("eval", limit=None, seed=0), key=lambda example: example.id)


def test_a_prompt_a_label_and_its_words_make_a_classification(reviews: Path) -> None:
    task = own(reviews, prompt=ASK, label="stars", labels=GOOD_BAD)
    first, second, _ = examples(task)
    assert first.prompt == "Good or bad?\n\nWonderful.\nAnswer:"
    assert (first.gold, second.gold, first.options) == ("good", "bad", ("bad", "good"))
    card = task.card
    assert (card.name, card.kind, card.metric, card.size) == ("mine", "classification", "accuracy", "3 train, 3 eval")
    assert card.source == "reviews.csv: CSV, UTF-8, 3 rows"
    assert task.labels == ("bad", "good")
    assert task.trivial_answers(examples(task))["majority"] == ["good"] * 3


@pytest.mark.parametrize(
    ("reply", "strict", "lenient", "parsed"),
    [("good", True, True, True), ("Good.", False, True, True), ("It is good", False, True, True),
     ("bad", False, False, True), ("good or bad", False, False, False), ("", False, False, False)],
)  # fmt: skip
def test_a_reply_to_a_classification_is_judged_by_the_label_it_names(
    reviews: Path, reply: str, strict: bool, lenient: bool, parsed: bool
) -> None:
    task = own(reviews, prompt=ASK, label="stars", labels=GOOD_BAD)
    score = task.score(examples(task)[0], reply)
    assert (score.strict, score.lenient, score.parsed) == (strict, lenient, parsed)


def test_labels_are_found_in_the_column_when_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"t": "x", "y": y}) for y in (True, False, True)), encoding="utf-8")
    assert own(path, prompt="{t}", label="y").labels == ("false", "true")
    assert own(path, prompt="{t}", label="y", labels={"True": "yes", "False": "no"}).labels == ("yes", "no")
    path.write_text("\n".join(json.dumps({"t": "x", "y": y}) for y in range(200)), encoding="utf-8")
    with pytest.raises(DataError, match=r"the column y holds more than 100 different values, so they are no labels"):
        own(path, prompt="{t}", label="y")


@pytest.mark.parametrize("held_out", [0.2, 0.5])
def test_a_class_whose_only_row_is_held_out_is_a_label(tmp_path: Path, held_out: float) -> None:
    rare = next(text for text in map("rare {}".format, range(99)) if is_held_out(f"{text}?", held_out))
    rows = [{"t": f"thing {n}", "y": ("no", "yes")[n % 2]} for n in range(40)] + [{"t": rare, "y": "rare"}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = load_user_task(TaskSpec("mine", train=path, held_out=held_out, prompt="{t}?", label="y"))
    assert found.labels == ("no", "rare", "yes")
    assert "rare" in [example.gold for example in found.examples("eval", limit=None, seed=0)]


def test_a_list_is_no_label(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"t": "x", "y": y}) for y in ("a", ["a", "b"])), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: the column y holds \['a', 'b'\], but a row has one label"):
        own(path, prompt="{t}", label="y")


@pytest.mark.parametrize(("value", "key"), [(1, "1"), (1.0, "1"), ("1 ", "1"), (True, "true"), (0.5, "0.5")])
def test_a_label_is_the_same_whatever_its_type(value: object, key: str) -> None:
    assert label_key(value) == key


@pytest.mark.parametrize("value", ["null", "NaN", '""', '" "'])
def test_a_missing_label_is_no_class_but_refused_with_its_row(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        f'{{"q": "a", "l": "yes"}}\n{{"q": "b", "l": {value}}}\n{{"q": "c", "l": "no"}}\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: the label column l is empty, as in 1 of 3 rows"):
        own(path, prompt="{q}", label="l")


@pytest.mark.parametrize("value", ['["yes"]', '{"a": 1}'])
def test_a_list_or_an_object_is_no_label(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"q": "a", "l": "yes"}}\n{{"q": "b", "l": {value}}}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"line 2: the column l holds .*, but a row has one label"):
        own(path, prompt="{q}", label="l")


@pytest.mark.parametrize("value", ["NaN", "null", "Infinity"])
def test_a_missing_answer_is_refused_with_its_row(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        f'{{"prompt": "a", "completion": "fine"}}\n{{"prompt": "b", "completion": {value}}}\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: completion must hold text, but got"):
        own(path).examples("eval", limit=None, seed=0)
    if value != "Infinity":
        with pytest.raises(DataError, match=r"a\.jsonl, line 2: the completion is empty"):
            own(path, prompt="{prompt}", completion="{completion}")


@pytest.mark.parametrize(
    "row",
    [
        lambda place: {"prompt": f"q {place % 20}", "completion": f"a {place}"},
        lambda place: {"instruction": f"q {place % 20}", "input": "", "output": f"a {place}"},
        lambda place: {
            "messages": [
                {"role": "user", "content": f"q {place % 20}"}, {"role": "assistant", "content": f"a {place}"}
            ]
        },
    ],
)  # fmt: skip
def test_rows_that_ask_the_same_are_on_one_side_whatever_their_shape(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row(place)) for place in range(200)), encoding="utf-8")
    task = load_user_task(TaskSpec("mine", train=path, held_out=0.3))
    sides = [{example.prompt for example in task.examples(side, limit=None, seed=0)} for side in ("train", "eval")]
    assert len(sides[0] | sides[1]) == 20 and not sides[0] & sides[1]


def test_a_label_that_no_column_holds_is_never_made_up(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Good news@positive\nBad news@negative\n" * 9)
    with pytest.raises(
        DataError,
        match=r"label is label, but in a\.txt there is no column label\. Known: file, text\. If its lines hold "
        r"columns, name the character between them in separator",
    ):
        own(tmp_path / "a.txt", prompt="{text}", label="label")
    made = own(tmp_path / "a.txt", separator="@", header=("text", "label"), prompt="{text}", label="label")
    assert made.labels == ("negative", "positive")
    assert {example.prompt for example in made.examples("train", limit=None, seed=0)} <= {"Good news", "Bad news"}


def test_white_space_belongs_to_prompt_and_completion(tmp_path: Path) -> None:
    row = {"prompt": "def f():\n", "completion": "    return 1\n"}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({**row, "n": n}) + "\n" for n in range(20)))
    shapes: tuple[dict[str, str], ...] = ({}, {"prompt": "{n}{prompt}", "completion": "{completion}"})
    for how in shapes:
        example = next(iter(own(tmp_path / "a.jsonl", **how).examples("train", limit=1, seed=0)))
        assert (example.prompt or "").endswith("def f():\n") and example.gold == "    return 1\n"


def test_rows_of_a_group_are_on_one_side_and_one_cluster(tmp_path: Path) -> None:
    rows = [{"q": f"Question {n}?", "a": "yes", "doc": f"d{n % 40}"} for n in range(400)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shapes = ({"prompt": "{q}", "completion": "{a}"}, {"columns": {"prompt": "q", "completion": "a"}})
    for how in (*shapes, {"prompt": "{q}", "label": "a", "labels": {"yes": "yes", "no": "no"}}):
        made = load_user_task(TaskSpec("mine", train=tmp_path / "a.jsonl", held_out=0.3, group="doc", **how))  # type: ignore[arg-type]
        asked = {part: list(made.examples(part, limit=None, seed=0)) for part in ("seen", "eval")}  # type: ignore[arg-type]
        sides = [{example.cluster for example in found} for found in asked.values()]
        assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 40
        assert sum(map(len, asked.values())) == 400
    with pytest.raises(DataError, match=r"40 groups of doc stand in train and in eval \(d0, d1, d10, d11, d12 …\)"):
        own(tmp_path / "a.jsonl", group="doc", prompt="{q}", completion="{a}")
    with pytest.raises(DataError, match=r"group is doc2, but in a\.jsonl there is no column doc2\. Did you mean 'doc'"):
        own(tmp_path / "a.jsonl", group="doc2", prompt="{q}", completion="{a}")


def test_nested_questions_are_asked_over_the_fields_of_what_they_lie_in(tmp_path: Path) -> None:
    report = {
        "table": {"rows": [["", "2019"], ["Sales", "5"]]},
        "paragraphs": [{"text": "First."}, {"text": "Second."}],
        "questions": [{"question": f"What {n}?", "answer": [n, "million"]} for n in range(30)],
    }
    (tmp_path / "a.json").write_text(json.dumps([report]))
    prompt = "{table.rows}\n{paragraphs.text}\n{question}"
    made = own(tmp_path / "a.json", explode="questions[]", prompt=prompt, completion="{answer}")
    found = sorted((example.prompt, example.gold) for example in made.examples("train", limit=None, seed=0))
    assert found[0] == (" | 2019\nSales | 5\nFirst.\nSecond.\nWhat 0?", "0\nmillion")
    made = own(tmp_path / "a.json", explode="questions[]", prompt="{question}", completion="{answer.1}")
    assert {example.gold for example in examples(made)} == {"million"}
    with pytest.raises(DataError, match=r"row 1, questions 1: answer\.2 asks for entry 2, but there are 2 \(30 of 30"):
        own(tmp_path / "a.json", explode="questions[]", prompt="{question}", completion="{answer.2}")


def test_rows_that_lack_a_column_are_counted_wherever_it_is_used(tmp_path: Path) -> None:
    rows = [{"q": f"q{n}", "l": "yes" if n % 3 else "no"} for n in range(30)]
    lacking = [{"q": "x"}, {"q": "y"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, [*rows, *lacking])))
    with pytest.raises(DataError, match=r"line 31: the label column l is empty, as in 2 of 32 rows"):
        load_user_task(TaskSpec("mine", train=tmp_path / "a.jsonl", held_out=0.3, prompt="{q}", label="l"))
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"l": "yes"}, {"l": "no"}, {"l": "yes"}])))
    with pytest.raises(DataError, match=r"there is no column q\..*of \d+ rows cannot be used|there is no column q"):
        load_user_task(TaskSpec("mine", train=tmp_path / "b.jsonl", held_out=0.3, prompt="{q}", label="l"))


def test_rows_without_a_published_label_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"sentence": f"Film {n}.", "label": -1 if n < 3 else n % 2, "idx": n} for n in range(12)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = own(tmp_path / "a.jsonl", like="glue/sst2")
    assert len(examples(made)) == 9
    assert made.card.notes == (
        "columns that are not used: idx",
        "3 of 12 train rows have no label and are left out",
        "3 of 12 eval rows have no label and are left out",
    )
    (tmp_path / "b.jsonl").write_text('{"sentence": "a", "label": 1}\n{"sentence": "b", "label": null}\n')
    with pytest.raises(DataError, match=r"b\.jsonl, line 2: the label column label is empty"):
        own(tmp_path / "b.jsonl", like="glue/sst2")
    (tmp_path / "c.jsonl").write_text('{"sentence": "a", "label": -1}\n')
    with pytest.raises(DataError, match=r"none of its 1 train rows has a label"):
        own(tmp_path / "c.jsonl", like="glue/sst2")


def test_a_label_that_stands_on_one_side_only_is_a_label_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,yes\nb,no\nc,maybe\n")
    (tmp_path / "eval.csv").write_text("text,label\nd,yes\ne,no\nf,never\n")
    spec = TaskSpec("mine", train=tmp_path / "train.csv", eval=tmp_path / "eval.csv", prompt="{text}", label="label")
    made = load_user_task(spec)
    assert made.labels == ("maybe", "never", "no", "yes")
    assert made.card.notes == ("labels that no training row has: never", "labels that no held-out row has: maybe")


def test_one_label_alone_is_no_classification(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,yes\nb,yes\n")
    with pytest.raises(DataError, match=r"'yes' is its only label, so there is nothing to tell apart"):
        own(tmp_path / "a.csv", prompt="{text}", label="label")


def test_columns_that_no_template_uses_are_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,q,a,source\n1,x,y,web\n2,z,y,web\n")
    assert own(tmp_path / "a.csv", prompt="{q}", completion="{a}").card.notes == (
        "columns that are not used: id, source",
    )


def test_all_bad_labels_are_counted_and_the_first_five_shown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "x,\n" * 8 + "y,no\nz,yes\n")
    with pytest.raises(DataError, match=r"line 2: the label column label is empty, as in 8 of 10 rows \(.*line 6 …\)"):
        own(tmp_path / "a.csv", prompt="{text}", label="label")


NUMBERS = {"metric": "mae", "prompt": "{q}", "completion": "{a}"}


@pytest.mark.parametrize(
    ("gold", "tolerance", "reply", "right", "error"),
    [
        ("5", None, "5", True, 0.0),
        ("5", None, "5.4", False, 0.4),
        ("100", None, "1", False, 99.0),
        ("5", 0.5, "I would say 5.4.", True, 0.4),
        ("5", 0.0, "5.4", False, 0.4),
        ("3.2", None, "3.24", True, 0.04),
        ("40%", 1.0, "41", True, 1.0),
        ("-2", None, "minus 2", True, 0.0),
        ("5", None, "no idea", False, None),
    ],
)
def test_a_number_is_as_wrong_as_it_is_far(
    tmp_path: Path, gold: str, tolerance: float | None, reply: str, right: bool, error: float | None
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"q": "How many?", "a": gold}))
    made = own(tmp_path / "a.jsonl", tolerance=tolerance, **NUMBERS)
    score = made.score(examples(made)[0], reply)
    assert (score.lenient, score.parsed) == (right, error is not None)
    assert score.details.get("absolute_error") == (None if error is None else pytest.approx(error))


def test_a_right_answer_that_is_no_number_is_refused_where_numbers_are_scored(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "x", "a": "3"}\n{"q": "y", "a": "three-ish"}\n')
    with pytest.raises(DataError, match=r"line 2: the right answer is 'three-ish', but metric mae is about numbers"):
        own(tmp_path / "a.jsonl", **NUMBERS)


TOPICS = {"prompt": "{t}", "label": "l", "several": ","}


@pytest.mark.parametrize(
    ("reply", "answer", "strict", "right", "hits"),
    [
        ("sport, money", "money, sport", False, True, 2),
        ("money, sport", "money, sport", True, True, 2),
        ("The topics are money and sport.", "money, sport", False, True, 2),
        ("sport", "sport", False, False, 1),
        ("money, sport, art", "art, money, sport", False, False, 2),
        ("money and sport, but not art", "money, sport", False, True, 2),
        ("none", "none", False, False, 0),
        ("Hm?", None, False, False, 0),
    ],
)
def test_several_labels_are_compared_as_sets(
    tmp_path: Path, reply: str, answer: str | None, strict: bool, right: bool, hits: int
) -> None:
    rows = [
        {"t": "a", "l": ["sport", "money"]},
        {"t": "b", "l": []},
        {"t": "c", "l": "art"},
        {"t": "d", "l": "art,sport"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = own(tmp_path / "a.jsonl", **TOPICS)
    assert [example.gold for example in examples(made)] == ["money, sport", "none", "art", "art, sport"]
    assert made.card.metric == "micro_f1"
    score = made.score(examples(made)[0], reply)
    assert (score.answer, score.strict, score.lenient) == (answer, strict, right)
    assert score.details["true_positives"] == hits


def test_a_task_that_is_only_scored_has_nothing_that_was_seen(reviews: Path) -> None:
    made = load_user_task(TaskSpec("mine", eval=reviews, prompt="{body}", label="stars"))
    assert len(examples(made)) == 3
    assert list(made.examples("seen", limit=10, seed=0)) == []
    with pytest.raises(DataError, match=r"the train split has no rows"):
        made.examples("train", limit=10, seed=0)


def test_an_unknown_label_is_named_with_its_row(reviews: Path) -> None:
    reviews.write_text(REVIEWS + "4,So so.,2\n5,Hm.,3\n", encoding="utf-8")
    with pytest.raises(
        DataError,
        match=r"task mine: reviews\.csv, line 5: stars is '2', which is no label\. Known: 0, 1\. \(2 of 5 rows cannot",
    ):
        own(reviews, prompt=ASK, label="stars", labels=GOOD_BAD)


def test_a_missing_column_names_those_that_are_there(reviews: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"task mine: prompt uses \{boddy\}, but reviews\.csv has no such column\. Did you mean 'body'\?",
    ):
        own(reviews, prompt="{boddy}", label="stars", labels=GOOD_BAD)
    with pytest.raises(DataError, match=r"there is no column star\. Did you mean 'stars'\? Known: body, id, stars\."):
        own(reviews, prompt="{body}", label="star", labels=GOOD_BAD)
    with pytest.raises(DataError, match=r"task mine: completion uses \{gold\}"):
        own(reviews, prompt="{body}", completion="{gold}")


@pytest.mark.parametrize("text", ["{body", "{}", "{body:>10}", "{body!r}", "body}"])
def test_a_prompt_that_is_no_template_is_refused(reviews: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"task mine: prompt is "):
        own(reviews, prompt=text, label="stars", labels=GOOD_BAD)


def test_a_template_reads_renamed_nested_and_listed_columns() -> None:
    row = {"doc": {"title": "T"}, "review body": "B", "lines": ["a", 1], "none": None, "a.b": "dotted"}
    text = Template("{{x}} {title}|{review body}|{lines}|{none}|{a.b}", {"title": "doc.title"}, "prompt")
    assert text.fill(row) == "{x} T|B|a\n1||dotted"
    assert text.columns == ("doc.title", "review body", "lines", "none", "a.b")
    with pytest.raises(DataError, match=r"prompt uses doc, which holds an object with title; .* such as doc\.title"):
        Template("{doc}", {}, "prompt").fill(row)
    with pytest.raises(DataError, match=r"there is no column doc\.titel"):
        column(row, "doc.titel")


@pytest.mark.parametrize(
    ("metric", "reply", "lenient", "stored"),
    [("auto", "nine apples", True, "strict"), ("exact", "Nine apples.", True, "strict"),
     ("f1", "the nine apples", True, "f1"), ("number", "I count 9.0", True, "lenient"),
     ("number", "I count 9.5", False, "lenient"), ("none", "", False, "none")],
)  # fmt: skip
def test_the_metric_of_a_completion_decides_how_replies_are_judged(
    tmp_path: Path, metric: str, reply: str, lenient: bool, stored: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "How many?", "a": ["nine", "apples"]}', encoding="utf-8")
    task = own(path, prompt="{q}", completion="{a}", metric=metric)
    [example] = examples(task)
    assert (example.gold, task.card.metric) == ("nine\napples", stored)
    spaced = Example("x", "mine", "How many?", "nine apples")
    assert task.score(spaced, reply).lenient is lenient


def test_numbers_are_compared_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "How many?", "a": 9}', encoding="utf-8")
    task = own(path, prompt="{q}", completion="{a}", metric="number")
    [example] = examples(task)
    assert task.score(example, "9.0").lenient
    assert not task.score(example, "8").lenient


def test_an_empty_completion_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "x", "a": "y"}\n{"q": "x", "a": null}', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: the completion is empty"):
        own(path, prompt="{q}", completion="{a}")


def test_equal_prompts_are_never_on_both_sides_of_a_held_out_share(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,t,y\n" + "".join(f"{n},text {n % 40},{n % 2}\n" for n in range(400)), encoding="utf-8")
    task = load_user_task(TaskSpec("mine", train=path, held_out=0.3, prompt="{t}", label="y"))
    train, held = ({e.prompt for e in task.examples(split, limit=None, seed=0)} for split in ("train", "eval"))
    assert train and held and not train & held


def test_a_question_under_many_system_prompts_is_on_one_side(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    rows = [
        {"system": f"Persona {n}.", "prompt": f"Question {n % 20} about colour", "completion": f"answer {n}"}
        for n in range(200)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = load_user_task(TaskSpec("mine", train=path, held_out=0.3))
    train, held = ({e.prompt for e in task.examples(split, limit=None, seed=0)} for split in ("train", "eval"))
    assert train and held and not train & held


def test_a_row_that_lacks_a_column_of_the_task_it_is_like_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text('{"question": "q", "answer": "#### 2"}\n{"question": "r"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"task mine: sums\.jsonl, line 2 has no answer"):
        own(path, like="gsm8k")


def test_a_task_like_another_uses_its_prompt_and_scorer_on_local_rows(tmp_path: Path) -> None:
    path = tmp_path / "sums.csv"
    path.write_text('problem,solution\n"One and one?","1+1=2\n#### 2"\n', encoding="utf-8")
    task = own(path, like="gsm8k", columns={"question": "problem", "answer": "solution"})
    [example] = examples(task)
    builtin = tasks.find("gsm8k")
    assert issubclass(builtin, DatasetTask)
    twin = builtin(lambda part: [{"question": "One and one?", "answer": "1+1=2\n#### 2"}])
    [same] = twin.examples("eval", limit=None, seed=0)
    assert (example.prompt, example.gold) == (same.prompt, same.gold)
    assert (example.task, example.id, task.card.name) == ("mine", "mine/0", "mine")
    assert task.score(example, "It is 2.\n#### 2.0").lenient
    assert builtin.card.name == "gsm8k"
    with pytest.raises(
        DataError, match=r"like gsm8k, which reads question, answer, but sums\.csv has problem, solution"
    ):
        own(path, like="gsm8k")


def test_csv_labels_are_read_by_a_task_that_knows_them_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review,label\nGood.,1\nBad.,0\n", encoding="utf-8")
    assert [e.gold for e in examples(own(path, like="imdb", columns={"text": "review"}))] == ["positive", "negative"]


def test_names_must_be_new_and_differ(reviews: Path) -> None:
    spec = TaskSpec("mine", train=reviews, eval=reviews, prompt=ASK, label="stars", labels=GOOD_BAD)
    assert load_user_task(spec).card.name == "mine"
    with pytest.raises(ConfigError, match=r"data\.tasks names imdb, but there is a built-in task of that name"):
        check_spec(TaskSpec("imdb", train=reviews))
    with pytest.raises(
        ConfigError, match=r"task mine is like gsm9k, which is no dataset task\. Did you mean 'gsm8k'\?"
    ):
        check_spec(TaskSpec("mine", train=reviews, like="gsm9k"))
    with pytest.raises(ConfigError, match=r"task mine is like spelling, which is no dataset task"):
        load_user_task(TaskSpec("mine", train=reviews, like="spelling"))


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a task, installed the way pip leaves it: a module and a folder of metadata."""
    (tmp_path / "graft_haiku.py").write_text(
        """from graft.tasks.base import TaskCard
from graft.tasks.dataset import DatasetTask, HubSource
from graft.types import Example


class HaikuTask(DatasetTask):
    card = TaskCard("haiku", "Write a haiku.", "strict", "CC0", "example/haiku", "answer")
    source = HubSource("example/haiku", columns=("topic", "poem"))

    def example(self, row, index):
        return Example(f"haiku/{index}", "haiku", f"A haiku about {row['topic']}.", row["poem"])


NOT_A_TASK = 3
""",
        encoding="utf-8",
    )
    folder = tmp_path / "graft_haiku-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: graft-haiku\nVersion: 1.0\n", encoding="utf-8")
    (folder / "entry_points.txt").write_text(
        "[graft.tasks]\nhaiku = graft_haiku:HaikuTask\nbroken = graft_haiku:Missing\nodd = graft_haiku:NOT_A_TASK\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    tasks._foreign.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    tasks._foreign.cache_clear()


def test_a_task_of_another_package_is_found_by_its_entry_point(distribution: Path) -> None:
    assert "haiku" in tasks.names()
    assert tasks.card("haiku").summary == "Write a haiku."
    path = distribution / "poems.jsonl"
    path.write_text('{"topic": "frogs", "poem": "Old pond"}', encoding="utf-8")
    [example] = examples(own(path, like="haiku"))
    assert (example.prompt, example.gold) == ("A haiku about frogs.", "Old pond")
    task = tasks.load("haiku", rows=lambda part: [{"topic": "rain", "poem": "Drip"}])
    assert next(task.examples("train", limit=1, seed=0)).gold == "Drip"
    with pytest.raises(ConfigError, match=r"there is a built-in task of that name"):
        check_spec(TaskSpec("haiku", train=path))


def test_an_entry_point_that_leads_nowhere_says_which_package(distribution: Path) -> None:
    with pytest.raises(ConfigError, match=r"task broken is brought by graft_haiku, which cannot be used: "):
        tasks.find("broken")
    with pytest.raises(ConfigError, match=r"task odd is graft_haiku:NOT_A_TASK, which is no task class"):
        tasks.find("odd")


@real_data
def test_real_files_become_tasks_with_their_known_balance() -> None:
    data = Path(DATA or "")
    tweets = load_user_task(
        TaskSpec("tweets", train=data / "twitter_fin_sentiment" / "sent_train.csv",
                 eval=data / "twitter_fin_sentiment" / "sent_valid.csv", like="twitter-financial-sentiment")
    )  # fmt: skip
    golds = [example.gold for example in tweets.examples("train", limit=None, seed=0)]
    assert (golds.count("bearish"), golds.count("bullish"), golds.count("neutral")) == (1442, 1923, 6178)
    films = load_user_task(
        TaskSpec("films", train=data / "rt_polarity", unit="line", prompt="{text}\nSentiment:", label="file",
                 labels={"rt-polarity.neg": "negative", "rt-polarity.pos": "positive"})
    )  # fmt: skip
    golds = [e.gold for part in ("train", "eval") for e in films.examples(part, limit=None, seed=0)]
    assert (golds.count("negative"), golds.count("positive")) == (5331, 5331)
    cola = load_user_task(
        TaskSpec("grammar", train=data / "cola" / "in_domain_train.tsv", eval=data / "cola" / "in_domain_dev.tsv",
                 header=("source", "label", "mark", "sentence"), like="glue/cola")
    )  # fmt: skip
    assert sum(1 for _ in cola.examples("train", limit=None, seed=0)) == 8551
    chat = load_user_task(
        TaskSpec("report-chat", train=data / "convfinqa" / "convfinqa_dev.json", metric="number", format="completion",
                 columns={"prompt": "dialogue.conv_questions", "completion": "dialogue.conv_answers"})
    )  # fmt: skip
    assert sum(1 for part in ("train", "eval") for _ in chat.examples(part, limit=None, seed=0)) == 1490
    sums = load_user_task(
        TaskSpec("sums", train=data / "gsm8k" / "train.jsonl", eval=data / "gsm8k" / "test.jsonl", like="gsm8k")
    )
    assert sums.card.size == "7,473 train, 1,319 eval"
