from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.conftest import toy_model
from transformers import PreTrainedTokenizerBase

from graft import tasks
from graft.evals.scoring import Items, prepare_items, score_items, summarise
from graft.models.backends.transformers import TransformersBackend
from graft.tasks.words.split import package_sets
from graft.types import Prompt, Sampling, TokenRow

FOUR = Sampling(max_new_tokens=4)


def toy(tokenizer: PreTrainedTokenizerBase) -> TransformersBackend:
    return TransformersBackend(toy_model(), tokenizer, batch_size=8)


@pytest.fixture(scope="module")
def items(tokenizer: PreTrainedTokenizerBase) -> Items:
    """Twenty count items; for every third one the gold answer is whatever the toy model would write."""
    task = tasks.load("count", package_sets(train=50, eval=20, seed=0))
    found = prepare_items(tokenizer, task, "eval", list(task.examples("eval", limit=20, seed=0)), max_length=200)
    replies = toy(tokenizer).generate([Prompt((), r.prompt) for r in found.rows], FOUR)
    rows, examples = list(found.rows), list(found.examples)
    for index in range(0, 20, 3):
        rows[index] = TokenRow(rows[index].prompt, replies[index].token_ids)
        examples[index] = replace(examples[index], gold=replies[index].text)
    return replace(found, rows=tuple(rows), examples=tuple(examples))


def test_replies_are_those_of_generating_every_item(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    records = score_items(toy(tokenizer), items, FOUR)
    whole = toy(tokenizer).generate([Prompt((), r.prompt) for r in items.rows], FOUR)
    assert [record["reply"] for record in records] == [reply.text for reply in whole]
    assert [record["reply_ids"] for record in records] == [list(reply.token_ids) for reply in whole]
    assert [record["generated"] for record in records] == [index % 3 != 0 for index in range(20)]


def test_every_item_is_counted_once_in_the_progress(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    counted: list[int] = []
    score_items(toy(tokenizer), items, Sampling(max_new_tokens=2), on_batch=counted.append)
    assert sum(counted) == 20


def test_the_summary_averages_what_the_records_hold(items: Items, tokenizer: PreTrainedTokenizerBase) -> None:
    records = score_items(toy(tokenizer), items, FOUR)
    summary = summarise(records)
    assert summary["n"] == 20
    assert summary["exact"] == pytest.approx(7 / 20)
    assert summary["agreement"] == 1.0
    assert set(summary["phrasings"]) == {record["phrasing"] for record in records}


def test_agreement_is_undefined_when_nothing_was_generated() -> None:
    record = {
        "phrasing": "heldout-1", "exact": True, "right": True, "strict": True, "lenient": True, "parsed": True,
        "finished": True, "generated": False, "reply_ids": [1], "details": {"absolute_error": math.nan},
    }  # fmt: skip
    summary = summarise([record])
    assert math.isnan(summary["agreement"])
    assert summary["details"] == {}
