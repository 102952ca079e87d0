"""Classification and multiple choice: rows come over HTTP from a hub's stand-in, and labels are scored as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.data.hub_fixtures import GLUE, ROWS, SEVEN, THREE, classification_repos
from tests.data.hub_stand_in import HubClient, hub_client, serving

from graft import tasks
from graft.errors import DataError
from graft.tasks.dataset import DatasetTask, Row
from graft.tasks.labels import LabelTask, find_label
from graft.types import Example

TOPICS = 20
MMLU = "Answer this multiple choice question{about} with the letter of the right option.\n\nQuestion: {rest}\nAnswer:"
PAIR = "\n\nSentence 1: sentence1 of row 0\nSentence 2: sentence2 of row 0\nRelation:"
ENTAILMENT = "Determine if the second sentence follows from the first (entailment) or does not (not_entailment)."
GOLDEN: dict[str, tuple[str, str, int]] = {
    "imdb": (
        "Classify the sentiment of this movie review as either 'positive' or 'negative'.\n\n"
        "Review: Dull from start to end.\nSentiment:",
        "negative",
        2,
    ),
    "glue/cola": (
        "Determine if this sentence is grammatically acceptable or unacceptable.\n\n"
        "Sentence: sentence of row 0\nGrammar:",
        "unacceptable",
        2,
    ),
    "glue/sst2": (
        "Classify the sentiment of this sentence as either 'positive' or 'negative'.\n\n"
        "Sentence: sentence of row 0\nSentiment:",
        "negative",
        2,
    ),
    "glue/mrpc": (
        f"Determine if these two sentences are equivalent or not_equivalent in meaning.{PAIR}",
        "not_equivalent",
        2,
    ),
    "glue/qqp": (
        "Determine if these two questions are duplicate or not_duplicate in meaning.\n\n"
        "Question 1: question1 of row 0\nQuestion 2: question2 of row 0\nRelation:",
        "not_duplicate",
        2,
    ),
    "glue/mnli": (
        "Determine if the relation of the premise to the hypothesis is entailment, neutral or contradiction.\n\n"
        "Premise: premise of row 0\nHypothesis: hypothesis of row 0\nRelation:",
        "entailment",
        3,
    ),
    "glue/qnli": (
        "Determine if the sentence answers the question (entailment) or does not (not_entailment).\n\n"
        "Question: question of row 0\nSentence: sentence of row 0\nRelation:",
        "entailment",
        2,
    ),
    "glue/rte": (f"{ENTAILMENT}{PAIR}", "entailment", 2),
    "glue/wnli": (f"{ENTAILMENT}{PAIR}", "not_entailment", 2),
    "financial-phrasebank": (
        "Classify the sentiment of this financial news sentence as 'negative', 'neutral' or 'positive'.\n\n"
        "Sentence: Sales fell .\nSentiment:",
        "negative",
        3,
    ),
    "twitter-financial-sentiment": (
        "Classify the sentiment of this financial tweet as 'bearish', 'bullish' or 'neutral'.\n\n"
        "Tweet: $ABC tweet 0\nSentiment:",
        "bearish",
        3,
    ),
    "twitter-financial-topic": ("Tweet: $XYZ tweet 0\nTopic:", "Analyst Update", TOPICS),
    "fiqa-sentiment": (
        "Classify the financial sentiment of this headline towards Acme as 'negative', 'neutral' or 'positive'.\n\n"
        "Text: Acme sinks\nSentiment:",
        "negative",
        3,
    ),
    "fingpt-sentiment": (f"{THREE}\n\nText: Acme beats estimates\nSentiment:", "positive", 3),
    "mmlu": (
        MMLU.format(
            about=" about high school biology",
            rest="Which gas do plants take in?\nA. Oxygen\nB. Carbon dioxide\nC. Nitrogen\nD. Helium",
        ),
        "B",
        4,
    ),
    "mmlu-pro": (
        MMLU.format(
            about=" about math",
            rest="Which number is prime?\nA. 4\nB. 6\nC. 8\nD. 9\nE. 10\nF. 12\nG. 14\nH. 15\nI. 16\nJ. 17",
        ),
        "J",
        10,
    ),
    "finance-tasks/fpb": ("Profit fell .\nSentiment:", "Negative", 3),
    "finance-tasks/fiqa-sa": ("Profit fell .\nSentiment:", "Negative", 3),
    "finance-tasks/headline": ("Gold falls. Does it talk about price going up?", "No", 2),
}
"""The end of the first row's prompt, its answer and the number of options."""

