"""Benchmarks as the field asks them; the real harness is asked in tests/evals/test_field_harness.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from graft import tasks
from graft.errors import DataError
from graft.tasks.dataset import DatasetTask
from graft.tasks.field import STANDARDS, FieldTask, field_task
from graft.types import Example

Rows = Sequence[Mapping[str, Any]]


def field(name: str, rows: Rows, worked: Rows = (), *, train: Rows = ()) -> FieldTask:
    found = tasks.find(name)
    assert issubclass(found, DatasetTask)
    return field_task(name, found(lambda part: rows if part == "eval" else train), lambda: worked)


def first(task: FieldTask) -> Example:
    found = task.example(task.rows("eval")[0], 0)
    assert found is not None
    return found


def mmlu(question: str, answer: int) -> Mapping[str, Any]:
    return {"question": question, "subject": "us_history", "choices": [" w", "x", "y", "z"], "answer": answer}


def pro(question: str, **changes: Any) -> Mapping[str, Any]:
    row = {"question": question, "options": ["Up", "Down"], "answer_index": 1, "category": "physics"}
    return {**row, "cot_content": "A: Let's think step by step. It falls. The answer is (B).", **changes}


def test_every_standard_is_a_benchmark_of_the_hub() -> None:
    assert set(STANDARDS) <= set(tasks.names())


def test_labels_are_asked_in_the_words_of_the_field() -> None:
    asked = first(field("glue/mnli", [{"premise": "It rained.", "hypothesis": " It was dry ", "label": 2}]))
    assert asked.prompt == "It rained.\nQuestion: It was dry. True, False or Neither?\nAnswer:"
    assert (asked.gold, asked.options) == ("False", ("True", "Neither", "False"))


def test_the_metric_is_the_one_that_the_field_reports() -> None:
    assert field("glue/cola", []).card.metric == "mcc"
    assert field("glue/mrpc", []).card.metric == "accuracy"


def test_five_questions_of_the_subject_stand_before_a_question_of_mmlu() -> None:
    worked = [{**mmlu("Not this?", 0), "subject": "law"}, *(mmlu(f"Q{place}?", place % 4) for place in range(7))]
    asked = first(field("mmlu", [mmlu(" Who? ", 3)], worked))
    assert asked.prompt is not None and asked.gold == "D"
    assert asked.prompt.startswith(
        "The following are multiple choice questions (with answers) about us history.\n\n"
        "Q0?\nA.  w\nB. x\nC. y\nD. z\nAnswer: A\n\nQ1?\n"
    )
    assert asked.prompt.endswith("Q4?\nA.  w\nB. x\nC. y\nD. z\nAnswer: A\n\nWho?\nA.  w\nB. x\nC. y\nD. z\nAnswer:")


def test_the_shortcut_reads_the_question_and_not_the_worked_examples() -> None:
    task = field("mmlu", [mmlu("Who?", 3)], [mmlu("Before?", 0)] * 5)
    assert task.surface(first(task))["words"] == 10.0  # who, four letters with their options, answer


def test_too_few_worked_examples_are_refused() -> None:
    with pytest.raises(DataError, match=r"subject us history: the field shows 5 worked examples .* hold 4; give more"):
        first(field("mmlu", [mmlu("Who?", 3)], [mmlu("Before?", 0)] * 4))


def test_solutions_stand_before_a_question_of_mmlu_pro() -> None:
    asked = first(field("mmlu-pro", [pro("Where?")], [pro("Whither?")] * 5))
    assert asked.prompt is not None and asked.gold == "B"
    end = "Options:\nA. Up\nB. Down\nAnswer: Let's think step by step."
    assert asked.prompt.count(f"Question:\nWhither?\n{end} It falls. The answer is (B).\n\n") == 5
    assert asked.prompt.endswith(f"\n\nQuestion:\nWhere?\n{end}")


def test_worked_examples_without_a_solution_are_refused() -> None:
    with pytest.raises(DataError, match="a worked example has no cot_content"):
        first(field("mmlu-pro", [pro("Where?")], [pro("Whither?", cot_content="")] * 5))


def test_a_row_with_one_option_counts_as_in_the_field() -> None:
    task = field("mmlu-pro", [pro("Where?", options=["Down"], answer_index=0)], [pro("Whither?")] * 5)
    assert first(task).gold == "A"


def test_the_most_frequent_answer_is_said_as_the_field_reads_it() -> None:
    task = field("gsm8k", [{"question": "How many?", "answer": "3+3=<<3+3=6>>6\n#### 6"}])
    asked = first(task)
    (said,) = task.trivial_answers([asked])["most frequent answer"]
    assert asked.gold == "6" and task.score(asked, said).strict


@pytest.mark.parametrize(
    ("reply", "strict", "lenient"),
    [
        (" It is 1,000. The answer is 1,000.", True, True),
        (" The answer is $1000.", False, True),
        (" The answer is 10. So 1000", False, True),
        (" I do not know", False, False),
    ],
)
def test_the_stated_number_is_strict_and_the_last_is_lenient(reply: str, strict: bool, lenient: bool) -> None:
    task = field("gsm8k", [{"question": "How many?", "answer": "#### 1,000"}])
    score = task.score(first(task), reply)
    assert (score.strict, score.lenient) == (strict, lenient)


def test_training_rows_are_asked_as_graft_asks_them_and_are_not_scored() -> None:
    rows = [{"sentence": "He go.", "label": 0}]
    task = field("glue/cola", rows, train=rows)
    (trained,) = task.examples("train", limit=1, seed=0)
    assert trained.gold == "unacceptable" and "Determine if" in (trained.prompt or "")
    assert not list(task.examples("seen", limit=9, seed=0))
    assert [said for _, said in task.sources("eval")] == ["He go."]
