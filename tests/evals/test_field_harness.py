"""Benchmarks in the field's style against the real lm-evaluation-harness: requests, likelihoods, replies and scores."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from graft import tasks
from graft.data.chat import ChatPolicy
from graft.evals.items import Items, prepare_items
from graft.evals.labels import encode_options
from graft.models.backends.transformers import TransformersBackend
from graft.pipeline.score.field import field_records
from graft.tasks.dataset import DatasetTask
from graft.tasks.field import FieldTask, field_task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

pytestmark = pytest.mark.slow

Row = dict[str, Any]

POSITIONS = 6144

QUESTIONS = [
    ("Which gas do plants take in?", ["Oxygen", "Carbon dioxide", "Nitrogen", "Helium"], 1),
    ("  How many chambers has the heart of a frog?  ", ["One", "Two", "Three", " Four"], 2),
    ("Which of these\nis a bone?", ["Femur", "Retina", "Aorta", "Liver"], 0),
    ("What carries oxygen in blood?", ["Plasma", "Platelets", "Lymph", "Red cells"], 3),
    ("Where is bile made?", ["Liver", "Stomach", "Spleen", "Lung"], 0),
    ("Which vitamin comes from sunlight?", ["A", "C", "D", "K"], 2),
    ("What covers the lungs?", ["Pleura", "Pericardium", "Meninges", "Fascia"], 0),
]
PAIRS = [
    ("The man bought a red car.", "He owns a vehicle"),
    ("It rained {all} day.", "It was dry."),
    ('She said: "no".  ', "  She refused."),
]
GLUE_ROWS: dict[str, list[Row]] = {
    "cola": [{"sentence": text, "label": place % 2} for place, (text, _) in enumerate(PAIRS)],
    "sst2": [{"sentence": f"{text} ", "label": place % 2} for place, (text, _) in enumerate(PAIRS)],
    "mnli": [{"premise": a, "hypothesis": b, "label": place} for place, (a, b) in enumerate(PAIRS)],
    "qnli": [{"question": a, "sentence": b, "label": place % 2} for place, (a, b) in enumerate(PAIRS)],
    "qqp": [{"question1": a, "question2": b, "label": place % 2} for place, (a, b) in enumerate(PAIRS)],
    **{
        name: [{"sentence1": a, "sentence2": b, "label": place % 2} for place, (a, b) in enumerate(PAIRS)]
        for name in ("mrpc", "rte", "wnli")
    },
}


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A toy Qwen3 that reads the longest worked examples."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(3)
    config = Qwen3Config(
        vocab_size=4096, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=POSITIONS, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def graft_items(
    tokenizer: PreTrainedTokenizerBase, name: str, rows: Sequence[Row], worked: Sequence[Row] = ()
) -> Items:
    """Every row of a benchmark as Graft asks it in the field's style, in order."""
    found = tasks.find(name)
    assert issubclass(found, DatasetTask)
    task = field_task(name, found(lambda part: rows), lambda: worked)
    examples = [example for index, row in enumerate(rows) if (example := task.example(row, index)) is not None]
    return prepare_items(tokenizer, task, "eval", examples, max_length=10**9, policy=ChatPolicy(raw=True))


def harness_task(folder: Path, config: str, splits: dict[str, Sequence[Row]], **changes: Any) -> Any:
    """One of the harness' own tasks over rows of files, with its own templates, samplers and filters."""
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    files = {}
    for split, rows in splits.items():
        path = folder / f"{split}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        files[split] = str(path)
    loaded = load_yaml(Path(lm_eval.__file__).parent / "tasks" / config)
    kwargs = {"data_files": files, "cache_dir": str(folder / "cache")}
    return ConfigurableTask(
        config={**loaded, "dataset_path": "json", "dataset_name": None, "dataset_kwargs": kwargs, **changes}
    )


def harness_samples(task: Any, language_model: Any) -> list[dict[str, Any]]:
    """What the harness recorded of every row and filter, in the order of the rows."""
    from lm_eval.evaluator import evaluate

    found = evaluate(language_model, {"asked": task}, log_samples=True, bootstrap_iters=0)
    assert found is not None
    (samples,) = found["samples"].values()
    return sorted(samples, key=lambda sample: sample["doc_id"])


def of_filter(samples: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [sample for sample in samples if sample["filter"] == name]


def harness_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, max_length=POSITIONS, batch_size=4)


def graft_records(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Items) -> list[dict[str, Any]]:
    assert isinstance(items.task, FieldTask)
    return field_records(TransformersBackend(model, tokenizer), items, items.task, lambda count: None)