MCC, MACRO_F1 = {"glue/cola"}, {"glue/mrpc", "glue/qqp"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with (
        serving(classification_repos()) as hub,
        hub_client(hub, tmp_path_factory.mktemp("classification-home")) as client,
    ):
        yield client


def build(name: str, rows: list[dict[str, Any]] | None = None) -> LabelTask:
    task = tasks.load(name, rows=lambda part: rows or [])
    assert isinstance(task, LabelTask)
    return task


def example(gold: str, options: tuple[str, ...]) -> Example:
    return Example(id="x", task="x", prompt="p", gold=gold, options=options)


@pytest.mark.parametrize("name", GOLDEN)
def test_every_row_of_the_true_schema_becomes_an_example(client: HubClient, name: str) -> None:
    prompt, gold, options = GOLDEN[name]
    train, scored = (client.examples(name, split, ROWS if split == "train" else None) for split in ("train", "eval"))
    assert train and scored
    for found in (*train, *scored):
        assert found.task == name and found.gold in found.options and found.prompt and found.cluster
        assert not found.prompt.endswith(found.gold)
    assert len({found.id for found in scored}) == len(scored)
    first = next((one for one in scored + train if one.prompt and one.prompt.endswith(prompt)), None)
    assert first is not None
    assert (first.gold, len(first.options)) == (gold, options)


def test_rows_whose_label_is_not_published_are_left_out(client: HubClient) -> None:
    assert len(client.examples("glue/rte", "eval")) == ROWS
    seen = {found.id for found in client.examples("glue/rte", "train", 2 * ROWS)}
    assert len(seen) == ROWS and f"glue/rte/{ROWS}" not in seen  # the last row has the label -1


@pytest.mark.parametrize("name", ["financial-phrasebank", "fingpt-sentiment", "finance-tasks/headline"])
def test_no_text_is_both_trained_and_scored(client: HubClient, name: str) -> None:
    train, scored = ({found.cluster for found in client.examples(name, split, 500)} for split in ("train", "eval"))
    assert train and scored and not train & scored


@pytest.mark.parametrize("name", GOLDEN)
def test_a_card_says_where_how_much_and_how_it_is_judged(name: str) -> None:
    card, kind = tasks.card(name), tasks.find(name)
    assert issubclass(kind, DatasetTask)
    assert card.source == kind.source.repo
    assert card.kind == ("choice" if name.startswith("mmlu") else "classification")
    assert card.licence and any(letter.isdigit() for letter in card.size) and "/" not in card.label
    expected = "mcc" if name in MCC else "macro_f1" if name in MACRO_F1 else card.metric
    assert card.metric == expected and card.metric in ("accuracy", "macro_f1", "mcc")
    doc = __import__(kind.__module__, fromlist=["x"]).__doc__
    assert all(part in doc for part in ("One row", "Licence", "Splits", "Metric"))


@pytest.mark.parametrize("name", [f"glue/{config}" for config in GLUE])
def test_labels_have_the_numbers_of_the_dataset(name: str) -> None:
    assert build(name).labels == GLUE[name.removeprefix("glue/")][1]


@pytest.mark.parametrize(("given", "label"), [(1, "bullish"), ("1", "bullish"), ("Bullish", "bullish"), (0, "bearish")])
def test_a_label_is_a_number_or_a_name(given: object, label: str) -> None:
    found = build("twitter-financial-sentiment").example({"text": "t", "label": given}, 0)
    assert found is not None and found.gold == label


@pytest.mark.parametrize(
    ("name", "row", "told"),
    [
        ("imdb", {"text": "t", "label": 2}, "task imdb, row 7: label 2 is unknown; known: 0 (negative), 1 (positive)"),
        ("imdb", {"text": "t", "label": "good"}, "label 'good' is unknown"),
        ("imdb", {"text": "t", "stars": 1}, "task imdb, row 7: column 'label' is missing; it has text, stars"),
        ("imdb", {"review": "t", "label": 1}, "column 'text' is missing; it has review, label"),
        ("fiqa-sentiment", {"sentence": "s", "target": "t", "type": "post", "score": 3}, "row 7: score 3 must be"),
        ("fiqa-sentiment", {"sentence": "s", "target": "t", "type": "post", "score": "high"}, "score 'high' must be"),
        (
            "fingpt-sentiment",
            {"input": "t", "instruction": THREE, "output": "great"},
            "label 'great' is unknown",
        ),
        ("mmlu", {"question": "q", "subject": "s", "choices": ["a", "b"], "answer": 2}, "row 7: answer 2 is not"),
        ("mmlu", {"question": "q", "subject": "s", "choices": [], "answer": 0}, "got 0"),
        (
            "mmlu",
            {"question": "q", "subject": "s", "choices": list("abcdefghijk"), "answer": 0},
            "but got 11",
        ),
        ("mmlu", {"question": "q", "subject": "s", "answer": 0}, "column 'choices' is missing"),
        ("finance-tasks/fpb", {"input": "t", "options": ["a", "b"], "gold_index": -1}, "row 7: answer -1 is not"),
        ("finance-tasks/fpb", {"input": "t", "options": ["a", "b"]}, "column 'gold_index' is missing"),
    ],
)
def test_a_row_that_breaks_the_rules_is_named_with_its_value(name: str, row: Row, told: str) -> None:
    with pytest.raises(DataError) as caught:
        build(name).example(row, 7)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("score", "label"), [(-1, "negative"), (-0.11, "negative"), (-0.1, "neutral"), (0.09, "neutral"), (0.1, "positive")]
)
def test_fiqa_scores_have_the_thresholds_of_the_field(score: float, label: str) -> None:
    row = {"sentence": "s", "target": "t", "type": "post", "score": score}
    found = build("fiqa-sentiment").example(row, 0)
    assert found is not None and found.gold == label


