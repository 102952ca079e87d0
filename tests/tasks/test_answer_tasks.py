"""Rows of the question-answering, code and corpus tasks: true schemas, real files, and the hub stand-in."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.data.hub_stand_in import ClientError, HubClient, hub_client, repo, serving

from graft import tasks
from graft.errors import DataError
from graft.tasks.dataset import DatasetTask
from graft.tasks.datasets.finance_convfinqa import render_table
from graft.tasks.datasets.math_dataset import clean
from graft.types import Example, Message

Row = Mapping[str, Any]

CONVERSATION = {
    "id": "Single_XYZ/2007/page_1.pdf-1",
    "doc": {
        "pre_text": "the plan .",
        "table": {"2007": {"price": 60.94, "life in years": 5.0}, "2005": {"price": 25.14}},
        "post_text": "end .",
    },
    "dialogue": {
        "conv_questions": ["what was the price in 2007?", "and in 2005?", "what was the change?"],
        "conv_answers": ["60.94", "25.14", "142.4%"],
    },
}

ROWS: dict[str, Row] = {
    "fiqa": {"question": "What is a business expense?", "answer": "What the IRS says."},
    "finance-alpaca": {"instruction": "Explain the rate.", "input": "3%", "output": "It is low.", "text": ""},
    "financial-qa-10k": {
        "question": "What did it focus on?",
        "answer": "PC graphics.",
        "context": "Its focus was PC graphics.",
        "ticker": "NVDA",
        "filing": "2023_10K",
    },
    "gsm8k": {"question": "How many?", "answer": "It is <<1+2=3>>3.\n#### 3"},
    "finance-math": {
        "question_id": "validation-0",
        "question": "What is the income?",
        "tables": ["| a |\n|---|\n| 1 |"],
        "python_solution": "def solution(): return 47.0",
        "ground_truth": 47.0,
        "topic": "Accounting",
    },
    "math-dataset": {"question": "b'Solve 24 = -4*c for c.\\n'", "answer": "b'-6\\n'"},
    "bigcodebench": {
        "task_id": "BigCodeBench/0",
        "complete_prompt": "def f():\n    'doc'",
        "instruct_prompt": "Write f.",
        "canonical_solution": "    return 1",
        "code_prompt": "def f():",
        "test": "import unittest",
        "entry_point": "f",
        "doc_struct": "{}",
        "libs": "['random']",
    },
    "sujet-finance-qa": {
        "doc_id": "report_page_1",
        "qa_pairs": '[{"question": "Total?", "answer": "3 million."}, {"question": "Year?", "answer": "2022"}]',
    },
    "financial-reports-sec": {
        "cik": "0000001750",
        "sentence": "ITEM 1.BUSINESS General.",
        "section": 0,
        "labels": {"1d": 0, "5d": 0, "30d": 1},
        "filingDate": "2010-07-13",
        "docID": "0000001750_10-K_2010",
        "sentenceID": "0000001750_10-K_2010_section_1_0",
        "sentenceCount": 1,
    },
    "finance-tasks/ner": {"id": 0, "input": "Text: Bank of Ohio.\nEntities:", "label": "Bank of Ohio, ORG"},
    "finance-tasks/convfinqa": {"id": 0, "input": "page … what was the price?", "label": "60.94"},
    "openwebtext": {"text": "A page.\n\nWith two paragraphs.\n"},
    "bookcorpus": {"text": "usually , he would be at home ."},
    "wikitext": {"text": " = Title = \n"},
    "common-corpus": {
        "identifier": "x1",
        "collection": "English-PD",
        "open_type": "Open Culture",
        "license": "Public Domain",
        "date": 1900,
        "title": "T",
        "creator": "C",
        "language": "English",
        "language_type": "Written",
        "word_count": 2,
        "token_count": 3,
        "text": "Old text.",
    },
}
"""One row of every dataset, with its true columns."""

EXPECTED = {
    "fiqa": ("What is a business expense?", "What the IRS says."),
    "finance-alpaca": ("Explain the rate.\n\n3%", "It is low."),
    "financial-qa-10k": (
        "Its focus was PC graphics.\n\nQuestion: What did it focus on?\nAnswer:",
        "PC graphics.",
    ),
    "gsm8k": (
        "How many?\n\nSolve it step by step. End with a line that holds #### and the final number.",
        "It is <<1+2=3>>3.\n#### 3",
    ),
    "finance-math": ("| a |\n|---|\n| 1 |\n\nWhat is the income?\n\nAnswer with the number alone.", "47"),
    "math-dataset": ("Solve 24 = -4*c for c.", "-6"),
    "bigcodebench": ("Write f.", "```python\ndef f():\n    return 1\n```"),
    "financial-reports-sec": (
        "Did the share price go up ('positive') or down ('negative') in the 30 days after the annual report with this "
        "sentence was filed?\n\nSentence: ITEM 1.BUSINESS General.\nReaction:",
        "negative",
    ),
    "finance-tasks/ner": ("Text: Bank of Ohio.\nEntities:", "Bank of Ohio, ORG"),
    "finance-tasks/convfinqa": ("page … what was the price?", "60.94"),
    "openwebtext": (None, "A page.\n\nWith two paragraphs."),
    "bookcorpus": (None, "usually , he would be at home ."),
    "wikitext": (None, "= Title ="),
    "common-corpus": (None, "Old text."),
}


def build(name: str, rows: Sequence[Row]) -> DatasetTask:
    task = tasks.load(name, rows=lambda part: rows)
    assert isinstance(task, DatasetTask)
    return task


def examples(name: str, rows: Sequence[Row]) -> list[Example]:
    """All examples, in the order of the rows."""
    task = build(name, rows)
    return [example for index, row in enumerate(task.rows("eval")) if (example := task.example(row, index))]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_becomes_the_prompt_and_answer_of_the_field(name: str) -> None:
    (example,) = examples(name, [ROWS[name]])
    assert (example.prompt, example.gold) == EXPECTED[name]
    assert example.task == name and example.cluster and example.id


@pytest.mark.parametrize("name", [name for name in ROWS if name != "bigcodebench"])
def test_the_gold_answer_of_every_task_is_right_by_its_own_scorer(name: str) -> None:
    for example in examples(name, [ROWS[name]]):
        score = build(name, [ROWS[name]]).score(example, example.gold)
        assert score.strict and score.lenient and score.parsed and not score.undefined


@pytest.mark.parametrize("name", ROWS)
def test_the_columns_that_a_task_reads_are_all_it_needs(name: str) -> None:
    source = tasks.find(name).source  # type: ignore[attr-defined]
    few = {column: ROWS[name][column] for column in source.columns}
    assert [(one.prompt, one.gold) for one in examples(name, [few])] == [
        (one.prompt, one.gold) for one in examples(name, [ROWS[name]])
    ]


def test_each_question_about_a_page_is_an_item_and_the_page_their_cluster() -> None:
    found = examples("sujet-finance-qa", [ROWS["sujet-finance-qa"]])
    assert [(one.prompt, one.gold) for one in found] == [("Total?", "3 million."), ("Year?", "2022")]
    assert {one.cluster for one in found} == {"report_page_1"}
    python = {"doc_id": "p", "qa_pairs": "[{'question': \"It's?\", 'answer': 'Yes'}, {'question': 'x', 'answer': ''}]"}
    assert [one.prompt for one in examples("sujet-finance-qa", [python])] == ["It's?"]


@pytest.mark.parametrize("pairs", ["no list", "{}", "[1]", '[{"question": "x"}]', None])
def test_a_page_without_questions_is_named(pairs: object) -> None:
    with pytest.raises(DataError, match="page p7"):
        examples("sujet-finance-qa", [{"doc_id": "p7", "qa_pairs": pairs}])


def test_each_turn_of_a_conversation_has_the_turns_before_it_as_history() -> None:
    first, second, third = examples("finance-tasks/convfinqa", [CONVERSATION])
    page = "the plan .\n\n|  | 2007 | 2005 |\n| price | 60.94 | 25.14 |\n| life in years | 5.0 |  |\n\nend ."
    assert first.prompt == f"{page}\n\nAnswer every question with a number alone.\n\nwhat was the price in 2007?"
    assert (first.history, second.prompt, second.gold) == ((), "and in 2005?", "25.14")
    assert second.history == (Message("user", first.prompt), Message("assistant", "60.94"))
    assert [turn.content for turn in third.history] == [first.prompt, "60.94", second.prompt, "25.14"]
    assert {one.cluster for one in (first, second, third)} == {CONVERSATION["id"]}
    assert len({first.id, second.id, third.id}) == 3
    assert third.strata["turn"] == 3


def test_no_page_of_convfinqa_is_trained_on_and_held_out() -> None:
    turns = [{"input": f"page {page} {'x' * 600} turn {turn}", "label": "1"} for page in range(4) for turn in range(3)]
    parts = {"train": [row for row in turns if "turn 0" not in row["input"]], "eval": turns[:1]}
    task = tasks.load("finance-tasks/convfinqa", rows=parts.__getitem__)
    assert isinstance(task, DatasetTask)
    assert [row["input"][:6] for row in task.rows("train")] == [f"page {page}" for page in (1, 1, 2, 2, 3, 3)]
    assert len(task.rows("eval")) == 1


def test_rows_without_an_answer_are_left_out() -> None:
    assert not examples("fiqa", [{"question": "Why?", "answer": None}])
    assert not examples("finance-alpaca", [{"instruction": "Why?", "input": "", "output": " "}])
    assert not examples("finance-math", [{**ROWS["finance-math"], "ground_truth": None}])
    assert not examples("wikitext", [{"text": ""}, {"text": " \n"}])
    assert not examples("financial-reports-sec", [{**ROWS["financial-reports-sec"], "labels": {"30d": -1}}])


def test_a_list_of_entities_and_no_entities_can_both_be_trained() -> None:
    listed, none = examples(
        "finance-tasks/ner", [{"input": "x", "label": ["A, ORG", "B, PER"]}, {"input": "y", "label": ""}]
    )
    assert (listed.gold, none.gold) == ("A, ORG\nB, PER", "none")


def test_a_solution_without_a_final_number_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 0 must end with '#### number'.*'It is three'"):
        examples("gsm8k", [{"question": "x", "answer": "It is three"}])


def test_an_unknown_market_reaction_names_value_and_row() -> None:
    with pytest.raises(DataError, match=r"row 0: label 7 is unknown; known: 0 \(positive\), 1 \(negative\)"):
        examples("financial-reports-sec", [{**ROWS["financial-reports-sec"], "labels": {"30d": 7}}])


@pytest.mark.parametrize(
    ("written", "text"),
    [("b'-6\\n'", "-6"), (b"-6\n", "-6"), ("x**2", "x**2"), ('b"it\'s"', "it's"), ("b'cut", "cut"), ("b", "b")],
)
def test_text_of_bytes_is_taken_out(written: object, text: str) -> None:
    assert clean(written) == text


@pytest.mark.parametrize(
    ("gold", "reply", "strict", "lenient"),
    [("-6", "-6", True, True), ("1/2", "0.5", False, True), ("x**2", "X ** 2", False, True), ("-6", "6", False, False)],
)
def test_answers_to_generated_problems_may_be_written_otherwise(
    gold: str, reply: str, strict: bool, lenient: bool
) -> None:
    task = build("math-dataset", [{"question": "q", "answer": gold}])
    score = task.score(next(task.examples("eval", limit=1, seed=0)), reply)
    assert (score.strict, score.lenient) == (strict, lenient)


def test_a_table_keeps_the_order_of_its_columns_and_rows() -> None:
    assert render_table({"b": {"x": 1}, "a": {"y": 2}}) == "|  | b | a |\n| x | 1 |  |\n| y |  | 2 |"


def test_strata_of_streamed_documents_are_their_collection_and_language() -> None:
    (example,) = examples("common-corpus", [ROWS["common-corpus"]])
    assert example.strata == {"collection": "English-PD", "language": "English"}


# Real files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> Path:
    if not (folder := os.environ.get("GRAFT_TEST_DATA")):
        pytest.skip("GRAFT_TEST_DATA is unset, and the real rows lie there")
    return Path(folder)


def read_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.parametrize(("split", "count"), [("train", 7473), ("test", 1319)])
def test_every_solution_of_gsm8k_is_right_by_its_scorer(data: Path, split: str, count: int) -> None:
    rows = read_lines(data / "gsm8k" / f"{split}.jsonl")
    found = examples("gsm8k", rows)
    assert len(found) == count
    task = build("gsm8k", rows)
    assert all(task.score(example, example.gold).strict for example in found)


def test_a_real_problem_of_gsm8k(data: Path) -> None:
    found = examples("gsm8k", read_lines(data / "gsm8k" / "test.jsonl"))[1]
    assert found.prompt == (
        "A robe takes 2 bolts of blue fiber and half that much white fiber.  How many bolts in total does it take?\n\n"
        "Solve it step by step. End with a line that holds #### and the final number."
    )
    assert found.gold == (
        "It takes 2/2=<<2/2=1>>1 bolt of white fiber\n"
        "So the total amount of fabric is 2+1=<<2+1=3>>3 bolts of fabric\n#### 3"
    )
    assert found.id == "gsm8k/1"


def test_all_real_turns_of_convfinqa_become_items_and_accept_their_answers(data: Path) -> None:
    rows = json.loads((data / "convfinqa" / "convfinqa_dev.json").read_text(encoding="utf-8"))["dev"]
    found = examples("finance-tasks/convfinqa", rows)
    assert (len(rows), len(found), len({one.cluster for one in found})) == (421, 1490, 421)
    task = build("finance-tasks/convfinqa", rows)
    assert all(task.score(one, one.gold).strict for one in found)
    fifth = found[4]
    assert (fifth.gold, len(fifth.history)) == ("142.4%", 8)
    assert fifth.prompt == (
        "and how much does that change represent in relation to this 2005 weighted average exercise price?"
    )
    assert "| weighted average exercise price per share | 60.94 | 37.84 | 25.14 |" in fifth.history[0].content
    executed = [value for row in rows for value in row["dialogue"]["executed_answers"]]
    agree = sum(task.score(one, str(value)).lenient for one, value in zip(found, executed, strict=True))
    assert agree == 1448  # the release contradicts itself in 37 turns, and leaves the percent sign out in 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_all_real_tasks_of_bigcodebench_become_items(data: Path) -> None:
    with gzip.open(data / "bigcodebench" / "BigCodeBench.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found = examples("bigcodebench", rows)
    assert (len(found), len({one.id for one in found})) == (1140, 1140)
    assert found[0].prompt is not None and found[0].prompt.startswith("Calculates the average of the sums of absolute")
    assert found[0].gold.startswith(
        "```python\nimport itertools\nfrom random import shuffle\ndef task_func(numbers=list(range(1, 3))):\n    permut"
    )
    for example in found:
        compile(example.gold.removeprefix("```python\n").removesuffix("\n```"), example.id, "exec")


def test_a_real_task_of_bigcodebench_passes_in_the_sandbox_with_its_own_solution(data: Path) -> None:
    with gzip.open(data / "bigcodebench" / "BigCodeBench.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["task_id"] == "BigCodeBench/2"]
    task = tasks.load("bigcodebench", rows=lambda part: rows if part == "eval" else [])
    (example,) = task.examples("eval", limit=None, seed=0)
    assert task.score(example, example.gold).undefined
    task.allow_code_execution(weak_sandbox=True)  # type: ignore[attr-defined]
    score = task.score(example, example.gold)
    assert score.strict and score.details["passed"] == 1.0
    assert task.score(example, example.gold.replace("return sorted_dict", "return None")).details["passed"] == 0.0


@pytest.mark.parametrize(("part", "lines", "items"), [("test", 4358, 2891), ("valid", 3760, 2461)])
def test_real_paragraphs_of_wikitext_are_trained_whole(data: Path, part: str, lines: int, items: int) -> None:
    rows = [{"text": line} for line in (data / "wikitext2" / f"{part}.txt").read_text(encoding="utf-8").splitlines()]
    found = examples("wikitext", rows)
    assert (len(rows), len(found)) == (lines, items)
    assert all(one.prompt is None for one in found)
    if part == "test":
        assert found[0].gold == "= Robert <unk> ="


# The hub --------------------------------------------------------------------------------------------------------------

SCRIPTS = ("math-dataset", "financial-reports-sec", "openwebtext", "bookcorpus")


def _named(name: str, number: int) -> Row:
    """The dataset's row with its first column made unique, so that some rows are held out by it."""
    row, first = ROWS[name], tasks.find(name).source.columns[0]  # type: ignore[attr-defined]
    return {**row, first: f"{row[first]} {number}"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """Every dataset of this page, served with its true columns."""
    served: dict[str, dict[str, dict[str, list[Row]]]] = {}
    for name in ROWS:
        source = tasks.find(name).source  # type: ignore[attr-defined]
        splits = {
            split: [_named(name, number) for number in range(40)] for split in (source.train, source.eval) if split
        }
        served.setdefault(source.repo, {})[source.config or "default"] = splits
    scripts = {tasks.find(name).source.repo for name in SCRIPTS}  # type: ignore[attr-defined]
    repos = [
        repo(name, configs, script=name in scripts) for name, configs in served.items() if "FinanceMath" not in name
    ]
    repos.append(repo("yale-nlp/FinanceMath", served["yale-nlp/FinanceMath"], gated=True))
    with serving(repos) as running, hub_client(running, tmp_path_factory.mktemp("hub")) as client:
        yield client


@pytest.mark.parametrize("name", [name for name in ROWS if name not in ("finance-math", "common-corpus")])
def test_rows_of_the_hub_become_examples(hub: HubClient, name: str) -> None:
    train, scored = hub.examples(name, "train", 3), hub.examples(name, "eval")
    assert len(train) == 3 and scored
    source = tasks.find(name).source  # type: ignore[attr-defined]
    assert (len(scored) in (40, 80)) == (source.eval is not None)
    if source.eval is None:
        apart = [{(one.prompt, one.gold, one.cluster) for one in part} for part in (train, scored)]
        assert not apart[0] & apart[1]


def test_a_gated_dataset_says_how_to_get_access(hub: HubClient) -> None:
    with pytest.raises(ClientError, match="accept the terms"):
        hub.examples("finance-math", "eval", 1)


def test_the_common_corpus_is_streamed(hub: HubClient) -> None:
    source = tasks.find("common-corpus").source  # type: ignore[attr-defined]
    rows = hub.stream(source, "train", 2)
    assert [example.gold for example in examples("common-corpus", rows)] == ["Old text.", "Old text."]