def assert_same_labels(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Items,
    harness: Any,
    metric: str,
) -> None:
    """Requests, tokens, likelihoods and scores of both are the same, item by item."""
    reader = harness_model(model, tokenizer)
    samples = harness_samples(harness, reader)
    records = graft_records(model, tokenizer, items)
    assert len(samples) == len(records) == len(items)
    options = encode_options(tokenizer, items)
    for index, (sample, record) in enumerate(zip(samples, records, strict=True)):
        requests = [tuple(pair) for pair in sample["arguments"]]
        assert requests == [(record["rendered"], f" {option}") for option in record["options"]]
        for request, ids in zip(requests, options[index], strict=True):
            assert reader._encode_pair(*request) == (list(items.rows[index].prompt), list(ids))
        found = [float(response[0][0]) for response in sample["resps"]]
        assert record["option_scores"] == pytest.approx(found, abs=2e-4)
        assert record["label_choice"] == record["options"][max(range(len(found)), key=found.__getitem__)]
        if metric == "acc":
            assert record["right"] == record["label_right"] == bool(sample["acc"])
        else:
            gold, called = sample["mcc"]
            assert (record["options"].index(record["gold"]), record["options"].index(record["label_choice"])) == (
                gold,
                called,
            )


@pytest.mark.parametrize("name", sorted(GLUE_ROWS))
def test_glue_is_asked_and_scored_as_by_the_harness(
    name: str, tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = GLUE_ROWS[name]
    split = "validation_matched" if name == "mnli" else "validation"
    harness = harness_task(tmp_path, f"glue/{name}/default.yaml", {"train": rows, split: rows})
    items = graft_items(tokenizer, f"glue/{name}", rows)
    assert_same_labels(tmp_path, model, tokenizer, items, harness, "mcc" if name == "cola" else "acc")


def test_imdb_is_asked_in_the_words_of_sst2(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [{"text": f"{text}<br /><br />I slept.", "label": place % 2} for place, (text, _) in enumerate(PAIRS)]
    asked = [{"sentence": row["text"], "label": row["label"]} for row in rows]
    harness = harness_task(tmp_path, "glue/sst2/default.yaml", {"train": asked, "validation": asked})
    assert_same_labels(tmp_path, model, tokenizer, graft_items(tokenizer, "imdb", rows), harness, "acc")


def mmlu_rows() -> tuple[list[Row], list[Row]]:
    rows = [
        {"question": question, "subject": "high_school_biology", "choices": choices, "answer": answer}
        for question, choices, answer in QUESTIONS
    ]
    return rows[:5], rows[4:]


def test_mmlu_is_asked_and_scored_as_by_the_harness(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    worked, rows = mmlu_rows()
    config = "mmlu/default/mmlu_high_school_biology.yaml"
    harness = harness_task(tmp_path, config, {"test": rows, "dev": worked}, num_fewshot=5)
    assert_same_labels(tmp_path, model, tokenizer, graft_items(tokenizer, "mmlu", rows, worked), harness, "acc")


def mmlu_pro_rows() -> tuple[list[Row], list[Row]]:
    rows = [
        {
            "question": question, "options": [*choices, "None"][: 5 - place % 4], "answer_index": min(answer, 1),
            "answer": "AB"[min(answer, 1)], "category": "health",
            "cot_content": f"A: Let's think step by step. It is {place}. The answer is ({'AB'[min(answer, 1)]}).",
        }
        for place, (question, choices, answer) in enumerate(QUESTIONS)
    ]  # fmt: skip
    alone = {**rows[0], "options": ["Only this"], "answer_index": 0, "answer": "A"}
    return rows[:5], [*rows[4:], alone]


GSM8K_ROWS: list[Row] = [
    {"question": "A robe takes 2 bolts.  How many do 3 take?", "answer": "3*2=<<3*2=6>>6\n#### 6"},
    {"question": "Ann has $1,200 and spends $200. What is left?", "answer": "It is 1000.\n#### 1,000"},
    {"question": "It is -3 degrees and falls by 2. How cold is it?", "answer": "So -5.\n#### -5"},
]

SAID = [
    " He has 6. The answer is 6.", " The answer is $1,000.00. Or 1000", " The answer is 1,000.",
    "\nThe answer is -5.\nQ", " I do not know.", "", " The answer is 6", " 5, The answer is 6.5. The answer is 6.",
    " -5", " the answer is 6.", " the answer is (B).", " The answer is (A). Or answer is (B)", " answer is b",
    " The answer is C)", " (A)", " answer is D.", " $6.", " 1,000", " It is 6 ,", " The answer is 6,000.",
]  # fmt: skip


def harness_verdicts(harness: Any, replies: Sequence[str]) -> dict[str, list[float]]:
    """Exact match of one reply for each row by the harness' own filters and metric, by filter."""
    from lm_eval.api.model import LM

    class Said(LM):
        def loglikelihood(self, requests: Any) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

        def generate_until(self, requests: Any, **kwargs: Any) -> list[str]:
            return [replies[request.doc_id] for request in requests]

    samples = harness_samples(harness, Said())
    names = dict.fromkeys(sample["filter"] for sample in samples)
    return {name: [sample["exact_match"] for sample in of_filter(samples, name)] for name in names}


def test_gsm8k_replies_are_judged_as_by_the_harness(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [row for row in GSM8K_ROWS for _ in SAID]
    replies = [reply for _ in GSM8K_ROWS for reply in SAID]
    harness = harness_task(tmp_path, "gsm8k/gsm8k-cot.yaml", {"test": rows})
    items = graft_items(tokenizer, "gsm8k", rows)
    found = harness_verdicts(harness, replies)
    judged = [items.task.score(example, reply) for example, reply in zip(items.examples, replies, strict=True)]
    assert [score.strict for score in judged] == [bool(value) for value in found["strict-match"]]
    assert [score.lenient for score in judged] == [bool(value) for value in found["flexible-extract"]]
    assert 0 < sum(score.strict for score in judged) < sum(score.lenient for score in judged)


def test_mmlu_pro_replies_are_judged_as_by_the_harness(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    worked, known = mmlu_pro_rows()
    rows = [row for row in known for _ in SAID]
    replies = [reply for _ in known for reply in SAID]
    harness = harness_task(tmp_path, "mmlu_pro/mmlu_pro_health.yaml", {"test": rows, "validation": worked})
    items = graft_items(tokenizer, "mmlu-pro", rows, worked)
    found = harness_verdicts(harness, replies)
    judged = [items.task.score(example, reply) for example, reply in zip(items.examples, replies, strict=True)]
    assert [score.strict for score in judged] == [bool(value) for value in found["custom-extract"]]
    assert any(score.strict for score in judged)


@pytest.mark.parametrize("name", ["gsm8k", "mmlu-pro"])
def test_written_solutions_are_asked_for_and_end_as_by_the_harness(
    name: str,
    tmp_path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worked, rows = ([], GSM8K_ROWS) if name == "gsm8k" else mmlu_pro_rows()
    config = "gsm8k/gsm8k-cot.yaml" if name == "gsm8k" else "mmlu_pro/mmlu_pro_health.yaml"
    items = graft_items(tokenizer, name, rows, worked)
    assert isinstance(items.task, FieldTask)
    free = TransformersBackend(model, tokenizer)
    first = free.generate([prompt_of(items, 0)], sampling_of(items.task, 24))[0].text
    until = (*items.task.until, first[10:13])  # a text that the toy does write
    monkeypatch.setattr(type(items.task), "until", until)
    monkeypatch.setattr(type(items.task), "written", 48)
    splits = {"test": rows, "validation": worked} if worked else {"test": rows}
    loaded = harness_task(tmp_path, config, splits)
    arguments = {**loaded.config.generation_kwargs, "until": list(until), "max_gen_toks": 48}
    harness = harness_task(tmp_path, config, splits, generation_kwargs=arguments)
    samples = harness_samples(harness, harness_model(model, tokenizer))
    records = graft_records(model, tokenizer, items)
    one_filter = of_filter(samples, samples[0]["filter"])
    assert [record["rendered"] for record in records] == [sample["arguments"][0][0] for sample in one_filter]
    assert [record["reply"] for record in records] == [sample["resps"][0][0] for sample in one_filter]
    assert records[0]["finished"] and len(records[0]["reply_ids"]) < 48


def prompt_of(items: Items, index: int) -> Any:
    from graft.evals.items import item_prompt

    return item_prompt(items, index)


def sampling_of(task: FieldTask, tokens: int) -> Any:
    from graft.types import Sampling

    return Sampling(max_new_tokens=tokens)


def test_the_tokens_of_the_real_qwen3_tokenizer_are_those_of_the_harness(tmp_path: Path) -> None:
    folder = Path(os.environ.get("GRAFT_TEST_DATA", "missing")) / "qwen3_tokenizer"
    if not folder.is_dir():
        pytest.skip("GRAFT_TEST_DATA has no Qwen3 tokenizer")
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

    qwen = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=len(qwen) + 64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=POSITIONS, eos_token_id=qwen.eos_token_id,
        pad_token_id=qwen.pad_token_id,
    )  # fmt: skip
    toy = AutoModelForCausalLM.from_config(config).eval()
    worked, rows = mmlu_rows()
    harness = harness_task(
        tmp_path, "mmlu/default/mmlu_high_school_biology.yaml", {"test": rows, "dev": worked}, num_fewshot=5
    )
    assert_same_labels(tmp_path, toy, qwen, graft_items(qwen, "mmlu", rows, worked), harness, "acc")