def test_fingpt_offers_the_shades_of_its_instruction() -> None:
    row = {"input": "t", "instruction": SEVEN, "output": "mildly negative"}
    found = build("fingpt-sentiment").example(row, 0)
    assert found is not None
    assert (len(found.options), found.strata["shades"]) == (7, 7)


@pytest.mark.parametrize(
    ("reply", "labels", "found"),
    [
        ("not_equivalent", ("not_equivalent", "equivalent"), "not_equivalent"),
        ("They are not equivalent.", ("not_equivalent", "equivalent"), "not_equivalent"),
        ("Equivalent!", ("not_equivalent", "equivalent"), "equivalent"),
        ("equivalent, so not not_equivalent", ("not_equivalent", "equivalent"), "equivalent"),
        ("unacceptable", ("unacceptable", "acceptable"), "unacceptable"),
        ("This is not acceptable", ("unacceptable", "acceptable"), None),
        ("positive or negative", ("negative", "positive"), None),
        ("Positively", ("negative", "positive"), None),
        ("POSITIVE, very positive", ("negative", "positive"), "positive"),
        ("mildly positive", ("positive", "mildly positive"), "mildly positive"),
        ("Topic: M&A | Investments.", ("Markets", "M&A | Investments"), "M&A | Investments"),
        ("Fed | Central Banks", ("Fed | Central Banks", "Financials"), "Fed | Central Banks"),
        ("", ("negative", "positive"), None),
    ],
)
def test_exactly_one_label_is_found(reply: str, labels: tuple[str, ...], found: str | None) -> None:
    assert find_label(reply, labels) == found


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("positive", (True, True, True)),
        (" positive\n", (True, True, True)),
        ("Positive.", (False, True, True)),
        ("It is negative", (False, False, True)),
        ("positive and negative", (False, False, False)),
        ("no idea", (False, False, False)),
    ],
)
def test_a_reply_is_judged_strictly_and_leniently(reply: str, verdict: tuple[bool, bool, bool]) -> None:
    score = build("imdb").score(example("positive", ("negative", "positive")), reply)
    assert (score.strict, score.lenient, score.parsed) == verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("B", (True, True, True)),
        ("B. Carbon dioxide", (False, True, True)),
        ("The answer is (B).", (False, True, True)),
        ("A good question; the answer is B", (False, True, True)),
        ("C", (False, False, True)),
        ("E", (False, False, False)),
        ("A gas", (False, False, False)),
    ],
)
def test_a_choice_is_a_letter(reply: str, verdict: tuple[bool, bool, bool]) -> None:
    score = build("mmlu").score(example("B", tuple("ABCD")), reply)
    assert (score.strict, score.lenient, score.parsed) == verdict


