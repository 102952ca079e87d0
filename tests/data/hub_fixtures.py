"""Repositories for the hub stand-in: the classification datasets with their true columns, classes and splits.

The rows are made up. A split has enough of them that a held-out share is never empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.data.hub_stand_in import Repo, repo

Row = Mapping[str, Any]

ROWS = 60


def classification_repos() -> list[Repo]:
    """Every repository that a classification task reads."""
    return [
        _imdb(),
        _glue(),
        _phrasebank(),
        *_twitter(),
        _fiqa(),
        _fingpt(),
        _mmlu(),
        _mmlu_pro(),
        _finance_tasks(),
    ]


def repeated(*rows: Row, count: int = ROWS, text: Sequence[str]) -> list[dict[str, Any]]:
    """The given rows, then copies of them whose texts are numbered, up to a count."""
    made = [dict(row) for row in rows]
    while len(made) < count:
        row = dict(rows[len(made) % len(rows)])
        made.append({**row, **{name: f"{row[name]} ({len(made)})" for name in text}})
    return made


def _features(columns: Mapping[str, Any], **classes: Sequence[str]) -> Any:
    from datasets import ClassLabel, Features, List, Value

    made = {name: List(Value("string")) if kind is list else Value(kind) for name, kind in columns.items()}
    return Features({**made, **{name: ClassLabel(names=list(names)) for name, names in classes.items()}})


def _imdb() -> Repo:
    rows = repeated({"text": "Dull from start to end.", "label": 0}, {"text": "A joy.", "label": 1}, text=["text"])
    unlabelled = [{"text": "Seen twice.", "label": -1}]
    return repo(
        "stanfordnlp/imdb",
        {"plain_text": {"train": rows, "test": rows, "unsupervised": unlabelled}},
        features={"plain_text": _features({"text": "string"}, label=["neg", "pos"])},
    )


GLUE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cola": (("sentence",), ("unacceptable", "acceptable")),
    "sst2": (("sentence",), ("negative", "positive")),
    "mrpc": (("sentence1", "sentence2"), ("not_equivalent", "equivalent")),
    "qqp": (("question1", "question2"), ("not_duplicate", "duplicate")),
    "mnli": (("premise", "hypothesis"), ("entailment", "neutral", "contradiction")),
    "qnli": (("question", "sentence"), ("entailment", "not_entailment")),
    "rte": (("sentence1", "sentence2"), ("entailment", "not_entailment")),
    "wnli": (("sentence1", "sentence2"), ("not_entailment", "entailment")),
}
"""Text columns and class names of every configuration."""


def _glue() -> Repo:
    configs, features = {}, {}
    for config, (texts, names) in GLUE.items():
        rows = [
            {**{text: f"{text} of row {index}" for text in texts}, "label": index % len(names), "idx": index}
            for index in range(ROWS)
        ]
        held_out = "validation_matched" if config == "mnli" else "validation"
        hidden = [{**row, "label": -1} for row in rows[:3]]
        configs[config] = {"train": [*rows, {**rows[0], "label": -1}], held_out: rows, "test": hidden}
        features[config] = _features({**dict.fromkeys(texts, "string"), "idx": "int32"}, label=names)
    return repo("nyu-mll/glue", configs, features=features)


def _phrasebank() -> Repo:
    rows = repeated(
        {"sentence": "Sales fell .", "label": 0},
        {"sentence": "The firm is based in Espoo .", "label": 1},
        {"sentence": "Profit doubled .", "label": 2},
        text=["sentence"],
    )
    configs = {f"sentences_{share}": {"train": rows} for share in ("50agree", "66agree", "75agree", "allagree")}
    one = _features({"sentence": "string"}, label=["negative", "neutral", "positive"])
    return repo(
        "takala/financial_phrasebank",
        configs,
        features=dict.fromkeys(configs, one),
        script=True,
        licence="cc-by-nc-sa-3.0",
    )


def _twitter() -> list[Repo]:
    sentiment = repeated(*({"text": f"$ABC tweet {n}", "label": n} for n in range(3)), text=["text"])
    topic = repeated(*({"text": f"$XYZ tweet {n}", "label": n} for n in range(20)), text=["text"])
    names = {"sentiment": sentiment, "topic": topic}
    return [
        repo(
            f"zeroshot/twitter-financial-news-{name}",
            {"default": {"train": rows, "validation": rows}},
            form="csv",
            licence="mit",
        )
        for name, rows in names.items()
    ]


def _fiqa() -> Repo:
    base = {"_id": "1", "target": "Acme", "aspect": "['Stock/Price Action']", "type": "headline"}
    rows = repeated(
        {**base, "sentence": "Acme sinks", "score": -0.6},
        {**base, "sentence": "Acme meets", "score": -0.1},
        {**base, "sentence": "Acme soars", "score": 0.1, "type": "post"},
        text=["sentence"],
    )
    return repo(
        "TheFinAI/fiqa-sentiment-classification",
        {"default": {"train": rows, "valid": rows, "test": rows}},
        licence="mit",
    )


THREE = "What is the sentiment of this news? Please choose an answer from {negative/neutral/positive}."
SEVEN = (
    "What is the sentiment of this news? Please choose an answer from {strong negative/moderately negative/"
    "mildly negative/neutral/mildly positive/moderately positive/strong positive}."
)


def _fingpt() -> Repo:
    rows = repeated(
        {"input": "Acme beats estimates", "output": "positive", "instruction": THREE},
        {"input": "Acme slips a little", "output": "mildly negative", "instruction": SEVEN},
        text=["input"],
    )
    return repo("FinGPT/fingpt-sentiment-train", {"default": {"train": rows}})


def _mmlu() -> Repo:
    rows = repeated(
        {
            "question": "Which gas do plants take in?",
            "subject": "high_school_biology",
            "choices": ["Oxygen", "Carbon dioxide", "Nitrogen", "Helium"],
            "answer": 1,
        },
        text=["question"],
    )
    other = [{**row, "subject": ""} for row in rows]
    features = _features({"question": "string", "subject": "string", "choices": list}, answer=["A", "B", "C", "D"])
    return repo(
        "cais/mmlu",
        {"all": {"test": rows, "validation": rows[:4], "dev": rows[:4], "auxiliary_train": other}},
        features={"all": features},
        licence="mit",
    )


def _mmlu_pro() -> Repo:
    columns = ("answer", "cot_content", "category", "src")
    ten = {
        "question_id": 70,
        "question": "Which number is prime?",
        "options": [str(number) for number in (4, 6, 8, 9, 10, 12, 14, 15, 16, 17)],
        **dict(zip(columns, ("J", "", "math", "made-up"), strict=True)),
        "answer_index": 9,
    }
    three = {**ten, "question": "Which cost is fixed?", "options": ["Wages", "Rent", "Fuel"], "answer": "B"}
    rows = repeated(ten, {**three, "answer_index": 1, "category": "business"}, text=["question"])
    return repo("TIGER-Lab/MMLU-Pro", {"default": {"test": rows, "validation": rows[:5]}}, licence="mit")


def _finance_tasks() -> Repo:
    sentiment = ["Positive", "Negative", "Neutral"]
    news = repeated(
        {"id": 0, "input": "Profit fell .\nSentiment:", "options": sentiment, "gold_index": 1}, text=["input"]
    )
    yes_or_no = {"id": 0, "input": "Gold falls. Does it talk about price going up?", "options": ["No", "Yes"]}
    headlines = repeated({**yes_or_no, "gold_index": 0, "class_id": 2}, text=["input"])
    configs = {"FPB": {"test": news}, "FiQA_SA": {"test": news}, "Headline": {"test": headlines}}
    return repo("AdaptLLM/finance-tasks", configs, form="jsonl")