def test_a_question_with_one_option_asks_for_nothing_and_is_left_out() -> None:
    row = {"question": "q", "subject": "s", "choices": ["a"], "answer": 0}
    assert build("mmlu").example(row, 0) is None


def test_the_letters_of_the_real_rows_are_the_published_ones() -> None:
    if not (folder := os.environ.get("GRAFT_TEST_DATA")):
        pytest.skip("GRAFT_TEST_DATA is unset, and the real rows lie there")
    text = (Path(folder) / "mmlu_pro" / "mmlu_pro_test_first3000.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    made = [(row, build("mmlu-pro").example(row, index)) for index, row in enumerate(rows)]
    kept = [(row, found) for row, found in made if found is not None]
    assert len(rows) - len(kept) == sum(len(row["options"]) == 1 for row in rows) == 2
    assert all(found.gold == row["answer"] for row, found in kept)


def test_the_trivial_answers_are_the_most_frequent_one_and_an_even_guess() -> None:
    examples = [example("a", ("a", "b")), example("a", ("a", "b")), example("b", ("a", "b", "c", "d"))]
    found: Mapping[str, Sequence[str]] = build("imdb").trivial_answers(examples)
    assert found["majority"] == ["a", "a", "a"]
    assert all(said in one.options for said, one in zip(found["even guess"], examples, strict=True))
    assert found == build("imdb").trivial_answers(examples)


def test_the_longest_option_is_a_trivial_answer_of_a_choice() -> None:
    task = build("mmlu")
    asked = task.example({"question": "Why?", "subject": "x", "choices": ["no", "because of it", "so"], "answer": 0}, 0)
    assert task.trivial_answers([asked])["longest option"] == ["B"]


def test_the_surface_of_a_text_is_its_words_without_their_order() -> None:
    one, other = (replace(example("a", ("a", "b")), prompt=text) for text in ("Not good, bad!", "bad not Good"))
    surface = build("imdb").surface(one)
    assert surface == build("imdb").surface(other)
    assert surface == {"words": 3.0, "word not": "there", "word good": "there", "word bad": "there"}


def test_items_are_those_of_the_seed() -> None:
    rows = [{"text": f"t{number}", "label": number % 2} for number in range(30)]
    first, again, other = (
        [found.id for found in build("imdb", rows).examples("train", limit=10, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_equal_texts_share_their_cluster() -> None:
    task = build("imdb")
    one, two, three = (task.example({"text": text, "label": 0}, index) for index, text in enumerate(("t", "t", "u")))
    assert one and two and three
    assert one.cluster == two.cluster != three.cluster
    assert one.id != two.id
